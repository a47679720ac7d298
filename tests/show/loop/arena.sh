#!/usr/bin/env bash
# Claim, on 20 splits and orders of the tasks of tau2 that nothing was tuned on:
# where the loop routes recorded runs of four models, at most .365 of them fail
# - over the last third of the stream, as served: holdouts, trials and the
#   exploration floor included;
# - on tasks that were never in the stream, as the last policy recommends.
#   arena.sh [SEEDS [SEED [EPOCHS]]]     default: 20 1000 32
# Four tasks in five are the stream, each comes EPOCHS times; recorded runs repeat
# once a model has no other one on the task. Baselines know every outcome of the
# tasks that they are judged on, but for `per type, by all runs of the stream's
# tasks`: what a rule by type, with no cost of learning, can know of unseen tasks.
source "$(dirname "$0")/../common.sh"

goal=.365
need_build faultlined faultlinectl
files=("$shared"/data/tau2_{airline,retail,telecom}.jsonl)
for file in "${files[@]}"; do need_data "$(basename "$file")"; done
start_server
ctl --project arena --json arena "${files[@]}" --seeds "${1:-20}" --seed "${2:-1000}" --epochs "${3:-32}" \
  --runs-per-tick 500 >"$work/seeds.jsonl" 2>/dev/null || fail "the arena"
python3 - "$work/seeds.jsonl" "$goal" <<'PYTHON'
import json
import sys

*seeds, last = [json.loads(line) for line in open(sys.argv[1])]
goal = float(sys.argv[2])
summary = last["summary"]
print("on all tasks: " + ", ".join("%s %.3f" % item for item in summary["allTasks"].items()))
for key, value in summary.items():
    if isinstance(value, dict) and "mean" in value:
        print("%-22s %.3f (%.3f to %.3f)" % (key, value["mean"], value["lower"], value["upper"]))
third = summary["lastThird"]["mean"]
unseen = summary["unseenRecommended"]["mean"]
print("%d seeds: failure rate over the last third, as served: %.3f; on unseen tasks, as recommended: %.3f (as served: %.3f); at most %.3f" % (
    len(seeds), third, unseen, summary["unseenServed"]["mean"], goal))
sys.exit(not (third <= goal and unseen <= goal))
PYTHON
