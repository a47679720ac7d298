#!/usr/bin/env bash
# Claims, in simulated worlds of both styles whose author shared nothing with
# the planner: of the prompt strategies and memory schemas that it proposes, at
# least .8 are for modes that the prompt or the memory causes, and of its
# proposals for modes that the prompt causes at least .6 are prompt strategies.
#   proposals.sh [WORLDS [SEED]]     default: 4 1000, of each style
# Three ticks of 3,000 failures each. What else is proposed is printed beside it:
# such a world's other causes have no change that removes them.
source "$(dirname "$0")/../common.sh"

need_build proposal_bench
for style in chains scripts; do
  "$build/bin/proposal_bench" --style "$style" --worlds "${1:-4}" --seed "${2:-1000}" >>"$work/proposals.txt"
done
grep -v '^seed' "$work/proposals.txt" | grep '^  ' | cut -c1-160
python3 - "$work/proposals.txt" <<'PYTHON'
import collections
import sys

counts = collections.Counter()
for line in open(sys.argv[1]):
    if line.startswith((" ", "seed")):
        continue
    cause, kind, count = line.split()
    counts[cause, kind] += int(count)
for (cause, kind), count in sorted(counts.items()):
    print("%-14s %-16s %d" % (cause, kind, count))
remedy = {"PROMPT_STRATEGY": "prompt", "MEMORY_SCHEMA": "memory"}
proposed = sum(n for (_, kind), n in counts.items() if kind in remedy)
right = sum(n for (cause, kind), n in counts.items() if remedy.get(kind) == cause)
by_prompt = sum(n for (cause, _), n in counts.items() if cause == "prompt")
found = counts["prompt", "PROMPT_STRATEGY"]
print("prompt strategies and memory schemas for modes with that cause: %d of %d; "
      "proposals for modes caused by the prompt that are one: %d of %d" % (right, proposed, found, by_prompt))
sys.exit(not (proposed >= 5 and right >= .8 * proposed and found >= .6 * by_prompt))
PYTHON
