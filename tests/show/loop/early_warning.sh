#!/usr/bin/env bash
# Claim, on 20 splits of the tasks of tau2 that nothing was tuned on: the risk
# that Recommend gives for a run of a task that was never seen, cut after half of
# its steps, tells the runs that will fail from the others better than the failure
# rate of task type and model among the tasks that were seen. The interval of the
# gain in AUC over the splits, which share their runs, is above zero.
#   early_warning.sh [SEEDS [SEED]]     default: 20 1000
# The server gets every recorded run of four tasks in five and ticks once; it is
# asked about each run of the others after 25, 50, 75 and 100 % of its steps. It
# sees neither task id nor labels. Printed beside it: calibration and Brier score.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
files=("$shared"/data/tau2_{airline,retail,telecom}.jsonl)
for file in "${files[@]}"; do need_data "$(basename "$file")"; done
start_server
ctl --project warning --json arena "${files[@]}" --early-warning --seeds "${1:-20}" --seed "${2:-1000}" \
  >"$work/seeds.jsonl" 2>/dev/null || fail "the arena"
python3 - "$work/seeds.jsonl" <<'PYTHON'
import json
import sys

*seeds, last = [json.loads(line) for line in open(sys.argv[1])]
summary = last["summary"]

def mean(values):
    values = list(values)
    return sum(values) / len(values)

print("steps seen   AUC    gain over the baseline, 95 % interval   calibration error   Brier")
print("none        %.3f  %40s   %17.3f   %.3f" % (
    summary["baselineAuc"]["mean"], "", mean(s["baseline"]["calibrationError"] for s in seeds),
    mean(s["baseline"]["brier"] for s in seeds)))
for i, at in enumerate(summary["at"]):
    gain = at["gain"]
    print("%3.0f %%       %.3f  %+16.4f (%+.4f to %+.4f)   %17.3f   %.3f" % (
        100 * at["share"], at["auc"]["mean"], gain["mean"], gain["lower"], gain["upper"],
        mean(s["at"][i]["calibrationError"] for s in seeds), mean(s["at"][i]["brier"] for s in seeds)))
[half] = [at for at in summary["at"] if at["share"] == .5]
better = sum(s["at"][1]["auc"] > s["baseline"]["auc"] for s in seeds)
print("AUC after half of the steps: %.3f, task type and model: %.3f; better in %d of %d splits; gain %+.4f (%+.4f to %+.4f)" % (
    half["auc"]["mean"], summary["baselineAuc"]["mean"], better, len(seeds),
    half["gain"]["mean"], half["gain"]["lower"], half["gain"]["upper"]))
sys.exit(not half["gain"]["lower"] > 0)
PYTHON
