#!/usr/bin/env bash
# Claim: whatever a disk does (failing and short writes, no space left, a log
# that is cut, flipped bits in any file), the server acknowledges nothing that is
# not durable, loses and doubles nothing that it acknowledged without saying so,
# answers nothing wrong, and does not crash. The clock that jumps back is a unit
# test: AWallClockThatJumpsBackLosesAndStallsNothing.
#   faults.sh [ROUNDS [PART...]]     default: 12 writes disk wal flips
# ROUNDS: cuts of the write-ahead log, and flips of each kind of file.
source "$(dirname "$0")/../common.sh"

need_build faultlined faultlinectl fault_load
rounds=${1:-12}
parts=${*:2}
ledger=$work/ledger
lost=0 duplicates=0 silent=0 crashes=0
cat >"$work/config.textproto" <<'CONFIG'
default_project { tick_interval { seconds: 0 } assembly { quiet_period { nanos: 200000000 } } }
CONFIG
flags=(0 --config "$work/config.textproto")

crashed() { crashes=$((crashes + 1)); echo "  CRASH: $1"; tail -n 3 "$work/faultlined.log"; server_pid=; }
alive() { kill -0 "$server_pid" 2>/dev/null; }
load() { "$build/bin/fault_load" load --port "${address#*:}" --ledger "$ledger" --seconds "$1" >"$work/load.txt"; }
# answers [COUNT]: the errors that the last load got, other than a server that is
# gone; none is fine.
answers() {
  { sed -n 's/^  answered [0-9]* times: /  answered: /p' "$work/load.txt" |
    grep -v 'Connection\|Socket\|connections' | cut -c1-230 | sort -u | head -n "${1:-3}"; } || true
}
# check [FLAG]: holds the server to the ledger.
check() {
  "$build/bin/fault_load" check --port "${address#*:}" --ledger "$ledger" "$@" >"$work/check.txt" || cat "$work/check.txt"
  local figures
  figures=$(tail -n 1 "$work/check.txt")
  [[ $figures =~ lost:\ ([0-9]+),\ duplicates:\ ([0-9]+) ]] || fail "no figures: $figures"
  lost=$((lost + BASH_REMATCH[1])) duplicates=$((duplicates + BASH_REMATCH[2]))
}
# A directory with tables, a write-ahead log and checkpoints, as kill -9 leaves
# it: in $work/good, with its ledger.
make_good() {
  rm -rf "$work/data" "$work/good" "$ledger"
  start_server "${flags[@]}"
  load 3
  check
  stop_server
  start_server "${flags[@]}"
  load 2
  check
  kill_server
  cp -r "$work/data" "$work/good"
  cp "$ledger" "$work/good.ledger"
}
reset() {
  rm -rf "$work/data"
  cp -r "$work/good" "$work/data"
  cp "$work/good.ledger" "$ledger"
  : >"$work/faultlined.log"
}
# random FROM BELOW
random() { echo $((${1} + (RANDOM * 32768 + RANDOM) % (${2} - ${1}))); }

# --- Writes that fail, from some moment on or for a while, as EIO does ---

# failing FILES CALL AFTER TIMES ERROR
failing() {
  rm -rf "$work/data" "$ledger"
  mkdir -p "$work/data"
  : >"$work/faultlined.log"
  export FAILING_BELOW=$work/data FAILING_FILES=$1 FAILING_CALL=$2 FAILING_AFTER=$3 FAILING_TIMES=$4 FAILING_ERROR=$5
  LD_PRELOAD=$build/bin/libfaultline_failing_writes.so launch_server "${flags[@]}" ||
    { echo "$2 of $1, $5 after $3: refuses to start: $(tail -n 1 "$work/faultlined.log")"; unset FAILING_BELOW; return; }
  unset FAILING_BELOW
  local resumed='not tried'
  load 3
  if ! alive; then
    crashed "$2 of $1, $5 after $3"
  else
    # Some that were refused are taken again, without a start.
    if [[ $4 -lt 100 ]]; then
      resumed=no
      load 1
      ! grep -q 'acknowledged: [1-9]' "$work/load.txt" || resumed=yes
    fi
    kill_server
  fi
  start_server "${flags[@]}"
  check
  echo "$2 of *$1, $5 after $3, $4 times: $(tail -n 1 "$work/check.txt"); goes on without a start: $resumed"
  answers 2
  kill_server
}

