#!/usr/bin/env bash
# Claim: the fuzzers of OTLP exports, traces, imported files, checkpoints and
# configuration run 10 minutes each, under AddressSanitizer and
# UndefinedBehaviorSanitizer, without a crash.
#   fuzz.sh [SECONDS EACH]
# What a fuzzer finds on its way is kept in build/fuzz/corpus/NAME and used by
# the next run; an input that crashes is left in build/fuzz/crashes.
source "$(dirname "$0")/../common.sh"

seconds=${1:-600}
cd "$root"
command -v clang++-14 >/dev/null || skip "no clang++-14"
cmake --preset fuzz >/dev/null || skip "clang cannot build fuzzers: libfuzzer-14-dev and libclang-rt-14-dev are needed"
cmake --build --preset fuzz >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; fail "the build of preset fuzz"; }

crashes=build/fuzz/crashes
mkdir -p "$crashes"
# run NAME: leaves its output, and a line that sums it up.
run() {
  local name=$1 state="no crash"
  mkdir -p "build/fuzz/corpus/$name"
  "build/fuzz/bin/${name}_fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="$crashes/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" \
    >"$work/$name.log" 2>&1 || state=$(grep -m 1 -E '^SUMMARY|ERROR: ' "$work/$name.log" || echo "did not run")
  awk -v name="$name" -v state="$state" '/^stat::number_of_executed_units/ { runs = $2 }
     / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cover = $(i + 1) }
     END { printf "%-12s %10d inputs, %5d edges covered, %s\n", name, runs, cover, state }' "$work/$name.log" |
    tee "$work/$name.line"
}
# Two at a time.
for fuzzer in build/fuzz/bin/*_fuzzer; do
  while (($(jobs -rp | wc -l) >= 2)); do wait -n || true; done
  run "$(basename "$fuzzer" _fuzzer)" &
done
wait
inputs=$(awk '{ sum += $2 } END { print sum }' "$work"/*.line)
crashed=$({ grep -L 'no crash$' "$work"/*.line || true; } | wc -l)
echo "fuzzers that crashed in $seconds s each, $inputs inputs: $crashed of at most 0"
((crashed == 0))
