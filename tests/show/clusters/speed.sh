#!/usr/bin/env bash
# Seconds of a tick on two cores over a growing number of failures, with as many
# successes at most: 1 s at 10k, 6 s at 100k, 75 s at 1M. Prints the growth and
# the peak memory, runs included.
#   speed.sh [FAILURES...]     default: 10000 30000 100000 300000 1000000
source "$(dirname "$0")/../common.sh"

sizes=("$@")
((${#sizes[@]})) || sizes=(10000 30000 100000 300000 1000000)
declare -A limit=([10000]=1 [100000]=6 [1000000]=75)
need_build cluster_bench
failed=()
summary=
last_size=
last_seconds=
printf '%9s %9s %8s %8s %8s %8s %8s %9s %7s\n' failures tick embed cluster validate diagnose plan "peak MB" growth
for size in "${sizes[@]}"; do
  taskset -c 0,1 "$build/bin/cluster_bench" --failures "$size" --seed 1000 --tick_only --json "$work/$size.json" >/dev/null
  figure() { json "$1" <"$work/$size.json"; }
  seconds=$(figure tick_seconds)
  # Exponent between this size and the one before.
  growth=-
  [[ -z $last_size ]] ||
    growth=$(awk "BEGIN { printf \"%.2f\", log($seconds / $last_seconds) / log($size / $last_size) }")
  printf '%9d %9.2f %8.2f %8.2f %8.2f %8.2f %8.2f %9.0f %7s\n' "$size" "$seconds" "$(figure stage_embed)" \
    "$(figure stage_cluster)" "$(figure stage_validate)" "$(figure stage_diagnose)" "$(figure stage_plan)" \
    "$(figure peak_mb)" "$growth"
  summary+=$(printf ' %s s at %d' "$(printf %.2f "$seconds")" "$size")
  if [[ -n ${limit[$size]:-} ]]; then
    holds "$seconds <= ${limit[$size]}" || failed+=("$size failures take more than ${limit[$size]} s")
  fi
  last_size=$size
  last_seconds=$seconds
done
echo "figure:$summary"
((${#failed[@]} == 0)) || fail "${failed[*]}"
