#!/usr/bin/env bash
# Claim: with the load on the same two cores, at least 25,000 traces/s of 2 KB
# are acknowledged for a minute (validated, durable, embedded in both views), and
# the index keeps up: all of it is indexed at that rate too.
#   throughput.sh [SECONDS]     default: 60
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_bench
"$build/bin/ingest_bench" throughput --faultlined "$build/bin/faultlined" --seconds "${1:-60}" | tee "$work/throughput.txt"
read -r _ acknowledged indexed ratio p50 p99 <<<"$(grep '^figures' "$work/throughput.txt")"
echo "acknowledgement at half of that load: p50 $p50 ms, p99 $p99 ms"
echo "acknowledged $acknowledged traces/s, indexed $indexed traces/s, $ratio of a bare server; wanted 25000"
holds "$acknowledged >= 25000 && $indexed >= 25000" || fail "too slow"
