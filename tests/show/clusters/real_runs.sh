#!/usr/bin/env bash
# Clusters of recorded failures beside what is known of their causes, ours beside
# every peer: the planted faults of tau2 telecom (in `task.id`), the failure modes
# that people named in Who&When and AgentErrorBench. The tick sees none of these
# answers: outcome only, no labels, no task id. Holds where on every dataset the
# tick's adjusted mutual information with the answers is at least that of the best
# peer on the same vectors; peers on the raw runs stand beside it in the table.
#   real_runs.sh [DRAWS]     default: 3 draws of the runs that are clustered
source "$(dirname "$0")/../common.sh"

draws=${1:-3}
need_build real_bench
python=$("$root/deploy/install-dev-tools.sh" --which peers) ||
  skip "the peers are absent: deploy/install-dev-tools.sh --peers"
datasets=(tau2_telecom whowhen_alggen agenterrorbench_gaia)
arguments=()
for dataset in "${datasets[@]}"; do
  need_data "$dataset.jsonl"
  directories=()
  for ((draw = 0; draw < draws; draw++)); do
    directory=$work/$dataset-$draw
    mkdir "$directory"
    "$build/bin/real_bench" --runs "$shared/data/$dataset.jsonl" --draw "$draw" --export "$directory"
    directories+=("$directory")
  done
  arguments+=("$dataset=$(IFS=,; echo "${directories[*]}")")
done
OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 "$python" "$root/tests/bench/peers/real_runs.py" "${arguments[@]}" \
  --data "$shared/data"
