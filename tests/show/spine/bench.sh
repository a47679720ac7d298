#!/usr/bin/env bash
# Prints durable ingest and policy polls beside a bare server in the same run,
# tick seconds at 10k and 100k points by stage, and memory per trace.
source "$(dirname "$0")/../common.sh"

need_build faultlined server_bench tick_bench
"$build/bin/tick_bench" | tee "$work/tick.txt"
"$build/bin/server_bench" --faultlined "$build/bin/faultlined" | tee "$work/server.txt"
