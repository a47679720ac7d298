#!/usr/bin/env bash
# Claim: with slow readers, readers that never read and 1,000 idle streams,
# messages of exactly 64 MiB are taken by IngestTraces, StreamTraces and OTLP's
# Export, plain and compressed; one that is a byte larger, or inflates to more,
# is RESOURCE_EXHAUSTED on that call only; 8 of the largest at once are stored in
# the end. Meanwhile others are served, and memory stays bounded; with 64 of the
# largest at once, too, of which gRPC then ends some.
#   slow_readers.sh [SECONDS BEFORE THE LARGE MESSAGES]     default: 10
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_clients
start_server
ctl --project quiet config set tick_interval=0s >/dev/null 2>&1
"$build/bin/ingest_clients" readers --server "$address" --pid "$server_pid" --seconds "${1:-10}"
