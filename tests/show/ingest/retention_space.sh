#!/usr/bin/env bash
# Claim: what retention and deletion remove is given back to the file system,
# and is then in no file any more.
#   retention_space.sh [TRACES]     default: 20000
# Texts are random, so that they do not compress. Retention keeps a tenth; then
# one type of task is deleted, and a word that only its runs held is looked for.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
total=${1:-20000}
secret=only-in-the-deleted-runs
python3 - "$total" "$secret" >"$work/runs.jsonl" <<'PYTHON'
import json, random, sys
random.seed(1)
total, secret = int(sys.argv[1]), sys.argv[2]
for i in range(total):
    text = f"{random.getrandbits(8000):x}"
    last = i >= total - 10
    print(json.dumps({"trace_id": f"run-{i}",
                      "task": {"type": "private" if last else "qa", "input": f"{secret} {text}" if last else text},
                      "steps": [{"kind": "tool", "name": "search", "output": text}],
                      "evaluation": {"passed": i % 4 != 0}}))
PYTHON

bytes() { du -sb "$work/data" | cut -f1; }
# awaits SECONDS COMMAND...: until it succeeds.
awaits() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 1
  done
}
start_server
ctl import --format runs --json "$work/runs.jsonl" >/dev/null 2>&1 || fail "the import"
ctl tick >/dev/null 2>&1 || fail "the tick"
full=$(bytes)
echo "$total runs: $full bytes in the data directory"

ctl config set "retention.max_traces=$((total / 10))" >/dev/null 2>&1
is_kept() { (($(stored) == total / 10)); }
awaits 150 is_kept || fail "retention left $(stored) runs"
ctl tick >/dev/null 2>&1
is_small() { (($(bytes) < full / 4)); }
awaits 150 is_small || fail "after retention: $(bytes) bytes"
kept=$(bytes)
echo "a tenth kept: $kept bytes"

find_secret() { grep -rlqa "$secret" "$work/data"; }
lacks_secret() { ! find_secret; }
find_secret || fail "the text is in no file before it is deleted: it is compressed"
(($(ctl --json delete --where task.type=private | json traces) > 0)) || fail "there is nothing to delete"
ctl --json delete --where task.type=private --yes >"$work/deleted.json" || fail "the deletion"
echo "deleted: $(<"$work/deleted.json")"
awaits 150 lacks_secret || fail "still in $(grep -rla "$secret" "$work/data" | tr '\n' ' ')"
echo "the deleted text is in no file; of $full bytes are left: $(bytes)"
