#!/usr/bin/env bash
# Claim: slow readers, readers that never read, 1,000 idle streams, a message of
# 64 MiB and one that is a byte larger: memory stays bounded, others are served.
#   slow_readers.sh [SECONDS]     default: 20
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_clients
start_server
ctl --project quiet config set tick_interval=0s >/dev/null 2>&1
"$build/bin/ingest_clients" readers --server "$address" --seconds "${1:-20}"
