#!/usr/bin/env bash
# Clusters of one window are known again in the next, with which it has no run
# in common: at least 85 % of the modes that both windows have a cluster for
# keep their id, and at least 97 % of the ids that last and are of a mode (a
# cluster before or after is found of it, F1 above .5) are of the same mode before
# and after. Of clusters that are of no mode nobody can say what they should be;
# how many of all ids have the same commonest mode is printed beside it.
#   identity.sh [WORLDS [FAILURES]]     default: 10 3000, of each style
source "$(dirname "$0")/../common.sh"

worlds=${1:-10}
size=${2:-3000}
need_build cluster_bench
for style in chains scripts; do
  "$build/bin/cluster_bench" --style "$style" --failures "$size" --seed 1000 --worlds "$worlds" --windows 2 \
    --tick_only --json "$work/$style.json" >/dev/null
done
read -r lasting matched survivors right clear clear_right < <(python3 - "$work/chains.json" "$work/scripts.json" <<'PYTHON'
import json
import sys
worlds = [world for path in sys.argv[1:] for world in json.load(open(path))["worlds"]]
print(*(round(sum(w[name] for w in worlds)) for name in ("lasting_modes", "matched_modes", "survivors", "right_survivors", "clear_survivors", "clear_right")))
PYTHON
)
printf 'modes with a cluster in both windows: %d; with the same id: %d\n' "$lasting" "$matched"
printf 'ids that last: %d; with the same commonest mode: %d\n' "$survivors" "$right"
printf 'of these, of a mode: %d; of the same: %d\n' "$clear" "$clear_right"
read -r found correct < <(awk "BEGIN { print $lasting ? 100 * $matched / $lasting : 0, $clear ? 100 * $clear_right / $clear : 0 }")
printf 'figure: %.1f %% matched, %.1f %% of the matches right\n' "$found" "$correct"
holds "$found >= 85" || fail "fewer than 85 % matched"
holds "$correct >= 97" || fail "fewer than 97 % of the matches right"
