# What the scripts of tests/show share. They run after a build; BUILD_DIR says
# which (default: build/release). A script prints what it measured, its figure
# last, and exits 0 only where its claim holds, 77 where it cannot be tried.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${BUILD_DIR:-$root/build/release}
shared=${FAULTLINE_SHARED:-$root/../shared}
work=$(mktemp -d "${TMPDIR:-/tmp}/faultline-show.XXXXXX")
server_pid=

finish() {
  [[ -z $server_pid ]] || kill -KILL "$server_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

fail() { echo "FAILED: $*"; exit 1; }
skip() { echo "skipped: $*"; exit 77; }
# holds CONDITION...: `holds 3.2 '<' 5`; numbers may have a fraction.
holds() { awk "BEGIN { exit !($*) }"; }
# json FIELD: one number or text of the JSON object on stdin.
json() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
now() { date +%s.%N; }

need_build() {
  local name
  for name in "$@"; do
    [[ -x $build/bin/$name ]] || skip "no $build/bin/$name: cmake --preset release && cmake --build --preset release"
  done
}
need_data() { [[ -e $shared/data/$1 ]] || skip "no $shared/data/$1"; }

# start_server [PORT [FLAG...]]: on a data directory that stays; sets server_pid,
# address. Waits until it serves, two minutes at most.
start_server() {
  launch_server "$@" || { tail -n 5 "$work/faultlined.log"; fail "the server did not start"; }
}
# The same, and where it ends before it serves returns its exit code.
launch_server() {
  local code=0
  rm -f "$work/port"
  "$build/bin/faultlined" --data_dir "$work/data" --listen "127.0.0.1:${1:-0}" --port_file "$work/port" \
    --log_level warning "${@:2}" >>"$work/faultlined.log" 2>&1 &
  server_pid=$!
  for _ in {1..2400}; do
    [[ -s $work/port ]] && address=127.0.0.1:$(<"$work/port") && ctl --timeout 1 status >/dev/null 2>&1 &&
      { disown "$server_pid"; return 0; }
    kill -0 "$server_pid" 2>/dev/null || { wait "$server_pid" || code=$?; server_pid=; return "$code"; }
    sleep 0.05
  done
  fail "the server does not answer"
}
stop_server() { kill -TERM "$server_pid"; while kill -0 "$server_pid" 2>/dev/null; do sleep 0.02; done; server_pid=; }
kill_server() { kill -KILL "$server_pid"; while kill -0 "$server_pid" 2>/dev/null; do sleep 0.01; done; server_pid=; }
ctl() { "$build/bin/faultlinectl" --server "$address" "$@"; }
# Stored traces of the project `default`.
stored() {
  ctl --json --project default status 2>/dev/null |
    python3 -c 'import json, sys; print(sum(int(p["traces"]) for p in json.load(sys.stdin)["projects"]))' 2>/dev/null || echo 0
}
