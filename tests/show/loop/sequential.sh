#!/usr/bin/env bash
# Claims, on 4,000 simulated streams of each setting that are looked at every 25
# of 4,000 runs, with and without drift of the failure rate and a ramp of the
# arms: the tests of benefit and harm err in at most 5 % of the streams, and the
# interval of the relative risk misses it in at most 5 %; so do the tests of
# units and of arms that do not balance, and the guards. A mode that is halved at
# a base rate of .2 is confirmed after at most 450 runs (median), one that is
# doubled is rolled back after at most 300.
#   sequential.sh [STREAMS [SEED]]     default: 4000 1000
# The guards are judged from 200 values on, with .5 and .8 treated. The medians
# are of a single test at level .05 and a base rate that does not drift; the
# arms are drawn by the simulation. Beside it, at the same looks: an ordinary one-sided z-test.
source "$(dirname "$0")/../common.sh"

need_build sequential_bench
"$build/bin/sequential_bench" --streams "${1:-4000}" --seed "${2:-1000}" >"$work/streams.jsonl"
python3 - "$work/streams.jsonl" <<'PYTHON'
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
trials = [row for row in rows if row["test"] == "relative risk"]
print("setting                base  risk  treated   benefit  runs    harm  runs  missed   z-test")
for row in trials:
    print("%-22s %4g  %4g  %7g   %7.3f %5s %7.3f %5s  %6.3f  %7.3f" % (
        row["setting"], row["base"], row["risk"], row["probability"], row["benefit"],
        row["benefit_runs"] if row["risk"] < 1 else "", row["harm"],
        row["harm_runs"] if row["risk"] > 1 else "", row["missed"], row["z_test"]))
for row in rows:
    if row not in trials:
        print("%-28s %-12s %.4f of the streams" % (row["test"], row["setting"], row["share"]))

errors = {
    "benefit": max(row["benefit"] for row in trials if row["risk"] >= 1),
    "harm": max(row["harm"] for row in trials if row["risk"] <= 1),
    "interval": max(row["missed"] for row in trials),
}
for test in "imbalance", "units", "guard":
    errors[test] = max(row["share"] for row in rows if row["test"] == test)
# Without drift: with it a base rate of .2 is that of no run.
[confirm] = [row["benefit_runs"] for row in trials if (row["setting"], row["base"], row["risk"]) == ("steady", .2, .5)]
[roll_back] = [row["harm_runs"] for row in trials if (row["setting"], row["base"], row["risk"]) == ("steady", .2, 2)]
print("repeated z-test, where nothing helps: up to %.3f" % max(row["z_test"] for row in trials if row["risk"] == 1))
print("largest error: " + ", ".join("%s %.4f" % error for error in errors.items()) +
      "; median runs to confirm a halved mode %d, to roll back a doubled one %d" % (confirm, roll_back))
sys.exit(not (max(errors.values()) <= .05 and 0 < confirm <= 450 and 0 < roll_back <= 300))
PYTHON
