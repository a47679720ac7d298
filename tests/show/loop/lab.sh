#!/usr/bin/env bash
# The whole loop in the lab, through a real server, its RPCs and the SDK, on seeds
# that nothing was tuned on, beside routers that get no policy and answer the same
# questions. Claims:
#   normal   ours captures at least .75 of the gap from none to oracle in the last
#            ticks, mean over seeds, and more than the global bandit in every seed;
#            at least .80 of the accepted clusters are read as a failure mode that
#            names their hidden cause
#   null     nothing is confirmed
#   harmful  no intervention that hurts in truth is confirmed at the end
# The world drift is printed, and nothing is claimed of it.
#   lab.sh [SEEDS [OTHER_SEEDS [TICKS [QUESTIONS [WORLD...]]]]]     default: 3 1 14 1600, all worlds
# SEEDS of the world normal, OTHER_SEEDS of each other one.
source "$(dirname "$0")/../common.sh"

seeds=${1:-3}
others=${2:-1}
ticks=${3:-14}
questions=${4:-1600}
worlds=("${@:5}")
[[ ${#worlds[@]} -gt 0 ]] || worlds=(normal null harmful drift)
need_build faultlined faultlinectl faultline-lab

start_server
for world in "${worlds[@]}"; do
  count=$others
  [[ $world != normal ]] || count=$seeds
  for ((seed = 1000; seed < 1000 + count; seed++)); do
    "$build/bin/faultline-lab" --server "$address" --project "$world-$seed" --world "$world" --seed "$seed" \
      --ticks "$ticks" --tasks-per-tick "$questions" --run-id show --auto-approve --max-trials 16 --json |
      tail -n 1 >"$work/$world-$seed.json"
  done
done
python3 - "$work" <<'PYTHON'
import glob
import json
import os
import re
import sys

runs = []
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*-*.json"))):
    world, seed = re.match(r"(\w+)-(\d+)\.json", os.path.basename(path)).groups()
    runs.append((world, int(seed), json.load(open(path))))
order = ["normal", "null", "harmful", "drift"]
runs.sort(key=lambda run: (order.index(run[0]), run[1]))

print("failure rates of the last ticks, and shares of the gap from none to oracle")
print("world    seed   none random bandit   ours oracle | captured: random bandit   ours | "
      "trials confirmed falsely rolled back ticks | named")
for world, seed, run in runs:
    s = run["summary"]
    last = s["last"]
    print("%-7s  %d  %.3f  %.3f  %.3f  %.3f  %.3f |           %6.3f %6.3f %6.3f | %6d %9d %7d %11d %5g | %d of %d" % (
        world, seed, last["none"], last["random"], last["bandit"], last["reached"], last["oracle"],
        s["captured_by_random"], s["captured_by_bandit"], s["captured"], s["trials"], s["confirmed"],
        s["false_confirmations"], s["rolled_back"], s["median_ticks_to_verdict"],
        s["rightly_named"], s["accepted_clusters"]))
for world, seed, run in runs:
    for trial in run["trials"]:
        if trial["truth"] == "hurts" or (trial["confirmed"] and trial["truth"] != "helps"):
            print("%s %d: %s, %s in truth (prevents %d, causes %d of %d): %s" % (
                world, seed, trial["status"], trial["truth"], trial["prevented"], trial["caused"],
                trial["in_scope"], trial["summary"][:110]))

failed = []
figures = []


def claim(text, holds):
    figures.append(text)
    if not holds:
        failed.append(text)


def of(world):
    return [run["summary"] for name, _, run in runs if name == world]


normal = of("normal")
if normal:
    captured = sum(s["captured"] for s in normal) / len(normal)
    above = sum(s["captured"] > s["captured_by_bandit"] for s in normal)
    clusters = sum(s["accepted_clusters"] for s in normal)
    named = sum(s["rightly_named"] for s in normal) / max(1, clusters)
    claim("captured %.3f" % captured, captured >= .75)
    claim("above the bandit in %d of %d" % (above, len(normal)), above == len(normal))
    claim("hidden causes named rightly %.3f of %d" % (named, clusters), named >= .80)
if of("null"):
    confirmed = sum(s["confirmed"] for s in of("null"))
    trials = sum(s["trials"] for s in of("null"))
    claim("null: %d of %d trials confirmed" % (confirmed, trials), confirmed == 0)
if of("harmful"):
    harmful = sum(s["harmful"] for s in of("harmful"))
    confirmed = sum(s["harmful_confirmed"] for s in of("harmful"))
    claim("harmful: %d of %d trials that hurt confirmed" % (confirmed, harmful), confirmed == 0)
for text in failed:
    print("does not hold: " + text)
print("; ".join(figures))
sys.exit(1 if failed else 0)
PYTHON
