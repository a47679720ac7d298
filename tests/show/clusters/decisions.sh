#!/usr/bin/env bash
# What a reviewer decided about clusters lasts: in simulated worlds the largest
# cluster is rejected, one is labelled, two are merged and one is split; then
# come 20 ticks, each over failures that are all new. In each of them the
# rejected cluster is retired for the reason given and its failures are no other
# cluster, the label stands, the merged ones are one, and the parts are two.
#   decisions.sh [WORLDS [FAILURES]]     default: 3 2000, of each style
source "$(dirname "$0")/../common.sh"

worlds=${1:-3}
size=${2:-2000}
need_build decision_bench
for style in chains scripts; do
  "$build/bin/decision_bench" --style "$style" --failures "$size" --seed 1000 --worlds "$worlds" --ticks 20 \
    >"$work/$style.txt"
done
declare -A held=() ticks=()
while read -r decision kept all; do
  held[$decision]=$((${held[$decision]:-0} + kept))
  ticks[$decision]=$((${ticks[$decision]:-0} + all))
done < <(grep -hE '^(labelled|merged|rejected|split) ' "$work"/*.txt)
((${#ticks[@]} == 4)) || fail "no world had enough clusters to decide about"
kept=0 all=0
for decision in rejected split merged labelled; do
  printf '%-9s held in %d of %d ticks\n' "$decision" "${held[$decision]}" "${ticks[$decision]}"
  kept=$((kept + held[$decision])) all=$((all + ticks[$decision]))
done
printf 'figure: decisions held in %d of %d ticks, %.1f %%\n' "$kept" "$all" "$(awk "BEGIN { print 100 * $kept / $all }")"
((kept == all)) || fail "a decision did not hold in every tick"
