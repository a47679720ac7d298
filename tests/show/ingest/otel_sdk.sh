#!/usr/bin/env bash
# Claim: what the OpenTelemetry SDK for Python exports, OpenInference's and
# OpenTelemetry's attributes and ours, is stored as it was sent, field by field.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
python=$("$root/deploy/install-dev-tools.sh" --which otel-python) || skip "no OpenTelemetry SDK: deploy/install-dev-tools.sh"
sdk=$root/tests/integration/otel_sdk.py
start_server
# Something to be similar to.
printf '%s\n' '{"trace_id": "anchor"}' >"$work/anchor.jsonl"
ctl --project otel-sdk import --format runs "$work/anchor.jsonl" >/dev/null 2>&1 || fail "the import"

begin=$(now)
"$python" "$sdk" send "$address" >"$work/sent.json" || fail "the export"
# One of the runs is whole only when its root has been silent for a while.
status=2
for _ in {1..300}; do
  ctl --project otel-sdk --json similar anchor --limit 100 >"$work/stored.json" || fail "reading back"
  status=0
  python3 "$sdk" compare "$work/sent.json" "$work/stored.json" >"$work/compared" || status=$?
  ((status == 2)) || break
  sleep 0.1
done
cat "$work/compared"
echo "all there after $(awk "BEGIN { printf \"%.1f\", $(now) - $begin }") s"
grep '^runs:' "$work/compared"
((status == 0))
