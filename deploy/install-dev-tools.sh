#!/usr/bin/env bash
# Installs what only tests and developers use: buf (npm registry) and grpcurl
# (Go module proxy). Idempotent. Tests that need an absent tool are skipped and
# say so.
#   install-dev-tools.sh                  installs both, and npm and Go where missing
#   install-dev-tools.sh --which TOOL     prints where TOOL is; fails where it is not
#   FAULTLINE_TOOLS   where they go; default: ~/.cache/faultline-tools
set -euo pipefail

buf_version=1.47.2
grpcurl_version=v1.8.9 # the last that builds with Debian 12's Go 1.19
tools=${FAULTLINE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/faultline-tools}
declare -A path=([buf]=$tools/node_modules/.bin/buf [grpcurl]=$tools/bin/grpcurl)

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
exit "$failed"
