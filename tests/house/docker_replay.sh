#!/usr/bin/env bash
# Replays docker/Dockerfile as far as that goes without an engine: its install
# scripts, its `cmake --install` into an empty prefix, its entry point and its
# health check, read from the file itself. Not tried: the base images, the user,
# the volume, the published port.
#   BUILD_DIR   a finished build; default: build/release
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${BUILD_DIR:-build/release}
for name in faultlined faultlinectl faultline-lab; do
  [[ -x $build/bin/$name ]] || { echo "docker_replay: skipped: no $build/bin/$name"; exit 77; }
done
work=$(mktemp -d)
server=
finish() {
  [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
fail() { echo "docker_replay: $*"; exit 1; }
# instruction PATTERN: the one line of the Dockerfile that matches.
instruction() {
  local lines; lines=$(grep -E -- "$1" docker/Dockerfile) || fail "the Dockerfile has no line $1"
  [[ $(wc -l <<<"$lines") == 1 ]] || fail "the Dockerfile has several lines $1"
  echo "$lines"
}
# words INSTRUCTION: the words of its JSON form, one a line.
words() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1][sys.argv[1].index("["):])))' "$1"; }

# What is copied must be there.
while read -r source; do
  [[ -e $source ]] || fail "COPY of $source, which does not exist"
done < <(sed -n 's/^COPY \([^-][^ ]*\) .*/\1/p' docker/Dockerfile)

# The build stage: this machine's packages are the same Debian ones.
step=$(instruction '^RUN deploy/install-deps.sh$')
bash -c "${step#RUN }" >"$work/log" 2>&1 || { cat "$work/log"; fail "$step"; }
step=$(instruction '^RUN cmake --preset'); preset=${step##* }
grep -q "\"name\": \"$preset\"" CMakePresets.json || fail "no preset $preset"
step=$(instruction '^RUN cmake --install')
step=${step/build\/$preset/"$build"}
step=${step/\/opt\/faultline/"$work/prefix"}
bash -c "${step#RUN }" >"$work/log" 2>&1 || { cat "$work/log"; fail "$step"; }

# The runtime stage: the listed packages hold every library that the installed
# programs ask for.
packages=$(sed -n '/--runtime ]]/,/^fi/p' deploy/install-deps.sh | tr -s ' ()' '\n')
for program in "$work"/prefix/bin/*; do
  while read -r library; do
    path=$(readlink -f "$(ldconfig -p | awk -v name="$library" '$1 == name { print $NF; exit }')")
    package=$({ dpkg -S "$path" || dpkg -S "${path#/usr}"; } 2>/dev/null | cut -d: -f1)
    [[ $package == libc6 || $package == libgcc-s1 ]] || grep -qxF -- "$package" <<<"$packages" ||
      fail "$(basename "$program") needs $package, which deploy/install-deps.sh --runtime does not list"
  done < <(readelf -d "$program" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -v '^ld-linux')
done

# The entry point and the health check, as installed, on a free port.
mapfile -t entry < <(words "$(instruction '^ENTRYPOINT')")
mapfile -t health < <(words "$(instruction '^HEALTHCHECK')")
export PATH=$work/prefix/bin:$PATH
[[ $(command -v "${entry[0]}") == "$work/prefix/bin/${entry[0]}" ]] || fail "no ${entry[0]} in the prefix"
entry=("${entry[@]/#\/var\/lib\/faultline/$work/data}")
entry=("${entry[@]/#0.0.0.0:7171/127.0.0.1:0}")
"${entry[@]}" --port_file "$work/port" >"$work/faultlined.log" 2>&1 &
server=$!
export FAULTLINE_SERVER=
for _ in {1..300}; do
  [[ -s $work/port ]] && FAULTLINE_SERVER=127.0.0.1:$(<"$work/port") && "${health[@]}" >"$work/health" 2>&1 && break
  kill -0 "$server" 2>/dev/null || { cat "$work/faultlined.log"; fail "the server did not start"; }
  sleep 0.1
done
"${health[@]}" >"$work/health" 2>&1 || { cat "$work/health"; fail "the health check of a running server fails"; }
kill -TERM "$server"
wait "$server" || fail "the server does not stop cleanly"
server=
! "${health[@]}" >"$work/health" 2>&1 || fail "the health check passes without a server"
echo "docker_replay: installed, started, healthy, stopped ($(du -sh "$work/prefix" | cut -f1))"
