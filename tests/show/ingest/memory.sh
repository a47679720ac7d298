#!/usr/bin/env bash
# Claim: a million traces cost at most 2 KB of resident memory each above the
# server's own, both views indexed, and 0.8 KB with int8 vectors and a store that
# keeps less in memory.
#   memory.sh [TRACES]     default: 1000000
source "$(dirname "$0")/../common.sh"
source "$(dirname "$0")/fill.sh"

need_build faultlined faultlinectl ingest_bench
traces=${1:-1000000}
# measure SETTINGS: bytes of resident memory a trace, into `bytes`.
measure() {
  fill "$traces" "$1"
  bytes=$((($(resident) - baseline) * 1024 / traces))
  echo "${1:-as it comes}: $baseline kB before, $(resident) kB with $(project traces) traces: $bytes bytes a trace"
  kill_server
}
measure ""
plain=$bytes
measure "space { quantization: QUANTIZATION_INT8 } store { write_buffer_bytes: 67108864 cache_bytes: 33554432 }"
echo "$plain and $bytes bytes a trace; wanted 2048 and 819"
holds "$plain <= 2048 && $bytes <= 819" || fail "too much"
