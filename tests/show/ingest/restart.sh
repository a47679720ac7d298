#!/usr/bin/env bash
# Claim: with a million traces a server that was killed reports SERVING in under
# 20 s, and one that was stopped does, too.
#   restart.sh [TRACES]     default: 1000000
source "$(dirname "$0")/../common.sh"
source "$(dirname "$0")/fill.sh"

need_build faultlined faultlinectl ingest_bench
traces=${1:-1000000}
fill "$traces"

# The port is written when the health service says SERVING. Seconds, into `took`.
restart() {
  local begin
  begin=$(now)
  start_server "$port" --config "$work/config.textproto"
  took=$(awk "BEGIN { printf \"%.1f\", $(now) - $begin }")
  [[ $(project traces) -ge $traces ]] || fail "$(project traces) traces of $traces are there"
  [[ $(project indexedSequence) == "$(project durableSequence)" ]] || fail "the index is not complete"
}
kill_server
restart
killed=$took
echo "killed:  SERVING after $killed s"
stop_server
restart
echo "stopped: SERVING after $took s"
echo "$killed s after kill -9, $took s after a stop, with $traces traces; wanted 20"
holds "$killed < 20 && $took < 20" || fail "too slow"
