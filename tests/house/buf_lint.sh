#!/usr/bin/env bash
# Lints the protos with buf. Skipped (77) where buf is not installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

buf=$(deploy/install-dev-tools.sh --which buf) || { echo "buf_lint: skipped: no buf (deploy/install-dev-tools.sh)"; exit 77; }
"$buf" lint
echo "buf_lint: clean"
