#!/usr/bin/env bash
# Claim: of the spans that faultlined has acknowledged kill -9 takes none. Beside
# it, on the same machine in the same run and under the same load, the
# OpenTelemetry Collector, twice: as most run it (batches, then a file) and as
# durable as it can be made (a persistent sending queue that is synced).
#   otlp_peer.sh [SECONDS OF LOAD [ROUNDS OF KILL -9]]     default: 30, 5
# A table: spans acknowledged a second, processor time of the server for each,
# spans acknowledged and lost in the rounds. What the table does not say: that
# faultlined also puts the spans together to runs, embeds and indexes these;
# and kill -9 leaves the system's file cache whole, so what is lost here was
# in the process alone.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl ingest_bench
collector=$("$root/deploy/install-dev-tools.sh" --which collector) || skip "no collector: deploy/install-dev-tools.sh --collector"
configs=$root/tests/show/ingest/collector
seconds=${1:-30}
rounds=${2:-5}
sink_pid=

# start NAME: the server of that name, as a new process on what it has left;
# sets server_pid, address.
start() {
  if [[ $1 == faultlined ]]; then
    start_server 0 --config "$work/config.textproto"
    return
  fi
  run_collector "$1" "$port"
  server_pid=$started address=127.0.0.1:$port
}
# run_collector CONFIG PORT: waits until it listens; sets started.
run_collector() {
  PORT=$2 SINK=127.0.0.1:$sink_port DIR=$work/$1 "$collector" --config "$configs/$1.yaml" >>"$work/$1.log" 2>&1 &
  started=$!
  disown "$started"
  for _ in {1..400}; do
    (: <>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && return
    kill -0 "$started" 2>/dev/null || break
    sleep 0.05
  done
  tail -n 5 "$work/$1.log"
  fail "the collector did not start"
}
stop() { kill -TERM "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.02; done; }
stop_sink() { [[ -z $sink_pid ]] || stop "$sink_pid"; sink_pid=; }
# start_sink CONFIG: where the durable collector sends to.
start_sink() { run_collector "$1" "$sink_port" && sink_pid=$started; }
trap '[[ -z $sink_pid ]] || kill -KILL "$sink_pid" 2>/dev/null; finish' EXIT

# Waits until nothing has been written below $work/$1 for three seconds.
await_quiet() {
  local before='' now='' same=0
  while ((same < 6)); do
    sleep 0.5
    now=$(du -sb "$work/$1" | cut -f1)
    if [[ $now == "$before" ]]; then same=$((same + 1)); else same=0; fi
    before=$now
  done
}
# lost_of_file IDS FILE: spans of the runs that the file exporter has not
# written.
lost_of_file() {
  python3 - "$@" <<'PYTHON'
import collections, re, sys
found = collections.defaultdict(set)
span = re.compile(r'"traceId":"([0-9a-f]{32})","spanId":"([0-9a-f]{16})"')
with open(sys.argv[2], errors="replace") as lines:
    for line in lines:
        for trace_id, span_id in span.findall(line):
            found[trace_id].add(span_id)
with open(sys.argv[1]) as runs:
    print(sum(8 - len(found[run.strip()]) for run in runs))
PYTHON
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

port=$(free_port)
sink_port=$(free_port)
# Ticks would share the processors with what is measured.
echo 'default_project { tick_interval { seconds: 0 } }' >"$work/config.textproto"
mkdir "$work/buffered" "$work/durable" "$work/sink" "$work/discard"

declare -A rate cpu acknowledged lost
for name in faultlined buffered durable; do
  # Under load, with a sink that costs next to nothing.
  [[ $name != durable ]] || start_sink discard
  start "$name"
  "$build/bin/ingest_bench" export --server "$address" --pid "$server_pid" --seconds "$seconds" >"$work/out" ||
    { cat "$work/out"; fail "the load of $name"; }
  read -r _ rate[$name] cpu[$name] _ < <(grep '^figures' "$work/out")
  kill_server
  stop_sink
  rm -rf "$work/data" "${work:?}/$name"/*

  # Killed in the middle of it.
  [[ $name != durable ]] || start_sink sink
  : >"$work/ids"
  start "$name"
  for ((round = 0; round < rounds; ++round)); do
    "$build/bin/ingest_bench" export --server "$address" --seconds 5 --ids "$work/ids.$round" >/dev/null &
    load=$!
    sleep "$((2 + RANDOM % 2)).$((RANDOM % 10))"
    kill_server
    wait "$load" || fail "$name acknowledged nothing, or rejected spans"
    cat "$work/ids.$round" >>"$work/ids"
    start "$name"
  done
  acknowledged[$name]=$((8 * $(wc -l <"$work/ids")))
  case $name in
    faultlined) lost[$name]=$(timeout 300 "$build/bin/ingest_bench" missing --server "$address" --ids "$work/ids") || fail "the runs cannot be read" ;;
    buffered) await_quiet buffered && stop "$server_pid" && lost[$name]=$(lost_of_file "$work/ids" "$work/buffered/spans.json") ;;
    durable) await_quiet sink && stop_sink && lost[$name]=$(lost_of_file "$work/ids" "$work/sink/spans.json") ;;
  esac
  kill -KILL "$server_pid" 2>/dev/null || true
  server_pid=
  rm -rf "$work/data" "${work:?}/$name"/*
done

printf '%-38s %9s %12s %14s %10s\n' "acknowledges when spans are" "spans/s" "us of CPU" "acknowledged" "lost by"
printf '%-38s %9s %12s %14s %10s\n' "" "" "a span" "in $rounds rounds" "kill -9"
row() { printf '%-38s %9s %12s %14s %10s\n' "$2" "${rate[$1]}" "${cpu[$1]}" "${acknowledged[$1]}" "${lost[$1]}"; }
row faultlined "faultlined: synced, in its log"
row buffered "collector, batches to a file: in memory"
row durable "collector, durable queue: synced, in it"
echo "acknowledged spans that faultlined lost: ${lost[faultlined]} of at most 0"
((lost[faultlined] == 0 && acknowledged[faultlined] > 0))