part_writes() {
  [[ -e $build/bin/libfaultline_failing_writes.so ]] || skip "no libfaultline_failing_writes.so"
  failing .log write 20000 100000000 EIO    # half of a write, then errors
  failing .log write 300000 2 ENOSPC        # and then it is mended
  failing .log write 300000 2 EIO
  failing .log sync 100 100000000 EIO
  failing .log sync 100 1 EIO
  failing .sst write 1000 3 ENOSPC
  failing .sst sync 1 1 EIO
  failing MANIFEST write 3000 2 EIO
  failing MANIFEST sync 8 1 EIO
  failing .tmp write 1000 100000000 ENOSPC  # checkpoints
}

# --- A disk that is full ---

# fill_disk BYTES: leaves so many; or less, where the server takes some meanwhile.
fill_disk() {
  head -c "$(($(df --output=avail -B1 "$work/disk" | tail -n 1) - $1))" /dev/zero >"$work/disk/ballast" || true
}

part_disk() {
  local disk=$work/disk
  mkdir -p "$disk"
  if ! mount -t tmpfs -o size=256m tmpfs "$disk" 2>/dev/null; then
    echo "full disk: a small file system cannot be mounted here; ENOSPC is injected above"
    return
  fi
  trap 'umount -l "$work/disk"; finish' EXIT
  rm -rf "$work/data" "$ledger"
  : >"$work/faultlined.log"
  mkdir "$disk/data"
  ln -s "$disk/data" "$work/data"
  start_server "${flags[@]}"
  load 2
  fill_disk 3000000
  load 6
  alive || { crashed "a full disk"; start_server "${flags[@]}"; }
  local said
  said=$(answers 20 | grep -c 'answered: 14 .*disk of the data directory is full') || true
  answers
  local id
  id=$(awk '$1 == 0 && $3 == 1 && $6 == 0 { print "w" $2; exit }' "$ledger")
  ctl --project mixed trace "$id" >/dev/null && ctl --project mixed similar "$id" >/dev/null ||
    { silent=$((silent + 1)); echo "  reads are not served while the disk is full"; }
  rm "$disk/ballast"
  load 3
  local resumed=no
  ! grep -q 'acknowledged: [1-9]' "$work/load.txt" || resumed=yes
  check
  kill_server
  start_server "${flags[@]}"
  check
  kill_server
  echo "full disk: refusals that say so: $said kinds; goes on without a start when there is room: $resumed; $(tail -n 1 "$work/check.txt")"
  ((said > 0)) || { silent=$((silent + 1)); echo "  no refusal says that the disk is full"; }

  # Full while it starts: it must say so, or serve.
  fill_disk 100000
  local code=0
  launch_server "${flags[@]}" || code=$?
  ((code < 128)) || crashed "a start on a full disk"
  ((code == 0)) || echo "  a start on a full disk: $(tail -n 1 "$work/faultlined.log" | cut -c1-200)"
  [[ -z $server_pid ]] || kill_server
  mount -o remount,size=400m "$disk"
  start_server "${flags[@]}"
  check
  kill_server
  rm "$work/data"
  echo "full disk at a start, then a larger one: $(tail -n 1 "$work/check.txt")"
}

# --- A write-ahead log that is cut ---

newest_log() { find "$work/data" -name '*.log' -size +0 -printf '%f\n' | sort | tail -n 1; }

