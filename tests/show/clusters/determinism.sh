#!/usr/bin/env bash
# The same runs give the same clusters:
#   threads    ticks over simulated worlds, two in a row, by 1 and by 2 threads:
#              digests of state and policy are equal, bit by bit;
#   order      two servers that got the same runs in different orders: clusters
#              are equal in all that is known of them, members and figures;
#   restarts   a server that is killed (-9) in the middle of ticks and comes back
#              ends as one that ran as many ticks undisturbed.
# Of two servers the clock differs, so ids, times and the etag, a hash over both,
# are left out of what is compared, and nothing else.
#   determinism.sh [WORLDS [KILLS]]     default: 3 8
source "$(dirname "$0")/../common.sh"

worlds=${1:-3}
kills=${2:-8}
need_build cluster_bench faultlined faultlinectl
differences=0

for style in chains scripts; do
  for threads in 1 2; do
    "$build/bin/cluster_bench" --style "$style" --failures 3000 --seed 1000 --worlds "$worlds" --windows 2 \
      --threads "$threads" --tick_only --digest | grep '^tick ' >"$work/digests-$threads"
  done
  ticks=$(wc -l <"$work/digests-1")
  ((ticks == 2 * worlds)) || fail "$ticks digests of $((2 * worlds))"
  different=$(diff "$work/digests-1" "$work/digests-2" | grep -c '^<' || true)
  echo "threads, $style: $different of $ticks ticks differ"
  ((differences += different)) || true
done

# Runs of an agent with five tools that fails in three ways and by chance.
python3 - "$work" <<'PYTHON'
import json
import random
import sys
draw = random.Random(1000)
lines = []
for i in range(4000):
    task, model = draw.choice(["book", "find", "pay"]), draw.choice(["small", "large"])
    steps = [{"kind": "tool", "name": draw.choice(["search", "read", "write", "ask", "sum"]), "status": "ok",
              "duration": f"{draw.uniform(.01, .5):.3f}s"} for _ in range(draw.randint(1, 6))]
    failed = draw.random() < .08
    if task == "pay" and draw.random() < .4:
        steps += [{"kind": "tool", "name": "charge", "status": "error", "error_type": "bad_argument"}] * 2
        failed = True
    elif model == "small" and task == "find" and draw.random() < .5:
        steps += [{"kind": "tool", "name": "search", "status": "ok"}] * draw.randint(6, 9)
        failed = True
    elif draw.random() < .06:
        steps += [{"kind": "tool", "name": "read", "status": "error", "error_type": "timeout"}]
        failed = True
    lines.append(json.dumps({
        "episode_id": f"run-{i}", "start_time": f"2026-01-02T{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}Z",
        "task": {"type": task, "input": " ".join(draw.choices(["red", "green", "blue", "old", "new"], k=4))},
        "system_state": {"agent": "a", "model": model}, "execution_trace": steps,
        "evaluation": {"outcome": "fail" if failed else "pass"}}))
open(f"{sys.argv[1]}/forth.jsonl", "w").write("\n".join(lines))
draw.shuffle(lines)
open(f"{sys.argv[1]}/mixed.jsonl", "w").write("\n".join(lines))
PYTHON

# clusters_of FILE: all that is known of the clusters, without ids and times, one
# cluster a line.
clusters_of() {
  local cluster
  ctl --json clusters --limit 1000 >"$work/clusters.json"
  rm -f "$work"/members-*
  for cluster in $(python3 -c 'import json, sys; print(*(c["name"].split("/")[-1] for c in json.load(sys.stdin)["clusters"]))' <"$work/clusters.json"); do
    ctl --json members "$cluster" --limit 1000000 >"$work/members-$cluster"
  done
  python3 - "$work" >"$1" <<'PYTHON'
import json
import re
import sys

def canonical(message):
    if isinstance(message, dict):
        return {key: canonical(value) for key, value in message.items() if key != "etag" and not key.endswith("Time")}
    if isinstance(message, list):
        return [canonical(value) for value in message]
    if isinstance(message, str):
        return re.sub(r"\b[0-9a-hjkmnp-tv-z]{26}\b", "ID", message)
    return message

lines = []
for cluster in json.load(open(f"{sys.argv[1]}/clusters.json"))["clusters"]:
    name = cluster["name"].split("/")[-1]
    members = json.load(open(f"{sys.argv[1]}/members-{name}"))["members"]
    lines.append(json.dumps([canonical(cluster), sorted((m["trace"]["traceId"], m["strength"], m["role"], m["distance"]) for m in members)],
                            sort_keys=True))
print("\n".join(sorted(lines)))
PYTHON
}
# serve FILE: a new server that has the runs of FILE.
serve() {
  [[ -z $server_pid ]] || stop_server
  rm -rf "$work/data"
  start_server
  ctl import --format episodes --json "$1" >/dev/null 2>&1
}
# compare NAME FILE FILE: prints and counts the clusters that only one side has.
compare() {
  local all different
  all=$(wc -l <"$2")
  different=$(diff "$2" "$3" | grep -c '^[<>]' || true)
  echo "$1: $all clusters, lines that differ: $different"
  ((all > 2)) || fail "fewer than three clusters: nothing to compare"
  ((differences += different)) || true
}

serve "$work/forth.jsonl"
ctl tick >/dev/null
clusters_of "$work/forth"
serve "$work/mixed.jsonl"
ctl tick >/dev/null
clusters_of "$work/mixed"
compare "order of the runs" "$work/forth" "$work/mixed"

serve "$work/forth.jsonl"
for ((round = 0; round < kills; round++)); do
  ctl tick >/dev/null 2>&1 &
  tick=$!
  sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
  kill_server
  wait "$tick" 2>/dev/null || true
  start_server
done
ctl tick >/dev/null
clusters_of "$work/killed"
ticks=$(ctl --json ticks --limit 1000 | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["ticks"]))')
serve "$work/forth.jsonl"
for ((i = 0; i < ticks; i++)); do ctl tick >/dev/null; done
clusters_of "$work/undisturbed"
echo "of $kills ticks that a kill came upon, $((ticks - 1)) were done before it"
compare "restarts" "$work/undisturbed" "$work/killed"

echo "figure: $differences differences"
((differences == 0))
