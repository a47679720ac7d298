#!/usr/bin/env bash
# Claim: what EvaluatePolicyOffline says of a routing policy holds of runs that
# it has not seen. The lab routes by weights of its own; each stretch of ten
# seconds (1,000 runs) is asked about five policies, and the truth is the failure
# rate of each candidate over all stretches, which are some 20 times as many
# runs. At least 90 % of the 95 % intervals that it calls supported hold the
# truth, for each of the three estimators, and the interval that holds at every
# look holds it in at least 95 %. A policy that the lab's weights hardly ever
# followed (parser alone: one run in ten) is never called supported.
#   offline.sh [SEED...]     default: 901 902
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl faultline-lab
tasks=20000
seeds=("${@:-901 902}")
((${#seeds[@]} > 1)) || read -ra seeds <<<"${seeds[0]}"
start_server
for seed in "${seeds[@]}"; do
  "$build/bin/faultline-lab" --server "$address" --project "lab$seed" --ticks 1 --tasks-per-tick "$tasks" \
    --seed "$seed" >"$work/lab.log" || fail "the lab: $(tail -n 1 "$work/lab.log")"
done
python3 - "$build/bin/faultlinectl" "$address" "$tasks" "${seeds[@]}" <<'PYTHON'
import json
import subprocess
import sys
import time

ctl, address, tasks, seeds = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
POLICIES = {
    "binary_reasoning": ["parser=1", "parser=0.5,bag_of_words=0.5", "bigram=0.8,parser=0.2"],
    "arithmetic": ["calc_b=1", "calc_a=0.7,calc_b=0.3"],
}
STRETCH = 10  # seconds; the lab's runs start 10 ms apart
ESTIMATES = "ips", "snips", "dr"


def ask(project, *arguments):
    output = subprocess.run([ctl, "--server", address, "--project", project, "--json", *arguments],
                            check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


covered = {name: 0 for name in ESTIMATES + ("every look",)}
supported = unsupported = rash = 0
for seed in seeds:
    project = "lab" + seed
    end = int(time.time())
    windows = [w for w in range(end - tasks // 100 - 300, end, STRETCH)]
    for kind, policies in POLICIES.items():
        slices = ask(project, "slices", "--by", "system.model", "--within", "task.type=" + kind)["slices"]
        rate = {s["predicate"]["comparison"]["text"]: s["failures"]["rate"] for s in slices}
        logged = sum(int(s["failures"]["failures"]) for s in slices) / sum(int(s["failures"]["runs"]) for s in slices)
        for policy in policies:
            weights = {name: float(weight) for name, weight in (pair.split("=") for pair in policy.split(","))}
            truth = sum(weight * rate[name] for name, weight in weights.items())
            for window in windows:
                answer = ask(project, "offline", "--weights", policy, "--scope", "task.type=" + kind,
                             "--after", stamp(window), "--before", stamp(window + STRETCH))
                if int(answer["overlap"]["choices"]) < 400:
                    continue  # before the first run, or behind the last one
                if answer["verdict"] != "VERDICT_SUPPORTED":
                    unsupported += 1
                    continue
                supported += 1
                rash += policy == "parser=1"
                for name in ESTIMATES:
                    covered[name] += answer[name]["lower"] <= truth <= answer[name]["upper"]
                always = answer["changeAtEveryLook"]
                covered["every look"] += always["lower"] <= truth - logged <= always["upper"]
print("%d answers supported, %d not; of parser alone %d supported" % (supported, unsupported, rash))
share = {name: count / max(supported, 1) for name, count in covered.items()}
print("intervals that hold the truth: " + ", ".join("%s %.3f" % pair for pair in share.items()))
sys.exit(not (supported >= 100 and rash == 0 and min(share[name] for name in ESTIMATES) >= .9 and share["every look"] >= .95))
PYTHON
