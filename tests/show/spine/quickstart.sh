#!/usr/bin/env bash
# Claim: deploy/quickstart.sh in a fresh Debian 12 tree ends well, with under 15
# minutes of build; the failure rate of the lab's last ticks is below that of
# no policy by at least 30 % of the gap to the oracle.
source "$(dirname "$0")/../common.sh"

fresh=$shared/tools/fresh.sh
[[ -e $fresh && $EUID == 0 ]] || skip "needs root and $fresh"
log=$work/quickstart.log
# The server is stopped, because the tree is removed under it. The port is not
# the default one: the tree shares the network of this machine.
"$fresh" "$root" 'PORT=7371 deploy/quickstart.sh && deploy/quickstart.sh --stop' 2>&1 | tee "$log" ||
  fail "quickstart did not end well"

seconds_at() { sed -n "s/^== $1.*(\([0-9]*\) s)\$/\1/p" "$log"; }
build_seconds=$(($(seconds_at start) - $(seconds_at build)))
grep -E '^(none|oracle|ours) ' "$log"
captured=$(sed -n 's/^share of the gap from none to oracle that is captured, last ticks: .* ours //p' "$log")
[[ -n $captured ]] || fail "the lab printed no figure"
echo "build: $build_seconds s of at most 900"
echo "share of the gap captured: $captured of at least 0.30"
holds "$build_seconds < 900" && holds "$captured >= 0.30"
