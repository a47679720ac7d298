# What the scripts about a million traces share. Needs ../common.sh.

# fill COUNT [SETTINGS]: starts a server without ticks and with more settings,
# loads it, and waits for the index. Sets server_pid, address, port, first_id
# (of a trace) and baseline (resident kB before the load).
fill() {
  echo "default_project { tick_interval { seconds: 0 } } ${2:-}" >"$work/config.textproto"
  rm -rf "$work/data"
  start_server 0 --config "$work/config.textproto"
  port=$(<"$work/port")
  baseline=$(resident)
  "$build/bin/ingest_bench" load --port "$port" --traces "$1" | tee "$work/load.txt"
  first_id=$(awk '{ print $NF }' "$work/load.txt")
  until [[ $(project durableSequence) == "$(project indexedSequence)" ]]; do sleep 0.5; done
}

resident() { ps -o rss= -p "$server_pid" | tr -d ' '; }

# project FIELD: of the status of the project that is loaded; 0 where absent.
project() {
  ctl --json --project bench status |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["projects"][0].get(sys.argv[1], 0))' "$1"
}
