#!/usr/bin/env python3
"""Clustering libraries on the failures that cluster_bench exported, ours beside them.

Usage: peers.py DIRECTORY [--only NAME...] [--no_raw] [--timeout SECONDS] [--json FILE]

DIRECTORY has failures.npy (n x d), planted.npy (n; -1: no pattern), ours.npy (n; -1: noise),
runs.txt (n lines) and figures.json. Every library runs in a process of its own, after a
warm-up on 300 rows that is not timed; on the same vectors, and on raw runs: words and pairs
of words weighed by TF-IDF, 64 singular vectors, unit length. All scores are scikit-learn's.
"""

import argparse
import json
import multiprocessing
import pathlib
import resource
import time

import numpy as np


def min_cluster_size(n):
    return max(10, int(n**0.5 / 2))


def contrib(x, method):
    import hdbscan
    return hdbscan.HDBSCAN(min_cluster_size=min_cluster_size(len(x)), min_samples=10,
                           cluster_selection_method=method, core_dist_n_jobs=2).fit_predict(x)


def sklearn_hdbscan(x):
    from sklearn.cluster import HDBSCAN
    return HDBSCAN(min_cluster_size=min_cluster_size(len(x)), min_samples=10, copy=True, n_jobs=2).fit_predict(x)


def fast(x):
    import fast_hdbscan
    return fast_hdbscan.HDBSCAN(min_cluster_size=min_cluster_size(len(x)), min_samples=10).fit_predict(x)


def kmeans(x):
    """As many groups, 2 to 30, as have the best silhouette on 2000 rows."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    sample = np.random.RandomState(1).permutation(len(x))[:2000]
    best = (-2.0, None)
    for k in range(2, min(31, len(x))):
        labels = KMeans(k, n_init=3, random_state=1).fit_predict(x)
        best = max(best, (silhouette_score(x[sample], labels[sample]), k))
    return KMeans(best[1], n_init=3, random_state=1).fit_predict(x)


def umap_hdbscan(x):
    import hdbscan
    import umap
    low = umap.UMAP(n_neighbors=15, n_components=10, min_dist=0.0, metric="euclidean", random_state=1,
                    n_jobs=1).fit_transform(x)
    return hdbscan.HDBSCAN(min_cluster_size=min_cluster_size(len(x)), min_samples=10).fit_predict(low)


PEERS = {
    "hdbscan": ("contrib hdbscan, EOM", lambda x: contrib(x, "eom")),
    "hdbscan-leaf": ("contrib hdbscan, leaf", lambda x: contrib(x, "leaf")),
    "sklearn": ("scikit-learn HDBSCAN", sklearn_hdbscan),
    "fast": ("fast_hdbscan", fast),
    "kmeans": ("k-means by silhouette", kmeans),
    "umap": ("UMAP + hdbscan", umap_hdbscan),
}


def run_peer(name, x, pipe):
    """Labels, seconds and peak megabytes of one library, or what went wrong."""
    try:
        cluster = PEERS[name][1]
        cluster(x[:300])
        begin = time.perf_counter()
        labels = cluster(x)
        seconds = time.perf_counter() - begin
        pipe.send((labels, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    except Exception as error:  # a peer that breaks is a line of the table
        pipe.send(f"{type(error).__name__}: {error}")


def measure(name, x, timeout):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_peer, args=(name, x, theirs))
    process.start()
    theirs.close()
    try:
        result = ours.recv() if ours.poll(timeout) else f"not done in {timeout:.0f} s"
    except EOFError:
        result = "the process died"
    process.join(10)
    process.kill()
    process.join()
    return result


def scores(planted, found):
    from sklearn import metrics
    mask = planted >= 0
    pairs = metrics.cluster.contingency_matrix(planted[mask], found[mask])
    recall = []
    for mode in np.unique(planted[mask]):
        of_mode = planted == mode
        best = 0.0
        for group in np.unique(found[found >= 0]):
            of_group = found == group
            best = max(best, 2 * (of_mode & of_group).sum() / (of_mode.sum() + of_group.sum()))
        recall.append(best > 0.5)
    return {
        "ari_planted": metrics.adjusted_rand_score(planted[mask], found[mask]),
        "ari_all": metrics.adjusted_rand_score(planted, found),
        "ami_planted": metrics.adjusted_mutual_info_score(planted[mask], found[mask]),
        "v_planted": metrics.v_measure_score(planted[mask], found[mask]),
        "purity_planted": pairs.max(axis=0).sum() / pairs.sum(),
        "mode_recall": np.mean(recall),
        "noise_found": (found[~mask] < 0).mean() if (~mask).any() else 1.0,
        "groups": len(np.unique(found[found >= 0])),
    }


def raw_features(path):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    lines = path.read_text(encoding="utf-8").splitlines()
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, token_pattern=r"\S+", sublinear_tf=True).fit_transform(lines)
    return normalize(TruncatedSVD(min(64, min(words.shape) - 1), random_state=1).fit_transform(words)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--no_raw", action="store_true", help="leave the raw runs out")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds of one library, warm-up included")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()

    directory = arguments.directory
    vectors = np.load(directory / "failures.npy")
    planted = np.load(directory / "planted.npy")
    figures = json.loads((directory / "figures.json").read_text())
    report = {"ours": scores(planted, np.load(directory / "ours.npy")) |
              {"seconds": figures["cluster_seconds"], "peak_mb": figures["peak_mb"]}}
    inputs = {"": vectors}
    if not arguments.no_raw:
        inputs[" on raw runs"] = raw_features(directory / "runs.txt")

    columns = list(report["ours"])
    print(f"{len(vectors)} failures, {vectors.shape[1]} dimensions; {(planted < 0).sum()} without a planted mode")
    print(f"{'':36}" + "".join(f"{name:>15}" for name in columns))

    def show(title, row):
        print(f"{title:36}" + "".join(f"{row[name]:15.3f}" for name in columns), flush=True)

    show("ours", report["ours"])
    for suffix, x in inputs.items():
        for name in arguments.only:
            result = measure(name, x, arguments.timeout)
            if isinstance(result, str):
                print(f"{PEERS[name][0] + suffix:36}  {result}", flush=True)
                report[name + suffix] = {"failed": result}
                continue
            labels, seconds, megabytes = result
            report[name + suffix] = scores(planted, labels) | {"seconds": seconds, "peak_mb": megabytes}
            show(PEERS[name][0] + suffix, report[name + suffix])
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, default=float))


if __name__ == "__main__":
    main()
