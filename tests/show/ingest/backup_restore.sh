#!/usr/bin/env bash
# Claim: a backup that is taken while the server takes traces holds everything
# that was acknowledged before it; restore brings it back, and names a file that
# is damaged.
#   backup_restore.sh [TRACES]     default: 20000
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
total=${1:-20000}
runs() {
  python3 - "$1" "$2" <<'PYTHON'
import json, random, sys
random.seed(sys.argv[1])
for i in range(int(sys.argv[2])):
    print(json.dumps({"trace_id": f"{sys.argv[1]}-{i}", "task": {"type": "qa", "input": f"question {i}"},
                      "steps": [{"kind": "tool", "name": f"tool{random.randrange(9)}"}],
                      "evaluation": {"passed": i % 4 != 0}}))
PYTHON
}
runs before "$total" >"$work/before.jsonl"
runs during "$total" >"$work/during.jsonl"
import() { ctl import --format runs --json "$@" 2>"$work/import.log"; }

start_server
import "$work/before.jsonl" >/dev/null || fail "the import: $(cat "$work/import.log")"
ctl tick >/dev/null 2>&1 || fail "the tick"
import "$work/during.jsonl" >"$work/counts.json" &
importer=$!
sleep 0.2
begin=$(now)
ctl backup --to "$work/backup" || fail "the backup"
echo "the backup took $(awk "BEGIN { print $(now) - $begin }") s, beside an import"
wait "$importer" || fail "the import beside it: $(cat "$work/import.log")"
kill_server

mv "$work/data" "$work/lost"
"$build/bin/faultlinectl" restore --from "$work/backup" --data_dir "$work/data" || fail "the restore"
"$build/bin/faultlinectl" restore --from "$work/backup" --data_dir "$work/data" 2>/dev/null &&
  fail "a directory that is not empty was written to"
start_server
import "$work/before.jsonl" >"$work/known.json" || fail "$(cat "$work/import.log")"
lost=$(json stored <"$work/known.json")
echo "restored: $(($(stored) - lost)) runs, of those acknowledged before the backup lost: $lost of $total"
ctl --json ticks | grep -q '"tick"' || fail "the tick is not in the backup"
import "$work/during.jsonl" >/dev/null || fail "the server does not go on: $(cat "$work/import.log")"
kill_server

# Each file, with one byte changed.
damaged=0 named=0
while read -r file; do
  [[ -s $work/backup/$file ]] || continue
  damaged=$((damaged + 1))
  rm -rf "$work/copy" "$work/copied"
  cp -r "$work/backup" "$work/copy"
  python3 - "$work/copy/$file" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    size = file.seek(0, 2)
    file.seek(size // 2)
    byte = file.read(1)[0]
    file.seek(size // 2)
    file.write(bytes([byte ^ 1]))
PYTHON
  "$build/bin/faultlinectl" restore --from "$work/copy" --data_dir "$work/copied" 2>"$work/error" && continue
  grep -q "$file" "$work/error" && [[ ! -e $work/copied ]] && named=$((named + 1))
done < <(cd "$work/backup" && find . -type f ! -name faultline_backup.textproto -printf '%P\n')
echo "files damaged: $damaged, named by the restore: $named"
echo "acknowledged before the backup and lost: $lost"
((lost == 0 && damaged > 0 && named == damaged))
