#include "lib/intervene/types/proposal_support.h"

#include <string>

#include "absl/container/flat_hash_set.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {
constexpr size_t kMinUsual = 20;
}  // namespace

diagnose::RunSet SampledMembers(const ProposalContext& context) {
  absl::flat_hash_set<std::string> ids;
  for (const v1::Trace* trace : context.member_traces) {
    ids.insert(trace->trace_id());
  }
  diagnose::RunSet members(context.runs.size());
  for (size_t i = 0; i < context.runs.size(); ++i) {
    if (ids.contains(context.runs[i]->trace_id)) members.Add(i);
  }
  return members;
}

std::vector<const v1::Trace*> UsualTraces(const ProposalContext& context) {
  const auto scope =
      policy::CompiledPredicate::Compile(context.cluster->scope());
  if (!scope.ok()) return context.success_traces;
  std::vector<const v1::Trace*> usual;
  for (const v1::Trace* trace : context.success_traces) {
    if (scope->Matches(*trace)) usual.push_back(trace);
  }
  return usual.size() < kMinUsual ? context.success_traces : usual;
}

double ModeRate(const ProposalContext& context,
                const diagnose::ContextTable& table) {
  const v1::Enrichment& test = context.cluster->enrichment();
  if (test.held_out_runs() > 0) {
    return static_cast<double>(test.assigned_failed()) /
           static_cast<double>(test.held_out_runs());
  }
  if (table.size() == 0) return 0;
  return context.cluster->failure_share() *
         static_cast<double>(table.failed().Count()) /
         static_cast<double>(table.size());
}

}  // namespace faultline::intervene
