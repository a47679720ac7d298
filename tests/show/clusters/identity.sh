#!/usr/bin/env bash
# Clusters of one window are known again in the next, with which it has no run
# in common: at least 85 % of the modes that both windows have a cluster for
# keep their id, and at least 97 % of the ids that last stand for the same mode
# before and after.
#   identity.sh [WORLDS [FAILURES]]     default: 10 3000, of each style
source "$(dirname "$0")/../common.sh"

worlds=${1:-10}
size=${2:-3000}
need_build cluster_bench
for style in chains scripts; do
  "$build/bin/cluster_bench" --style "$style" --failures "$size" --seed 1000 --worlds "$worlds" --windows 2 \
    --tick_only --json "$work/$style.json" >/dev/null
done
read -r lasting matched survivors right < <(python3 - "$work/chains.json" "$work/scripts.json" <<'PYTHON'
import json
import sys
worlds = [world for path in sys.argv[1:] for world in json.load(open(path))["worlds"]]
print(*(round(sum(w[name] for w in worlds)) for name in ("lasting_modes", "matched_modes", "survivors", "right_survivors")))
PYTHON
)
printf 'modes with a cluster in both windows: %d; with the same id: %d\n' "$lasting" "$matched"
printf 'ids that last: %d; for the same mode: %d\n' "$survivors" "$right"
read -r found correct < <(awk "BEGIN { print $lasting ? 100 * $matched / $lasting : 0, $survivors ? 100 * $right / $survivors : 0 }")
printf 'figure: %.1f %% matched, %.1f %% of the matches right\n' "$found" "$correct"
holds "$found >= 85" || fail "fewer than 85 % matched"
holds "$correct >= 97" || fail "fewer than 97 % of the matches right"
