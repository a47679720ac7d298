#!/usr/bin/env bash
# Installs what is missing, builds the dev preset and runs every test and house
# check. The last line counts them.
#   tests/run.sh [ARGUMENTS OF CTEST]     such as -R unit/
#   PRESET   dev (default), release, asan or tsan
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${PRESET:-dev}
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

step "install"
deploy/install-deps.sh
deploy/install-dev-tools.sh || echo "tests that need these tools will be skipped"
step "build, preset $preset"
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
step "test"
log=build/$preset/ctest.log
status=0
ctest --preset "$preset" --timeout 300 "$@" 2>&1 | tee "$log" || status=$?
step "done"
# The counts as ctest itself gives them.
awk '/tests passed, .* tests failed out of/ { failed = $4; total = $NF }
     /\(Skipped\)$/ { if (in_list) skipped++ }
     /^The following tests did not run/ { in_list = 1 }
     END { printf "%d passed, %d failed, %d skipped\n", total - failed - skipped, failed, skipped }' "$log"
exit "$status"
