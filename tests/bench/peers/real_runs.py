#!/usr/bin/env python3
"""Clusters of recorded failures beside what is known of their causes, ours beside every peer.

Usage: real_runs.py DATASET=DIRECTORY[,DIRECTORY...]... --data DATA [--only NAME...] [--json FILE]

A DIRECTORY is what real_bench wrote of one draw of the runs of DATASET; figures are means over
draws. DATA is the folder of the runs, read for their answers alone. Failures in no group are a
class of their own, for all alike. All scores are scikit-learn's. Ends with 1 where the claim
fails on a dataset: ours (`the tick`) has at least the adjusted mutual information with the first
truth that the best peer has on either of the two sets of vectors that the tick clustered.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

import peers

OURS = "the tick"


def faults_of(task_id):
    """`[mms_issue]bad_vpn|airplane_mode_on[PERSONA:None]`: the issue and the planted faults."""
    issue, rest = task_id[1:].split("]", 1)
    return issue, sorted(rest.split("[PERSONA")[0].split("|"))


def telecom_truths(run):
    issue, faults = faults_of(run["task"]["id"])
    return {"fault set": f"{issue}: {' '.join(faults)}", "issue": issue}


def mode_of(run):
    return "+".join(sorted(run["labels"].get("failure_modes") or ["none"]))


def whowhen_truths(run):
    labels = run["labels"]
    return {
        "failure mode": mode_of(run),
        "agreed mode": mode_of(run) if labels.get("coders_agreed") else None,
        "2nd scheme": (labels.get("second_scheme") or {}).get("cluster"),
    }


def agent_error_truths(run):
    return {
        "failure mode": mode_of(run),
        "module": mode_of(run).split(".")[0],
        "2nd scheme": (run["labels"].get("second_scheme") or {}).get("cluster"),
    }


# The first truth is the one that the claim is about; a run without one (None) does not count.
TRUTHS = {
    "tau2_telecom": telecom_truths,
    "whowhen_alggen": whowhen_truths,
    "agenterrorbench_gaia": agent_error_truths,
}


def numbered(values):
    return np.unique(values, return_inverse=True)[1]


def best_f1(of_class, found):
    best = 0.0
    for group in np.unique(found[found >= 0]):
        of_group = found == group
        best = max(best, 2 * (of_class & of_group).sum() / (of_class.sum() + of_group.sum()))
    return best


def purity(truth, found):
    from sklearn.metrics.cluster import contingency_matrix
    pairs = contingency_matrix(truth, found)
    return pairs.max(axis=0).sum() / pairs.sum()


def ami(truth, found):
    from sklearn.metrics import adjusted_mutual_info_score
    return adjusted_mutual_info_score(truth, found)


def by_chance(truth, found):
    """AMI that one in twenty labellings of the same sizes reaches without knowing anything."""
    random = np.random.RandomState(1)
    return np.quantile([ami(random.permutation(truth), found) for _ in range(100)], 0.95)


def ami_within(outer, truth, found):
    """What the groups say of the truth where `outer` is known: AMI within each value of it."""
    parts = [outer == value for value in np.unique(outer)]
    return sum(part.mean() * ami(truth[part], found[part]) for part in parts)


def score(truths, faults, found):
    row = {}
    for name, values in truths.items():
        known = np.array([value is not None for value in values])
        truth = numbered([value for value in values if value is not None])
        row[f"AMI {name}"] = ami(truth, found[known])
        if len(row) == 1:
            row["purity"] = purity(truth, found[known])
    if "issue" in truths:
        row["AMI within issue"] = ami_within(numbered(truths["issue"]), numbered(truths["fault set"]), found)
    if faults:
        # A set is no partition: how well each single fault of at least ten failures is met.
        row["F1 faults"] = np.mean([best_f1(of_fault, found) for of_fault in faults.values() if of_fault.sum() >= 10])
    row["groups"] = len(np.unique(found[found >= 0]))
    row["in none"] = (found < 0).mean()
    return row


def read_draw(dataset, directory, runs):
    rows = [runs[run] for run in (directory / "ids.txt").read_text().split("\n")[:-1]]
    each = [TRUTHS[dataset](run) for run in rows]
    truths = {name: [truth[name] for truth in each] for name in each[0]}
    faults = {}
    if dataset == "tau2_telecom":
        sets = [set(faults_of(run["task"]["id"])[1]) for run in rows]
        for fault in sorted(set().union(*sets)):
            faults[fault] = np.array([fault in of_run for of_run in sets])
    # Without looking at what a run did: the field that anyone would group by.
    fields = {f"by {field}": numbered([str(run[part].get(field)) for run in rows])
              for part, field in (("system", "model"), ("task", "type"))}
    return truths, faults, fields


def measure_draw(dataset, directory, runs, only):
    """Rows of the table, by title; those of the same vectors, and the labels of ours."""
    truths, faults, fields = read_draw(dataset, directory, runs)
    table = {}
    ours = np.load(directory / "ours.npy")
    table[OURS] = score(truths, faults, ours)
    first = next(iter(truths.values()))
    known = np.array([value is not None for value in first])
    chance = by_chance(numbered([value for value in first if value is not None]), ours[known])
    for view in ("behavior", "trajectory"):
        table[f"ours, {view} view"] = score(truths, faults, np.load(directory / f"ours_{view}.npy"))
    for title, labels in fields.items():
        table[title] = score(truths, faults, labels)
    inputs = {"behavior": np.load(directory / "behavior.npy"), "trajectory": np.load(directory / "trajectory.npy"),
              "raw": peers.raw_features(directory / "runs.txt")}
    for space, x in inputs.items():
        for name in only:
            title = f"{peers.PEERS[name][0]} ({space})"
            result = peers.measure(name, x, 600)
            table[title] = result if isinstance(result, str) else score(truths, faults, result[0])
    return table, chance, json.loads((directory / "figures.json").read_text())


def mean_of(tables):
    """A row that broke in one draw is broken."""
    mean = {}
    for title in tables[0]:
        rows = [table[title] for table in tables]
        broken = [row for row in rows if isinstance(row, str)]
        mean[title] = broken[0] if broken else {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    return mean


def report_dataset(dataset, directories, data, only):
    """Prints the table; returns the dataset's figures."""
    with open(data / f"{dataset}.jsonl", encoding="utf-8") as lines:
        runs = {run["trace_id"]: run for run in map(json.loads, lines)}
    draws = [measure_draw(dataset, directory, runs, only) for directory in directories]
    table = mean_of([draw[0] for draw in draws])
    figures = {name: np.mean([draw[2][name] for draw in draws]) for name in draws[0][2]}
    columns = list(table[OURS])
    first = columns[0]

    print(f"\n{dataset}: {figures['failures']:.0f} failures of {figures['runs']:.0f} runs, "
          f"{figures['clustered']:.0f} of them clustered; the tick found {figures['clusters']:.1f} clusters and lets "
          f"{figures['accepted']:.1f} act; mean of {len(draws)} draws")
    print(f"{'':38}" + "".join(f"{name:>18}" for name in columns))
    for title, row in table.items():
        print(f"{title:38}" + (f"  {row}" if isinstance(row, str) else "".join(f"{row[c]:18.3f}" for c in columns)))

    def best(spaces):
        rows = {title: row[first] for title, row in table.items()
                if title.endswith(spaces) and not isinstance(row, str)}
        return max(rows.items(), key=lambda row: row[1]) if rows else None

    same = best(("(behavior)", "(trajectory)"))
    raw = best(("(raw)",))
    if same is None or raw is None:
        sys.exit(f"no peer could be measured on {dataset}")
    ours = table[OURS][first]
    chance = np.mean([draw[1] for draw in draws])
    spread = np.std([draw[0][OURS][first] for draw in draws])
    print(f"  ours {ours:.3f} (from draw to draw +-{spread:.3f}; by chance {chance:.3f} is reached once in 20)")
    holds = ours >= same[1]
    print(f"  {'holds' if holds else 'FAILS'}: ours >= the best peer on the same vectors, {same[0]}: {same[1]:.3f}")
    print(f"  {'at least' if ours >= raw[1] else 'below'} the best peer on raw runs, {raw[0]}: {raw[1]:.3f}", flush=True)
    return {"table": table, "ours": ours, "best": same, "raw": raw, "chance": chance, "holds": bool(holds)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="+", metavar="DATASET=DIRECTORY[,DIRECTORY...]")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", choices=peers.PEERS, default=list(peers.PEERS))
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    report = {}
    for argument in arguments.datasets:
        dataset, directories = argument.split("=", 1)
        report[dataset] = report_dataset(dataset, [pathlib.Path(part) for part in directories.split(",")],
                                         arguments.data, arguments.only)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, default=float))
    lost = [dataset for dataset, row in report.items() if not row["holds"]]
    print("\nfigure: AMI, ours / best peer on the same vectors: " + ", ".join(
        f"{dataset} {row['ours']:.3f} / {row['best'][1]:.3f}" for dataset, row in report.items()) +
        (f"; lost: {' '.join(lost)}" if lost else ""))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
