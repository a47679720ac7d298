#!/usr/bin/env bash
# Claim: one flooding project does not raise another's p99 acknowledgement more
# than twofold, and only the flood is ever refused.
#   fairness.sh [SECONDS]     of each measurement; default: 20
# A quiet project sends 16 traces every 20 ms and waits for each answer, alone
# and then beside eight streams that send as fast as the server takes them. The
# clients share the machine with the server: the flooding one runs at the same
# priority, so that its own work is part of what the quiet project suffers.
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_clients
start_server
ctl --project quiet config set tick_interval=0s >/dev/null 2>&1
ctl --project flood config set tick_interval=0s >/dev/null 2>&1
"$build/bin/ingest_clients" fairness --server "$address" --seconds "${1:-20}"
