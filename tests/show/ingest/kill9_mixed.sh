#!/usr/bin/env bash
# Claim: kill -9 at random moments during mixed load (whole traces, pieces,
# spans, outcomes, deletions, retention; also during starts, checkpoints and
# compaction): what was acknowledged is there, once, as it was sent; what was
# deleted stays away.
#   kill9_mixed.sh [ROUNDS [SEED]]     default: 200 1
source "$(dirname "$0")/../common.sh"

need_build faultlined fault_load
"$build/bin/fault_load" kill9 --faultlined "$build/bin/faultlined" --data_dir "$work/data" \
  --rounds "${1:-200}" --seed "${2:-1}" 2>"$work/faultlined.log" ||
  { tail -n 5 "$work/faultlined.log"; exit 1; }