part_wal() {
  make_good
  local refused=0 torn=0 accepted=0 file size at code
  for ((round = 1; round <= rounds; ++round)); do
    reset
    file=$(newest_log)
    size=$(stat -c %s "$work/data/$file")
    at=$(random 0 "$size")
    truncate -s "$at" "$work/data/$file"
    code=0
    launch_server "${flags[@]}" || code=$?
    if [[ -n $server_pid ]]; then
      silent=$((silent + 1))
      echo "  $file cut at $at of $size: it starts, and says nothing"
      kill_server
    elif ((code >= 128)); then
      crashed "$file cut at $at"
    elif grep -q "$file.*--accept_data_loss" "$work/faultlined.log"; then
      refused=$((refused + 1))
    else
      silent=$((silent + 1))
      tail -n 1 "$work/faultlined.log"
    fi
    if launch_server "${flags[@]}" --accept_data_loss; then
      accepted=$((accepted + 1))
      kill_server
    fi
    # What was never synced: the beginning of one more write.
    reset
    head -c "$(random 1 300)" "$work/data/$file" | cat >"$work/torn"
    cat "$work/torn" >>"$work/data/$file"
    start_server "${flags[@]}"
    check
    kill_server
    torn=$((torn + 1))
  done
  echo "write-ahead log cut into what was acknowledged: refused and named $refused of $rounds; started with --accept_data_loss $accepted"
  echo "a write that was torn at its end: $torn starts, $(tail -n 1 "$work/check.txt")"
  ((accepted == rounds)) || silent=$((silent + 1))
}

# --- A flipped bit in every file ---

flip() {
  python3 - "$1" "$2" <<'PYTHON'
import os, random, sys
path, seed = sys.argv[1:]
random.seed(seed)
size = os.path.getsize(path)
# Now and then right at the ends, where the headers are.
at = random.choice([random.randrange(size), random.randrange(min(size, 64)), size - 1 - random.randrange(min(size, 128))])
with open(path, "r+b") as file:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ (1 << random.randrange(8))]))
print(at)
PYTHON
}

part_flips() {
  make_good
  local file kind at code served=0 refused=0 answered=0 flips=0
  local -A seen=()
  # Every file of a kind in turn, until each kind has had its flips.
  for ((round = 1; round <= rounds; ++round)); do
    while read -r kind; do
      mapfile -t files < <(cd "$work/good" && find . -type f -size +0 -printf '%P\n' | sort | grep -E "$kind")
      file=${files[$((round % ${#files[@]}))]}
      reset
      at=$(flip "$work/data/$file" "$round")
      flips=$((flips + 1))
      seen[$kind]=$((${seen[$kind]:-0} + 1))
      code=0
      launch_server "${flags[@]}" || code=$?
      if ((code >= 128)); then
        crashed "$file flipped at $at"
      elif ((code > 0)); then
        refused=$((refused + 1))
        grep -q "$(basename "$file")" "$work/faultlined.log" && grep -q 'estore a backup' "$work/faultlined.log" ||
          { silent=$((silent + 1)); echo "  $file flipped at $at: the refusal does not name it: $(tail -n 1 "$work/faultlined.log")"; }
      else
        check --damaged
        alive || crashed "$file flipped at $at, when it was read"
        if grep -q ' 0 answers of DATA_LOSS' "$work/check.txt"; then
          served=$((served + 1))
        else
          answered=$((answered + 1))
          grep -q "$(basename "$file")" "$work/check.txt" ||
            { silent=$((silent + 1)); echo "  $file flipped at $at: the answers do not name it"; }
        fi
        [[ -z $server_pid ]] || kill_server
      fi
    done < <(cd "$work/good" && find . -type f -size +0 -printf '%P\n' |
      sed -E 's/^LOG(\..*)?$/^LOG/; s/^[0-9]+\.sst$/^[0-9]+\\.sst$/; s/^[0-9]+\.log$/^[0-9]+\\.log$/; s/^(MANIFEST|OPTIONS)-.*/^\1-/' | sort -u)
  done
  echo "flipped bits: $flips in ${#seen[@]} kinds of files (${!seen[*]})"
  echo "  served as before: $served, refused to start with the file's name: $refused, answered DATA_LOSS with the file's name: $answered"
}

RANDOM=1
for part in ${parts:-writes disk wal flips}; do "part_$part"; done
echo "acknowledged and lost: $lost, duplicates: $duplicates, silent corruptions: $silent, crashes: $crashes"
((lost == 0 && duplicates == 0 && silent == 0 && crashes == 0))
