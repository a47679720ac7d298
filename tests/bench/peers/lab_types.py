#!/usr/bin/env python3
"""Clusters of the lab's failures beside the hidden type of reasoning; see show/clusters/lab.sh.

Usage: lab_types.py DIRECTORY...

A DIRECTORY is of one seed: labels.jsonl of faultline-lab, clusters.json and members-CLUSTER.json
of faultlinectl. Ends with 1 where a claim of lab.sh fails.
"""

import collections
import json
import pathlib
import sys

import numpy as np
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

PERMUTATIONS = 1000


def strongest(directory, view, of_interest):
    """Cluster of each failure, among those that `view` has found, and every trace of a cluster."""
    clusters = json.loads((directory / "clusters.json").read_text())["clusters"]
    best, traces = {}, {}
    for cluster in clusters:
        name = cluster["name"].split("/")[-1]
        for member in json.loads((directory / f"members-{name}.json").read_text())["members"]:
            run = member["trace"]["traceId"]
            traces[run] = member["trace"]
            if run in of_interest and view in cluster["views"]:
                best[run] = max(best.get(run, (0, "")), (member["strength"], name))
    return {run: name for run, (_, name) in best.items()}, traces


def purity(truth, found):
    return metrics.cluster.contingency_matrix(truth, found).max(axis=0).sum() / len(truth)


def kmeans_by_silhouette(x):
    def fit(k):
        return KMeans(k, n_init=5, random_state=1).fit_predict(x)
    return max((fit(k) for k in range(2, 16)), key=lambda found: metrics.silhouette_score(x, found))


def permuted_share(values, found, observed):
    """Share of permutations of `found` that say as much of `values`."""
    random = np.random.RandomState(1)
    values, found = (np.unique(labels, return_inverse=True)[1] for labels in (values, found))
    beyond = sum(metrics.mutual_info_score(values, random.permutation(found)) >= observed
                 for _ in range(PERMUTATIONS))
    return (1 + beyond) / (1 + PERMUTATIONS)


def main():
    rows = collections.defaultdict(list)
    failures = []
    for directory in map(pathlib.Path, sys.argv[1:]):
        runs = [json.loads(line) for line in (directory / "labels.jsonl").open()]
        weak = {run["trace_id"]: run for run in runs
                if run["family"] == "binary_reasoning" and not run["passed"] and run["model"] != "parser"}
        of_steps, _ = strongest(directory, "VIEW_BEHAVIOR", weak)
        clusters, traces = strongest(directory, "VIEW_TRAJECTORY", weak)
        kinds = {run["kind"] for run in weak.values()}
        for run in weak.keys() & traces.keys():
            stored = json.dumps(traces[run])
            if any(kind in stored for kind in kinds):
                failures.append(f"{directory.name}: the hidden type stands in {run}")

        ids = sorted(clusters)
        if not ids:
            sys.exit(f"{directory.name}: no cluster of the trajectory view has a failure of a weak model")
        ours = [clusters[run] for run in ids]
        kind = [weak[run]["kind"] for run in ids]
        model = [weak[run]["model"] for run in ids]
        about_kind = metrics.mutual_info_score(kind, ours)
        about_model = metrics.mutual_info_score(model, ours)
        p_kind = permuted_share(kind, ours, about_kind)
        print(f"seed {directory.name}: {len(weak)} failures of weak models, {len(ids)} in {len(set(ours))} clusters; "
              f"mutual information with type {about_kind:.3f} (p {p_kind:.3f}), with model {about_model:.3f} "
              f"(p {permuted_share(model, ours, about_model):.3f})", flush=True)
        if about_kind <= about_model or p_kind > 1 / PERMUTATIONS:
            failures.append(f"{directory.name}: the clusters say no more of the type than of the model")

        def score(name, truth, found):
            rows[name].append((metrics.adjusted_mutual_info_score(truth, found), purity(truth, found)))
        score("ours", kind, ours)
        if of_steps:
            score("(clusters of the behaviour view)", [weak[run]["kind"] for run in sorted(of_steps)],
                  [of_steps[run] for run in sorted(of_steps)])
        text = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True,
                               token_pattern=r"\S+").fit_transform([traces[run]["task"]["input"] for run in ids])
        score("k-means on text, as many as types", kind,
              KMeans(len(set(kind)), n_init=5, random_state=1).fit_predict(text))
        score("k-means on text, as many as ours", kind,
              KMeans(len(set(ours)), n_init=5, random_state=1).fit_predict(text))
        score("k-means on text, by silhouette", kind, kmeans_by_silhouette(text))

    print(f"{'':36}{'AMI':>8}{'purity':>8}")
    mean = {name: np.mean(scores, axis=0) for name, scores in rows.items()}
    for name, (ami, pure) in mean.items():
        print(f"{name:36}{ami:8.3f}{pure:8.3f}")
    peers = [scores for name, scores in mean.items() if name.startswith("k-means")]
    best_ami, best_purity = (max(scores[i] for scores in peers) for i in (0, 1))
    if mean["ours"][0] < best_ami:
        failures.append("AMI below that of k-means on text")
    if mean["ours"][1] < best_purity:
        failures.append("purity below that of k-means on text")
    for failure in failures:
        print("FAILS:", failure)
    print(f"figure: AMI {mean['ours'][0]:.3f} (k-means {best_ami:.3f}), "
          f"purity {mean['ours'][1]:.3f} (k-means {best_purity:.3f})")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
