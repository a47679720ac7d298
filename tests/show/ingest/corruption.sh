#!/usr/bin/env bash
# Claim: a checkpoint that is cut, flipped anywhere or of another project is
# noticed, named in the log, and made again from the log; no run is missing.
#   corruption.sh [TRACES]     default: 30000
source "$(dirname "$0")/../common.sh"
source "$(dirname "$0")/fill.sh"

need_build faultlined faultlinectl ingest_bench
traces=${1:-30000}
fill "$traces"
stop_server() { kill -TERM "$server_pid"; while kill -0 "$server_pid" 2>/dev/null; do sleep 0.02; done; server_pid=; }
sample() { ctl --json --project bench similar "$id" --limit 20 | sha256sum; }
id=$(ctl --json --project bench similar "$("$build/bin/faultlinectl" --version >/dev/null; echo aa"$(printf %06x 0)"000000000000)" --limit 1 2>/dev/null | head -c 0; true)
