#!/usr/bin/env bash
# Claim: one flooding project does not raise another's p99 acknowledgement more
# than twofold, and only the flood is ever refused.
#   fairness.sh [SECONDS]     of each measurement; default: 20
# A quiet project sends 16 traces every 20 ms and waits for each answer, alone
# and then beside eight streams of another project that send as fast as the
# server takes them. The clients share the machine with the server: the flooding
# one runs at the same priority, so that its own work is part of what the quiet
# project suffers.
source "$(dirname "$0")/../common.sh"

need_build faultlined ingest_clients
seconds=${1:-20}
start_server
for project in quiet flood; do
  ctl --project "$project" config set tick_interval=0s >/dev/null 2>&1
done
clients() { "$build/bin/ingest_clients" --server "$address" "$@"; }

clients quiet --seconds "$seconds" >"$work/alone" || fail "$(cat "$work/alone")"
clients flood --seconds $((seconds + 4)) >"$work/flood" &
flood=$!
sleep 2
clients quiet --seconds "$seconds" >"$work/beside" || fail "$(cat "$work/beside")"
wait "$flood"
echo "alone:  $(head -n 1 "$work/alone")"
echo "beside: $(head -n 1 "$work/beside")"
cat "$work/flood"
alone=$(tail -n 1 "$work/alone") beside=$(tail -n 1 "$work/beside")
echo "p99 beside the flood over p99 alone: $(awk "BEGIN { printf \"%.2f\", $beside / $alone }")"
holds "$beside <= 2 * $alone"
