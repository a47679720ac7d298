#!/usr/bin/env bash
# The router SDK against the real policy service: a local decision with 100 rules
# takes less than 5 us (median of batches); while policies are swapped as fast as
# they can be, no decision is lost or made of two policies; a router that
# refuses a policy (by push or by poll), one that lags and one that is gone are
# in ListRouters.
#   router.sh [RULES [SECONDS]]     default: 100 5
source "$(dirname "$0")/../common.sh"

need_build router_bench
"$build/bin/router_bench" --rules "${1:-100}" --seconds "${2:-5}" --json "$work/figures.json"
figure() { json "$1" <"$work/figures.json"; }
failed=()
holds "$(figure decision_us) < 5" || failed+=("a decision takes 5 us or more")
holds "$(figure lost) == 0 && $(figure swaps) > 10 && $(figure decisions) > 1000" || failed+=("decisions were lost")
holds "$(figure hidden) == 0" || failed+=("a router is not told of")
echo "figure: $(figure decision_us) us a decision, $(figure lost) of $(figure decisions) lost over $(figure swaps) swaps, $(figure hidden) routers hidden"
((${#failed[@]} == 0)) || fail "${failed[*]}"
