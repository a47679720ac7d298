#!/usr/bin/env bash
# Installs what Faultline needs on Debian 12. Idempotent; runs as root or through
# sudo.
#   install-deps.sh              to build, run and test
#   install-deps.sh --runtime    only to run what was built elsewhere
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config ccache git ca-certificates
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  libabsl-dev libeigen3-dev libfaiss-dev libopenblas-dev libgoogle-glog-dev
  librocksdb-dev libssl-dev libxxhash-dev libcli11-dev nlohmann-json3-dev
  libre2-dev zlib1g-dev libsmartcols-dev libjemalloc-dev libgtest-dev libgmock-dev libbenchmark-dev
  # Checks, and fuzzers.
  clang-format clang-tidy clang libfuzzer-14-dev libclang-rt-14-dev libomp-14-dev python3
)

if [[ ${1:-} == --runtime ]]; then
  # Shared libraries of the installed programs; tests/house/docker_replay.sh
  # compares them with what the programs are linked to.
  packages=(
    ca-certificates libabsl20220623 libgomp1 libgoogle-glog0v6 libgrpc++1.51 libgrpc29 libjemalloc2
    libopenblas0-pthread
    libprotobuf32 libre2-9 librocksdb7.8 libsmartcols1 libssl3 libstdc++6 libxxhash0 zlib1g
  )
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install-deps: everything is installed"
  exit 0
fi

sudo=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo "install-deps: run as root, or install sudo" >&2; exit 1; }
  sudo=(sudo)
fi
echo "install-deps: installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
