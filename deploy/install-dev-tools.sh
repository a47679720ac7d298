#!/usr/bin/env bash
# Installs what only tests and developers use: buf (npm registry), grpcurl (Go
# module proxy) and a Python that has the OpenTelemetry SDK (PyPI). Idempotent.
# Tests that need an absent tool are skipped and say so.
#   install-dev-tools.sh                  installs them, and npm and Go where missing
#   install-dev-tools.sh --collector      also an OpenTelemetry Collector, which
#                                         takes minutes (Go module proxy, Go 1.25)
#   install-dev-tools.sh --peers          also a Python with the clustering
#                                         libraries that tests/bench/peers compares
#   install-dev-tools.sh --which TOOL     prints where TOOL (buf, grpcurl,
#                                         collector, otel-python, peers) is; fails
#                                         where it is not
#   FAULTLINE_TOOLS   where they go; default: ~/.cache/faultline-tools
set -euo pipefail

buf_version=1.47.2
grpcurl_version=v1.8.9 # the last that builds with Debian 12's Go 1.19
# Its versions are in its go.mod and go.sum.
collector_source=$(cd "$(dirname "$0")/.." && pwd)/tests/show/ingest/collector
otel_packages=(
  opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-grpc==1.45.2
  openinference-instrumentation==0.1.72 openinference-semantic-conventions==0.1.42
)
peer_packages=(
  numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 hdbscan==0.8.44 fast-hdbscan==0.3.4 umap-learn==0.5.12
  numba==0.68.1 pynndescent==0.7.0
)
tools=${FAULTLINE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/faultline-tools}
declare -A path=([buf]=$tools/node_modules/.bin/buf [grpcurl]=$tools/bin/grpcurl
                 [collector]=$tools/bin/collector [otel-python]=$tools/bin/otel-python
                 [peers]=$tools/bin/peers)

if [[ ${1:-} == --which ]]; then
  [[ -x ${path[$2]:-} ]] && echo "${path[$2]}" && exit
  command -v "$2"
  exit
fi

sudo=()
if ((EUID != 0)) && command -v sudo >/dev/null; then sudo=(sudo); fi
# need COMMAND PACKAGE: installs the Debian package where the command is absent.
need() {
  command -v "$1" >/dev/null ||
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

failed=0
mkdir -p "$tools/bin"
if [[ ! -x ${path[buf]} ]]; then
  echo "install-dev-tools: buf $buf_version"
  { need npm npm && npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" "@bufbuild/buf@$buf_version" &&
    "${path[buf]}" --version >/dev/null; } ||
    { failed=1; echo "install-dev-tools: buf could not be installed" >&2; }
fi
if [[ ! -x ${path[grpcurl]} ]]; then
  echo "install-dev-tools: grpcurl $grpcurl_version"
  { need go golang-go && GOBIN=$tools/bin go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version" 2>"$tools/grpcurl.log"; } ||
    { failed=1; echo "install-dev-tools: grpcurl could not be installed (see $tools/grpcurl.log)" >&2; }
fi
if [[ ${1:-} == --collector && ! -x ${path[collector]} ]]; then
  echo "install-dev-tools: OpenTelemetry Collector $(sed -n 's/.*collector\/otelcol //p' "$collector_source/go.mod")"
  { need go golang-go && (cd "$collector_source" && CGO_ENABLED=0 go build -p 1 -mod=readonly -trimpath -o "${path[collector]}" .) 2>"$tools/collector.log"; } ||
    { failed=1; echo "install-dev-tools: the OpenTelemetry Collector could not be built (see $tools/collector.log)" >&2; }
fi
# python_with TOOL DIRECTORY PACKAGE...: a Python that has the packages.
python_with() {
  [[ ! -x ${path[$1]} ]] || return 0
  echo "install-dev-tools: Python with ${*:3}"
  { need python3 python3 && { python3 -m venv --clear "$tools/$2" || { need "" python3-venv && python3 -m venv --clear "$tools/$2"; }; } >/dev/null 2>&1 &&
    "$tools/$2/bin/python" -m pip install --quiet --disable-pip-version-check "${@:3}" &&
    # Last, so that half an installation does not count.
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$tools/$2/bin/python" >"${path[$1]}" && chmod +x "${path[$1]}"; } ||
    { failed=1; echo "install-dev-tools: $1 could not be installed" >&2; }
}
python_with otel-python otel "${otel_packages[@]}"
if [[ ${1:-} == --peers ]]; then python_with peers peers "${peer_packages[@]}"; fi
exit "$failed"
