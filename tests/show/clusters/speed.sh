#!/usr/bin/env bash
# Seconds of a tick on two cores over a growing number of failures, with as many
# successes at most: 1 s at 10k, 6 s at 100k, 75 s at 1M. Prints the growth, the
# processor seconds (where others use the cores, they tell more) and the peak
# memory, runs included. Beside it, at 10k and 100k: seconds of each clustering
# library of tests/bench/peers on the vectors that our behaviour view clusters.
#   speed.sh [FAILURES...]     default: 10000 30000 100000 300000 1000000
#   PEER_SECONDS    limit of each library, 0: without; default: 120
source "$(dirname "$0")/../common.sh"

sizes=("$@")
((${#sizes[@]})) || sizes=(10000 30000 100000 300000 1000000)
declare -A limit=([10000]=1 [100000]=6 [1000000]=75)
need_build cluster_bench
limit_of_peer=${PEER_SECONDS:-120}
peers=
if ((limit_of_peer > 0)); then peers=$("$root/deploy/install-dev-tools.sh" --which peers) || true; fi

# beside_peers FAILURES: one line of seconds.
beside_peers() {
  mkdir -p "$work/export"
  taskset -c 0,1 "$build/bin/cluster_bench" --failures "$1" --seed 1000 --export "$work/export" \
    --json "$work/export/figures.json" >/dev/null
  OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 taskset -c 0,1 "$peers" \
    "$root/tests/bench/peers/peers.py" "$work/export" --no_raw --timeout "$limit_of_peer" \
    --json "$work/peers.json" >/dev/null
  python3 - "$work/peers.json" "$1" "$limit_of_peer" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
def seconds(row):
    if "seconds" in row:
        return f"{row['seconds']:.2f} s (ARI {row['ari_planted']:.2f})"
    return f"> {float(sys.argv[3]):.0f} s" if row["failed"].startswith("not done") else row["failed"]
print(f"  {sys.argv[2]} failures, the same vectors: " + ", ".join(f"{name} {seconds(row)}" for name, row in report.items()))
END
  rm -rf "$work/export"
}

failed=()
summary=
last_size=
last_seconds=
printf '%9s %9s %9s %8s %8s %8s %8s %8s %9s %7s\n' failures tick processor embed cluster validate diagnose plan "peak MB" growth
for size in "${sizes[@]}"; do
  taskset -c 0,1 "$build/bin/cluster_bench" --failures "$size" --seed 1000 --tick_only --json "$work/$size.json" >/dev/null
  figure() { json "$1" <"$work/$size.json"; }
  seconds=$(figure tick_seconds)
  # Exponent between this size and the one before.
  growth=-
  [[ -z $last_size ]] ||
    growth=$(awk "BEGIN { printf \"%.2f\", log($seconds / $last_seconds) / log($size / $last_size) }")
  printf '%9d %9.2f %9.2f %8.2f %8.2f %8.2f %8.2f %8.2f %9.0f %7s\n' "$size" "$seconds" \
    "$(figure tick_cpu_seconds)" "$(figure stage_embed)" \
    "$(figure stage_cluster)" "$(figure stage_validate)" "$(figure stage_diagnose)" "$(figure stage_plan)" \
    "$(figure peak_mb)" "$growth"
  summary+=$(printf ' %s s at %d' "$(printf %.2f "$seconds")" "$size")
  if [[ -n ${limit[$size]:-} ]]; then
    holds "$seconds <= ${limit[$size]}" || failed+=("$size failures take more than ${limit[$size]} s")
  fi
  last_size=$size
  last_seconds=$seconds
done
if ((limit_of_peer > 0)); then
  for size in "${sizes[@]}"; do
    [[ $size == 10000 || $size == 100000 ]] || continue
    if [[ -n $peers ]]; then
      beside_peers "$size"
    else
      echo "  $size failures: no peers beside it; deploy/install-dev-tools.sh --peers installs them"
    fi
  done
fi
echo "figure:$summary"
((${#failed[@]} == 0)) || fail "${failed[*]}"
