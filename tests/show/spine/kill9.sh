#!/usr/bin/env bash
# Claim: kill -9 during a streaming import, restart, resume: every acknowledged
# trace is there once.
#   kill9.sh [ROUNDS]     default: 50
# Odd rounds: the import sees the server go, and goes on when it is back. Even
# rounds: the import gives up too; what was acknowledged to it must all be known
# to the restarted server, and a second import completes the rest.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
rounds=${1:-50}
total=6000
runs=$work/runs.jsonl
python3 - "$total" >"$runs" <<'PYTHON'
import json, random, sys
random.seed(1)
for i in range(int(sys.argv[1])):
    steps = [{"kind": "tool", "name": f"tool{random.randrange(9)}", "args": "x" * random.randrange(200),
              "output": "y" * random.randrange(200), "status": random.choice(["ok", "error"])}
             for _ in range(random.randrange(4, 12))]
    print(json.dumps({"trace_id": f"run-{i}", "task": {"type": f"type{i % 3}", "input": f"question {i}"},
                      "steps": steps, "evaluation": {"passed": i % 4 != 0}}))
PYTHON

import() { ctl import --format runs --json "$@" 2>"$work/import.log"; }
# A moment within an import: as long as one takes when nobody kills.
start_server
port=$(<"$work/port")
begin=$(now)
import "$runs" >/dev/null || fail "the import without a kill"
length=$(awk "BEGIN { print $(now) - $begin }")
kill_server
echo "an import of $total traces takes $length s"

RANDOM=1
lost=0 twice=0 killed_midway=0 acknowledged_at_kills=0
for ((round = 1; round <= rounds; ++round)); do
  rm -rf "$work/data"
  start_server "$port"
  patience=$((round % 2 == 1 ? 60 : 1))
  import --patience "$patience" "$runs" >"$work/counts.json" &
  importer=$!
  sleep "$(awk "BEGIN { print $length * $RANDOM / 32768 }")"
  kill_server
  if ((round % 2 == 1)); then
    at_kill=-
    start_server "$port"
    at_restart=$(stored)
    wait "$importer" || fail "round $round: $(cat "$work/import.log")"
    ((at_restart == total)) || killed_midway=$((killed_midway + 1))
  else
    wait "$importer" || true
    acknowledged=$(json settled <"$work/counts.json")
    ((acknowledged == total)) || killed_midway=$((killed_midway + 1))
    at_kill=$acknowledged
    acknowledged_at_kills=$((acknowledged_at_kills + acknowledged))
    start_server "$port"
    at_restart=$(stored)
    if ((acknowledged > 0)); then
      head -n "$acknowledged" "$runs" >"$work/acknowledged.jsonl"
      import "$work/acknowledged.jsonl" >"$work/known.json" || fail "round $round: $(cat "$work/import.log")"
      lost=$((lost + $(json stored <"$work/known.json")))
    fi
    import "$runs" >/dev/null || fail "round $round: $(cat "$work/import.log")"
  fi
  there=$(stored)
  import "$runs" >"$work/known.json" || fail "round $round: $(cat "$work/import.log")"
  known=$(json duplicates <"$work/known.json")
  lost=$((lost + total - known))
  twice=$((twice + there - known))
  echo "round $round: acknowledged before the kill $at_kill, stored at restart $at_restart, in the end $there of $total"
  kill_server
done
echo "rounds: $rounds, kills in mid-import: $killed_midway, acknowledged before the kills of even rounds: $acknowledged_at_kills"
echo "acknowledged traces lost: $lost, stored twice: $twice"
((lost == 0 && twice == 0 && killed_midway > 0))
