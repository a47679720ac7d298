#!/usr/bin/env bash
# Prints durable ingest and policy polls beside a bare server in the same run,
# tick seconds at 10k and 100k failures by stage, and memory per trace.
source "$(dirname "$0")/../common.sh"

need_build faultlined server_bench cluster_bench
for failures in 10000 100000; do
  echo "a tick over $failures failures and as many successes at most:"
  "$build/bin/cluster_bench" --failures "$failures" --tick_only
done | tee "$work/tick.txt"
"$build/bin/server_bench" --faultlined "$build/bin/faultlined" | tee "$work/server.txt"
