#!/usr/bin/env bash
# Claim: grpcurl and `buf curl` list the services by reflection and query
# clusters and policy. Tries those that deploy/install-dev-tools.sh installed.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl
grpcurl=$("$root/deploy/install-dev-tools.sh" --which grpcurl) || grpcurl=
buf=$("$root/deploy/install-dev-tools.sh" --which buf) || buf=
[[ -n $grpcurl$buf ]] || skip "neither grpcurl nor buf: deploy/install-dev-tools.sh"
start_server
printf '%s\n' '{"trace_id": "a", "evaluation": {"passed": false}}' >"$work/run.jsonl"
ctl import --format runs "$work/run.jsonl" >/dev/null 2>&1 || fail "the import"
ctl tick >/dev/null || fail "the tick"

services="AdminService BehaviorService ClusterService InterventionService PolicyService TraceIngestService"
answered=0
# expect WHAT PATTERN COMMAND...: the command works and prints the pattern.
expect() {
  local what=$1 pattern=$2 output
  shift 2
  output=$("$@" 2>&1) || fail "$what: $output"
  grep -q -- "$pattern" <<<"$output" || fail "$what: no '$pattern' in: $output"
  echo "$what: $(tr -d '\n ' <<<"$output" | cut -c 1-100)"
  answered=$((answered + 1))
}
parent='{"parent": "projects/default"}'
if [[ -n $grpcurl ]]; then
  "$grpcurl" -plaintext "$address" list >"$work/services" || fail "grpcurl list"
  for service in $services; do expect "grpcurl list" "faultline.v1.$service" grep -x "faultline.v1.$service" "$work/services"; done
  expect "grpcurl describe" "rpc GetPolicy" "$grpcurl" -plaintext "$address" describe faultline.v1.PolicyService
  expect "grpcurl clusters" '"tick": "1"' "$grpcurl" -plaintext -d "$parent" "$address" faultline.v1.ClusterService/ListClusters
  expect "grpcurl policy" '"version": "1"' "$grpcurl" -plaintext -d "$parent" "$address" faultline.v1.PolicyService/GetPolicy
  expect "grpcurl health" '"SERVING"' "$grpcurl" -plaintext "$address" grpc.health.v1.Health/Check
fi
if [[ -n $buf ]]; then
  curl=("$buf" curl --protocol grpc --http2-prior-knowledge)
  expect "buf curl list" "faultline.v1.PolicyService" "${curl[@]}" --list-services "http://$address"
  expect "buf curl clusters" '"tick": "1"' "${curl[@]}" -d "$parent" "http://$address/faultline.v1.ClusterService/ListClusters"
  expect "buf curl policy" '"version": "1"' "${curl[@]}" -d "$parent" "http://$address/faultline.v1.PolicyService/GetPolicy"
fi
echo "answers by reflection: $answered (grpcurl: ${grpcurl:-absent}, buf: ${buf:-absent})"
