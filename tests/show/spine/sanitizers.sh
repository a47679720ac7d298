#!/usr/bin/env bash
# Claim: the unit, conformance and integration tests pass under AddressSanitizer
# with UndefinedBehaviorSanitizer, and under ThreadSanitizer.
source "$(dirname "$0")/../common.sh"

cd "$root"
failed=0
for preset in asan tsan; do
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" || fail "the build of $preset"
  ctest --preset "$preset" -R '^(unit|conformance|integration)' --timeout 600 | tee "$work/$preset.log" || failed=$((failed + 1))
  echo "$preset: $(grep 'tests passed' "$work/$preset.log")"
done
echo "presets with failures: $failed of at most 0"
((failed == 0))
