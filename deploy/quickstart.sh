#!/usr/bin/env bash
# From a fresh Debian 12 to a running loop: installs, builds, starts a server on
# loopback with a fresh data directory and runs the reference agent runtime
# against it. Ends with the server running.
#   deploy/quickstart.sh            as root or through sudo
#   deploy/quickstart.sh --stop     stops the server that it started
#   PORT    default: 7171
#   TICKS   rounds of the lab; default: 8
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-7171}
ticks=${TICKS:-8}
address=127.0.0.1:$port
bin=build/release/bin
home=build/quickstart
pid_file=$home/faultlined.pid

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
fail() { echo "quickstart: $*" >&2; exit 1; }

running() { [[ -e $pid_file ]] && kill -0 "$(<"$pid_file")" 2>/dev/null; }
stop() {
  if ! running; then echo "quickstart: no server of mine is running"; return; fi
  local pid; pid=$(<"$pid_file")
  kill -TERM "$pid"
  for _ in {1..300}; do kill -0 "$pid" 2>/dev/null || { echo "quickstart: stopped"; rm -f "$pid_file"; return; }; sleep 0.1; done
  fail "the server (process $pid) does not stop; its log is $home/faultlined.log"
}

case ${1:-} in
  --stop) stop; exit ;;
  '') ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

running && fail "a server of mine is running (process $(<"$pid_file")): deploy/quickstart.sh --stop"
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  fail "port $port is in use: PORT=7272 deploy/quickstart.sh takes another"
fi

say "install"
deploy/install-deps.sh

say "build"
mkdir -p "$home"
build_log=$home/build.log
{ cmake --preset release && cmake --build --preset release --target faultlined faultlinectl faultline-lab; } >"$build_log" 2>&1 ||
  { tail -n 20 "$build_log" >&2; fail "the build failed; all of it is in $build_log"; }

say "start faultlined on $address"
data=$home/data
rm -rf "$data"
setsid nohup "$bin/faultlined" --data_dir "$data" --listen "$address" >"$home/faultlined.log" 2>&1 </dev/null &
echo $! >"$pid_file"
finished=
trap '[[ -n $finished ]] || stop >&2' EXIT
for _ in {1..150}; do
  "$bin/faultlinectl" --server "$address" --timeout 1 status >/dev/null 2>&1 && break
  running || { tail -n 5 "$home/faultlined.log" >&2; fail "the server did not start; its log is $home/faultlined.log"; }
  sleep 0.2
done
"$bin/faultlinectl" --server "$address" status >/dev/null || fail "the server does not answer; its log is $home/faultlined.log"

say "run the lab: $ticks ticks; interventions start without a reviewer, at most 12 at a time, on 7 of 10 runs in scope"
"$bin/faultline-lab" --server "$address" --ticks "$ticks" --auto-approve --max-trials 12 --treatment-probability 0.7 \
  --labels "$home/labels.jsonl" --report "$home/lab.html"
echo "curves: $home/lab.html"

say "what the server has learned"
ctl=("$bin/faultlinectl" --server "$address" --project lab)
"${ctl[@]}" clusters --status stable --limit 10
echo
"${ctl[@]}" interventions --status trial
finished=yes

cluster=$("${ctl[@]}" --json clusters --status stable --limit 1 2>/dev/null | sed -n 's/.*"clusterId":"\([^"]*\)".*/\1/p')
grpcurl=$(deploy/install-dev-tools.sh --which grpcurl) || grpcurl=grpcurl
cat <<END

== done ($SECONDS s)
The server goes on at $address; its log is $home/faultlined.log. Try next:

  ${ctl[*]} cluster ${cluster:-ID}
  ${ctl[*]} policy
  $grpcurl -plaintext -d '{"parent": "projects/lab"}' $address faultline.v1.PolicyService/GetPolicy

deploy/install-dev-tools.sh installs grpcurl. To stop: deploy/quickstart.sh --stop
END
