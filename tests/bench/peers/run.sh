#!/usr/bin/env bash
# One table of clustering libraries from PyPI and ours, on the same vectors and
# on the same raw runs of a simulated world.
#   run.sh [FAILURES [SEED [STYLE [ARGUMENTS OF peers.py]]]]    default: 2000 1000 chains
#   BUILD_DIR   default: build/release
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=${BUILD_DIR:-$root/build/release}
python=$("$root/deploy/install-dev-tools.sh" --which peers) ||
  { echo "skipped: no peers; deploy/install-dev-tools.sh --peers installs them"; exit 77; }
[[ -x $build/bin/cluster_bench ]] ||
  { echo "skipped: no $build/bin/cluster_bench: cmake --preset release && cmake --build --preset release"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/faultline-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$build/bin/cluster_bench" --failures "${1:-2000}" --seed "${2:-1000}" --style "${3:-chains}" \
  --export "$work" --json "$work/figures.json" >/dev/null
# Two cores, as ours.
OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 \
  "$python" "$root/tests/bench/peers/peers.py" "$work" "${@:4}"
