#!/usr/bin/env bash
# The whole loop over simulated worlds of seeds that nothing was tuned on:
#   planted   of what the best change each time would spare in the last quarter
#             of 16 ticks, the loop spares .75 in the mean, and more than one
#             bandit over all changes in every seed;
#   placebo   no change does anything: at most 5 % of the worlds confirm one;
#   null      failures without a mode behind them: at least 95 % of the worlds
#             start nothing;
#   new mode  one that begins at tick 5 has a cluster that may act within 3 ticks;
#   harmful   a change that spares nothing does harm: what harms does not stay.
#   worlds.sh [PLANTED [OTHERS [NULLS]]]     default: 5 20 20 worlds of each
source "$(dirname "$0")/../common.sh"

planted=${1:-5}
others=${2:-20}
nulls=${3:-20}
need_build loop_bench
run() {  # run NAME WORLD WORLDS [OPTION...]
  echo "== $1"
  "$build/bin/loop_bench" --world "$2" --seed 1000 --worlds "$3" --json "$work/$1.jsonl" "${@:4}"
}
run planted planted "$planted"
run placebo placebo "$others"
run null outcome-null "$nulls" --ticks 12
run slice-null slice-null "$nulls" --ticks 12
run new-mode new-mode "$planted" --ticks 9
run harmful harmful "$planted"

python3 - "$work" <<'PYTHON'
import json
import sys

def worlds(name):
    return [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]

planted, placebo, new, harmful = map(worlds, ["planted", "placebo", "new-mode", "harmful"])
nulls = worlds("null") + worlds("slice-null")
captured = sum(w["captured"] for w in planted) / len(planted)
behind = sum(w["captured"] <= w["captured_by_bandit"] for w in planted)
confirmed = sum(w["false_confirmed"] > 0 for w in placebo)
started = sum(w["started"] > 0 for w in nulls)
late = sum(not 0 <= w["ticks_to_find"] <= 3 for w in new)
harm = sum(w["harmful_started"] - w["harmful_ended"] for w in harmful)
failed = [text for text, holds in [
    ("captured is below .75", captured >= .75),
    ("the bandit is ahead in a seed", behind == 0),
    ("more than 5 % of placebo worlds confirm", confirmed <= .05 * len(placebo)),
    ("more than 5 % of null worlds start something", started <= .05 * len(nulls)),
    ("a new mode is found late", late == 0),
    ("what harms stays", harm == 0)] if not holds]
print(f"figure: captured {captured:.2f} (bandit ahead in {behind} of {len(planted)}), confirmed in {confirmed} of {len(placebo)} "
      f"placebo worlds, started in {started} of {len(nulls)} null worlds, new mode late in {late} of {len(new)}, "
      f"{harm} harmful ones stay")
if failed:
    print("FAILED: " + "; ".join(failed))
    sys.exit(1)
PYTHON
