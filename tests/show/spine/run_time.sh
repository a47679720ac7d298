#!/usr/bin/env bash
# Claim: tests/run.sh from a clean clone is green, in under 25 minutes. Without
# the compiler cache, so that the time is that of a first build.
source "$(dirname "$0")/../common.sh"

git clone -q "$root" "$work/clone/faultline"
[[ ! -d $shared ]] || ln -s "$(cd "$shared" && pwd)" "$work/clone/shared"
begin=$SECONDS
CCACHE_DISABLE=1 "$work/clone/faultline/tests/run.sh" || fail "tests/run.sh after $((SECONDS - begin)) s"
echo "tests/run.sh: $((SECONDS - begin)) s of at most 1500"
holds "$((SECONDS - begin)) < 1500"
