#ifndef FAULTLINE_LIB_DIAGNOSE_SCOPE_H_
#define FAULTLINE_LIB_DIAGNOSE_SCOPE_H_

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/predicate.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"

namespace faultline::diagnose {

// Runs that a router can tell apart before the run.
struct Scope {
  v1::Predicate predicate;  // a comparison, or `all` of none to three
  RunSet runs;              // those of the window that it holds for
};

// `all` of nothing.
Scope EverythingScope(const ContextTable& table);

// What a term must add to a score to be worth its place.
struct ScopeGain {
  double absolute = 0;
  double relative = 0;
};

// Judges the runs that are in both sets; must look at the discovery side only.
using ScopeScore =
    absl::FunctionRef<double(const RunSet& scope, const RunSet& term)>;

// Adds, up to three times, the feature that raises `score` most, categories
// before words and thresholds that are hardly better, until none gains enough.
// The terms stand in an order of their own, so that equal scopes are equal
// messages. `left_out`: start of the fields that may not delimit it, such as
// `memory.` for a change of memory; empty: none.
Scope SearchScope(const ContextTable& table, ScopeScore score,
                  const ScopeGain& gain, absl::string_view left_out = "");

// The scope of a cluster: covers its members and few other runs of the
// discovery side (share of members minus share of the rest, less three
// standard errors under chance). Everything, where nothing tells them apart.
Scope FindClusterScope(const ContextTable& table, const RunSet& members);

// The runs of the window that match `predicate`, by what is kept of them: a
// comparison of another operator than EQUAL, HAS_WORD and AT_LEAST, or of a
// field that is no context, matches nothing.
RunSet MatchingRuns(const Window& window, const v1::Predicate& predicate);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_SCOPE_H_
