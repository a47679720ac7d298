#!/usr/bin/env bash
# Claim: one command imports all of tau2; at least 95 % are stored in the first
# 10 s; clusters, diagnoses and interventions print; a second import stores
# nothing new.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
files=("$shared"/data/tau2_{airline,retail,telecom}.jsonl)
for file in "${files[@]}"; do need_data "$(basename "$file")"; done
total=$(cat "${files[@]}" | wc -l)
start_server

ctl import --format runs --json "${files[@]}" >"$work/first.json" &
import=$!
for _ in {1..100}; do kill -0 "$import" 2>/dev/null || break; sleep 0.1; done
in_time=$(stored)
wait "$import" || fail "the import"
cat "$work/first.json"
ctl tick
ctl clusters
ctl interventions
ctl --json clusters --limit 1000 >"$work/clusters.json" 2>/dev/null
clusters=$(python3 -c 'import json, sys; print(sum("diagnosis" in c and c["diagnosis"] is not None for c in json.load(sys.stdin)["clusters"]))' <"$work/clusters.json")
interventions=$(ctl --json interventions | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["interventions"]))')
ctl import --format runs --json "${files[@]}" >"$work/second.json" 2>/dev/null || fail "the second import"
again=$(json stored <"$work/second.json")

echo "runs: $total, stored in the end: $(stored), in the first 10 s: $in_time"
echo "diagnosed clusters: $clusters, interventions: $interventions"
echo "stored by the second import: $again of at most 0"
echo "stored in the first 10 s: $(awk "BEGIN { print 100 * $in_time / $total }") % of at least 95 %"
holds "$in_time >= 0.95 * $total" && [[ $(stored) == "$total" && $again == 0 ]] && ((clusters > 0 && interventions > 0))
