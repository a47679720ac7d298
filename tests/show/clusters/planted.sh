#!/usr/bin/env bash
# Clusters of simulated failures beside the planted modes, in worlds whose seeds
# (1000 on) nothing was tuned on, in both styles of writing traces:
#   adjusted Rand index of planted failures at least .60 at 2,000 failures and
#   .70 at 10,000, and .25 above contrib HDBSCAN on the same vectors;
#   modes with a cluster that the gate accepted: .60 / .85 / .95 at 1k / 2k / 5k;
#   agreement (AMI) of clusters with any slice of the context at most .10.
#   planted.sh [WORLDS [WORLDS WITH PEER]]     default: 8 2, of each style; 0: without
# A window of N failures has as many successes at most; 60 % of the runs are
# clustered, the others test the clusters.
source "$(dirname "$0")/../common.sh"

worlds=${1:-8}
peer_worlds=${2:-2}
need_build cluster_bench
failed=()
# claim TEXT CONDITION...: prints the line; remembers a claim that does not hold.
claim() {
  if holds "${@:2}"; then echo "  holds: $1"; else echo "  FAILS: $1"; failed+=("$1"); fi
}

for style in chains scripts; do
  for size in 1000 2000 5000 10000; do
    "$build/bin/cluster_bench" --style "$style" --failures "$size" --seed 1000 --worlds "$worlds" \
      --json "$work/$style-$size.json" >/dev/null
    mean() { json "$1" <"$work/$style-$size.json"; }
    printf '%-8s %6d failures: ARI %.3f (all %.3f), AMI %.3f, modes found %.2f, accepted %.2f, mixed %.1f of %.1f accepted, slice AMI %.3f (of the truth %.3f)\n' \
      "$style" "$size" "$(mean ari_planted)" "$(mean ari_all)" "$(mean ami_planted)" "$(mean mode_recall)" \
      "$(mean accepted_recall)" "$(mean accepted_mixed)" "$(mean accepted)" "$(mean slice_ami)" "$(mean slice_ami_truth)"
    case $size in
      1000) claim "$style: modes accepted at 1k >= .60" "$(mean accepted_recall) >= .60" ;;
      2000) claim "$style: ARI at 2k >= .60" "$(mean ari_planted) >= .60"
            claim "$style: modes accepted at 2k >= .85" "$(mean accepted_recall) >= .85" ;;
      5000) claim "$style: modes accepted at 5k >= .95" "$(mean accepted_recall) >= .95" ;;
      10000) claim "$style: ARI at 10k >= .70" "$(mean ari_planted) >= .70" ;;
    esac
    claim "$style: slice AMI at $size <= .10" "$(mean slice_ami) <= .10"
  done
done

peer=
if ((peer_worlds == 0)); then
  peer="contrib HDBSCAN was left out"
elif python=$("$root/deploy/install-dev-tools.sh" --which peers); then
  for style in chains scripts; do
    for size in 2000 10000; do
      for ((seed = 1000; seed < 1000 + peer_worlds; seed++)); do
        mkdir -p "$work/export"
        "$build/bin/cluster_bench" --style "$style" --failures "$size" --seed "$seed" --export "$work/export" \
          --json "$work/export/figures.json" >/dev/null
        OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 "$python" "$root/tests/bench/peers/peers.py" "$work/export" \
          --only hdbscan --no_raw --json "$work/peer.json" >/dev/null
        python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(r["ours"]["ari_planted"], r["hdbscan"]["ari_planted"])' "$work/peer.json"
      done >"$work/gaps"
      read -r ours theirs < <(awk '{ a += $1; b += $2 } END { print a / NR, b / NR }' "$work/gaps")
      printf '%-8s %6d failures: ARI %.3f, of contrib HDBSCAN %.3f\n' "$style" "$size" "$ours" "$theirs"
      claim "$style: ARI at $size >= .25 above contrib HDBSCAN" "$ours - $theirs >= .25"
    done
  done
else
  peer="contrib HDBSCAN is absent: deploy/install-dev-tools.sh --peers"
fi

chains=$(json ari_planted <"$work/chains-2000.json")
large=$(json ari_planted <"$work/chains-10000.json")
recall=$(json accepted_recall <"$work/chains-2000.json")
printf 'figure: ARI %.3f at 2,000 and %.3f at 10,000 failures, modes accepted %.2f at 2,000 (chains)\n' "$chains" "$large" "$recall"
if ((${#failed[@]})); then fail "${#failed[@]} claims: $(IFS=';'; echo "${failed[*]}")"; fi
[[ -z $peer ]] || skip "$peer"
