#!/usr/bin/env bash
# The experiment of the literature, in the lab: failures of the two weak models on
# yes/no questions cluster by the hidden type of reasoning that a question asks
# for, which never reaches the server, and not by the model that failed. Through a
# real server, on seeds that nothing was tuned on; the clusters are those of the
# trajectory view, which sees the question, without those of the view that sees
# steps only, which beside them is printed.
#   - the name of a hidden type stands nowhere in a stored run of these failures;
#   - AMI and purity with it at least those of the best k-means on the questions'
#     text (TF-IDF of words and pairs; as many groups as types, as clusters, or as
#     the silhouette says), mean over seeds, on the failures that our clusters
#     hold: some are noise, each seed's line says how many are held;
#   - mutual information with the type above that with the model, in every seed,
#     and beyond all of 1,000 permutations.
#   lab.sh [SEEDS [QUESTIONS]]     default: 20 6000
# A tick clusters three failures in five, to test clusters on the others.
source "$(dirname "$0")/../common.sh"

seeds=${1:-20}
questions=${2:-6000}
need_build faultlined faultlinectl faultline-lab
python=$("$root/deploy/install-dev-tools.sh" --which peers) ||
  skip "the peers are absent: deploy/install-dev-tools.sh --peers"

start_server
for ((seed = 1000; seed < 1000 + seeds; seed++)); do
  project=lab-$seed
  mkdir "$work/$seed"
  "$build/bin/faultline-lab" --server "$address" --project "$project" --ticks 1 --tasks-per-tick "$questions" \
    --families binary_reasoning,arithmetic \
    --seed "$seed" --run-id show --max-trials 0 --labels "$work/$seed/labels.jsonl" --json >/dev/null
  ctl --project "$project" --json clusters --limit 1000 >"$work/$seed/clusters.json"
  for cluster in $(python3 -c 'import json, sys; print(*(c["name"].split("/")[-1] for c in json.load(sys.stdin)["clusters"]))' \
    <"$work/$seed/clusters.json"); do
    ctl --project "$project" --json members "$cluster" --limit 1000000 >"$work/$seed/members-$cluster.json"
  done
done
OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 "$python" "$root/tests/bench/peers/lab_types.py" "$work"/1*
