#!/usr/bin/env bash
# Worlds in which no mode makes runs fail, though runs bear the marks of modes:
# at most 7 % of 200 worlds of each kind may have a cluster that the gate
# accepts. Kinds: the outcome depends on nothing; on the task type; on the
# dataset inside two task types. Half of the worlds of each style.
#   nulls.sh [WORLDS [KIND...]]     default: 200 outcome-null slice-null hidden-slice-null
source "$(dirname "$0")/../common.sh"

worlds=${1:-200}
kinds=("${@:2}")
((${#kinds[@]})) || kinds=(outcome-null slice-null hidden-slice-null)
need_build cluster_bench
failed=()
summary=

for kind in "${kinds[@]}"; do
  runs=()
  for style in chains scripts; do
    "$build/bin/cluster_bench" --world "$kind" --style "$style" --failures 2000 --seed 1000 \
      --worlds $((worlds / 2)) --threads 1 --tick_only --json "$work/$style.json" >/dev/null &
    runs+=($!)
  done
  for run in "${runs[@]}"; do wait "$run" || fail "cluster_bench broke"; done
  read -r chains scripts share < <(python3 - "$work/chains.json" "$work/scripts.json" <<'PYTHON'
import json
import sys
bad = [[world["accepted"] > 0 for world in json.load(open(path))["worlds"]] for path in sys.argv[1:]]
print(*map(sum, bad), 100 * sum(map(sum, bad)) / sum(map(len, bad)))
PYTHON
  )
  printf '%-18s worlds with an accepted cluster: %d of %d written as chains, %d of %d as scripts: %.1f %%\n' \
    "$kind" "$chains" $((worlds / 2)) "$scripts" $((worlds / 2)) "$share"
  summary+=" $kind $share %"
  holds "$share <= 7" || failed+=("$kind")
done
echo "figure:$summary"
((${#failed[@]} == 0)) || fail "more than 7 % in: ${failed[*]}"
