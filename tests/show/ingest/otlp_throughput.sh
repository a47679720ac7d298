#!/usr/bin/env bash
# Claim: at least 24,000 spans a second of OpenTelemetry are acknowledged
# durable, with the load on the same two processors, whatever else that makes
# of them: mapped, staged, put together to runs, logged, embedded, indexed.
#   otlp_throughput.sh [SECONDS]     default: 60
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_bench
"$build/bin/ingest_bench" spans --faultlined "$build/bin/faultlined" --seconds "${1:-60}" >"$work/out" || { cat "$work/out"; fail "the load"; }
grep -v '^figures' "$work/out"
read -r _ spans ratio < <(grep '^figures' "$work/out")
echo "spans acknowledged a second: $spans of at least 24000; $ratio of a bare server"
holds "$spans >= 24000"
