#!/usr/bin/env bash
# Claim: a checkpoint that is cut or flipped anywhere, or of another project, is
# noticed, named in the log, and made again from the log; no run is missing.
#   corruption.sh [TRACES [ROUNDS]]     default: 15000 20
source "$(dirname "$0")/../common.sh"
source "$(dirname "$0")/fill.sh"

need_build faultlined faultlinectl ingest_bench
traces=${1:-15000}
rounds=${2:-20}
fill "$traces"
# Every count, and the runs most like one in both views.
report() {
  for field in traces failures indexedSequence; do project "$field"; done
  for view in trajectory behavior; do
    ctl --json --project bench similar "$first_id" --limit 50 --view "$view" | sha256sum
  done
}
before=$(report)
stop_server
file=$work/data/checkpoints/bench.ckpt
[[ -s $file ]] || fail "no checkpoint after a stop"
cp "$file" "$work/good"
size=$(stat -c %s "$file")
echo "a checkpoint of $size bytes, $traces traces"

# damage HOW ROUND: overwrites the checkpoint with a damaged one.
damage() {
  cp "$work/good" "$file"
  python3 - "$file" "$1" "$2" <<'PYTHON'
import os, random, sys
path, how, seed = sys.argv[1:]
random.seed(seed)
size = os.path.getsize(path)
# Now and then right at the ends, where the headers are.
at = random.choice([random.randrange(size), random.randrange(64), size - 1 - random.randrange(128)])
if how == "cut":
    os.truncate(path, at)
else:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << random.randrange(8))]))
print(f"  {how} at {at}")
PYTHON
}

caught=0 repaired=0
for ((round = 1; round <= rounds; ++round)); do
  how=$([[ $((round % 2)) == 1 ]] && echo cut || echo flip)
  damage "$how" "$round"
  : >"$work/faultlined.log"
  start_server "$port" --config "$work/config.textproto"
  ! grep -q "$file" "$work/faultlined.log" || caught=$((caught + 1))
  [[ $(report) == "$before" ]] || fail "round $round: the answers are not those of before"
  stop_server
  # Made again, and good: the next start has nothing to say of it.
  : >"$work/faultlined.log"
  start_server "$port" --config "$work/config.textproto"
  if [[ -s $file ]] && ! grep -q "$file" "$work/faultlined.log"; then repaired=$((repaired + 1)); fi
  stop_server
done
echo "$caught of $rounds damaged checkpoints named, $repaired made again, all answers as before"
holds "$caught == $rounds && $repaired == $rounds" || fail "some were not"
