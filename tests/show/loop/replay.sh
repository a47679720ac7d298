#!/usr/bin/env bash
# A tick is a function of the log: the ticks of the lab, computed again, leave
# the same digests and the policies that were served, also after the server was
# killed (-9) in the middle of ticks; and any version of the policy can be made
# again.
#   replay.sh [TICKS [TASKS]]     default: 100 ticks of 300 questions
source "$(dirname "$0")/../common.sh"

ticks=${1:-100}
tasks=${2:-300}
need_build faultlined faultlinectl faultline-lab
project=lab
recorded() { ctl --project "$project" --json ticks --limit 1000 | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["ticks"]))'; }

start_server
kills=0 in_tick=0 round=0 done=0
while ((done < ticks)); do
  # Four in five ticks undisturbed, then one with a kill.
  "$build/bin/faultline-lab" --server "$address" --project "$project" --ticks 4 --tasks-per-tick "$tasks" --seed 1000 \
    --run-id "round$round" --auto-approve >"$work/lab.log" 2>&1 || { tail -n 5 "$work/lab.log"; fail "the lab ended"; }
  before=$(recorded)
  ctl --project "$project" tick >/dev/null 2>&1 &
  tick=$!
  sleep "0.0$((RANDOM % 9 + 1))"
  kill_server
  wait "$tick" 2>/dev/null || true
  start_server
  done=$(recorded)
  kills=$((kills + 1))
  ((done > before)) || in_tick=$((in_tick + 1))
  round=$((round + 1))
done
echo "ticks: $done, kills: $kills, $in_tick of them before the tick was stored"

# Every policy that was served, made again.
versions=$(ctl --project "$project" --json policy versions --limit 1000 | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["policies"]))')
((versions > 1)) || fail "the lab made $versions versions of the policy: nothing to compare"
middle=$(((versions + 1) / 2))
ctl --project "$project" --json policy show --policy-version "$middle" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["policy"]["digest"])' >"$work/served"
ctl --project "$project" replay --policy "$middle" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])' >"$work/again"
cmp -s "$work/served" "$work/again" || fail "policy version $middle of $versions is not what was served"
echo "policy: version $middle of $versions made again from the log, digest $(cut -c1-12 "$work/served")"

begin=$(now)
ctl --project "$project" --json replay >"$work/replay.jsonl" || fail "the replay ended early"
seconds=$(awk "BEGIN { print $(now) - $begin }")
read -r replayed different <<<"$(python3 - "$work/replay.jsonl" <<'PYTHON'
import json
import sys
ticks = [json.loads(line) for line in open(sys.argv[1])]
print(len(ticks), sum(t["digest"] != t["tick"]["digest"] or not t["samePolicy"] for t in ticks))
PYTHON
)"
ctl --project "$project" replay --verify --last 3 >/dev/null || fail "--verify refuses what is the same"
printf 'figure: %d of %d ticks differ, computed again in %.0f s\n' "$different" "$replayed" "$seconds"
((replayed == done && different == 0))
