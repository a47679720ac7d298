#include "lib/diagnose/diagnoser.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/parallel.h"
#include "lib/diagnose/behavior_contrast.h"
#include "lib/diagnose/cause_test.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/evidence_table.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/policy/predicate.h"

namespace faultline::diagnose {
namespace {

constexpr size_t kMaxListed = 20;
// Successes in scope that make a contrast with them alone worth while.
constexpr size_t kMinScopeSuccesses = 20;
// Behaviour is named where it is common enough and stands out enough.
constexpr double kMinMemberShare = 0.1;
constexpr double kMinZ = 2;
constexpr double kTellingShare = 0.5;
// Cohesion from which a cluster counts as whole (METHODS 4.2, for gamma).
constexpr double kFullCohesion = 0.75;
// Scalars of Run::numeric.
constexpr int kLogSteps = 0;
constexpr int kErrorShare = 1;

RunSet MakeSet(const std::vector<int32_t>& runs, size_t window) {
  RunSet set(window);
  for (const int32_t run : runs) set.Add(run);
  return set;
}

absl::string_view ModeText(v1::FailureMode mode) {
  switch (mode) {
    case v1::FAILURE_MODE_REASONING_BREAKDOWN:
      return "Reasoning breakdown";
    case v1::FAILURE_MODE_RETRIEVAL_FAILURE:
      return "Retrieval failure";
    case v1::FAILURE_MODE_HALLUCINATION:
      return "Hallucination";
    case v1::FAILURE_MODE_TOOL_MISUSE:
      return "Tool misuse";
    case v1::FAILURE_MODE_MEMORY_MISALIGNMENT:
      return "Memory misalignment";
    case v1::FAILURE_MODE_ROUTING_FAILURE:
      return "Routing failure";
    case v1::FAILURE_MODE_UNKNOWN:
    case v1::FAILURE_MODE_UNSPECIFIED:
    case v1::FailureMode_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::FailureMode_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return "Unexplained failures";
}

bool IsEverything(const v1::Predicate& scope) {
  return scope.has_all() && scope.all().predicates().empty();
}

std::string Percent(double share) {
  return absl::StrFormat("%.0f %%", 100 * share);
}

// The routes of a run are its decisions, or its model where it has none.
std::optional<RouteContrast> CompareAnswerers(const ContextTable& table,
                                              const RunSet& scope,
                                              const RunSet& targets) {
  const bool routed = table.Values(kRouteField).size() > 1;
  return CompareRoutes(table, scope, routed ? kRouteField : kModelField,
                       targets);
}

v1::CauseEvidence MakeCause(const CauseTest& test) {
  v1::CauseEvidence cause;
  *cause.mutable_feature()->mutable_comparison() = test.feature->comparison;
  cause.set_text(policy::PredicateText(cause.feature()));
  *cause.mutable_against_successes() = test.against_successes;
  if (test.has_against_failures) {
    *cause.mutable_against_failures() = test.against_failures;
  }
  cause.set_adjusted_p_value(test.adjusted_p);
  cause.set_attributable_share(test.attributable_share);
  return cause;
}

// Everything that is known of one subject.
struct Findings {
  RunSet members;
  Scope scope;
  std::vector<TokenContrast> behavior;  // members against the rest
  Evidence evidence;
  uint64_t features_tested = 0;
};

// The token that tells a person most: the strongest error or retrieval that
// half of the members show, else the strongest but a signal, else the first.
const v1::BehaviorEvidence& TellingToken(const v1::Diagnosis& diagnosis) {
  const v1::BehaviorEvidence* best = nullptr;
  for (const v1::BehaviorEvidence& token : diagnosis.behavior()) {
    if (token.member_share() < kTellingShare) continue;
    if (absl::StartsWith(token.token(), "error ") ||
        absl::StartsWith(token.token(), "retrieval ")) {
      return token;
    }
    if (best == nullptr && !absl::StartsWith(token.token(), "signal ")) {
      best = &token;
    }
  }
  return best == nullptr ? diagnosis.behavior(0) : *best;
}

std::string Summary(const Subject& subject, const Findings& findings,
                    const v1::Diagnosis& diagnosis) {
  std::string text = absl::StrCat(
      ModeText(diagnosis.failure_mode()), " in ",
      subject.members.size() + subject.held_out_members.size(), " runs");
  if (!IsEverything(diagnosis.scope())) {
    absl::StrAppend(&text, " where ", policy::PredicateText(diagnosis.scope()));
  }
  if (!diagnosis.behavior().empty()) {
    const v1::BehaviorEvidence& token = TellingToken(diagnosis);
    absl::StrAppend(&text, "; ", Percent(token.member_share()), " show `",
                    token.token(), "` (", Percent(token.success_share()),
                    " of the successes)");
  }
  const std::optional<RouteContrast>& routes = findings.evidence.routes;
  if (routes && routes->arms.Holds()) {
    absl::StrAppend(&text, "; `", routes->best.front(), "` fails in ",
                    Percent(routes->arms.better_rate), " there, the others in ",
                    Percent(routes->arms.other_rate));
  } else if (!diagnosis.causes().empty()) {
    const v1::CauseEvidence& first = diagnosis.causes(0);
    absl::StrAppend(
        &text, "; more likely where ", first.text(),
        absl::StrFormat(" (odds ratio %.1f, at least %.1f)",
                        first.against_successes().odds_ratio(),
                        first.against_successes().odds_ratio_lower()));
  } else {
    absl::StrAppend(&text, "; no tested cause stands out");
  }
  return absl::StrCat(text, ".");
}

v1::Diagnosis MakeDiagnosis(const DiagnosisInput& input, const Subject& subject,
                            const Findings& findings) {
  v1::Diagnosis diagnosis;
  diagnosis.set_cluster(subject.cluster);
  diagnosis.set_tick(input.tick);
  *diagnosis.mutable_scope() = findings.scope.predicate;
  diagnosis.set_features_tested(findings.features_tested);
  for (const CauseTest* cause : findings.evidence.causes) {
    if (diagnosis.causes_size() == kMaxListed) break;
    *diagnosis.add_causes() = MakeCause(*cause);
  }
  for (const TokenContrast& token : findings.behavior) {
    if (diagnosis.behavior_size() == kMaxListed || token.z < kMinZ) break;
    if (token.first_share < kMinMemberShare) continue;
    v1::BehaviorEvidence& behavior = *diagnosis.add_behavior();
    behavior.set_token(*token.text);
    behavior.set_z(token.z);
    behavior.set_member_share(token.first_share);
    behavior.set_success_share(token.success_share);
  }
  const Reading reading = ReadFailureMode(findings.evidence);
  diagnosis.set_failure_mode(reading.mode);
  for (const v1::ModeEvidence& entry : reading.evidence) {
    *diagnosis.add_readings() = entry;
  }
  if (reading.mode != v1::FAILURE_MODE_UNKNOWN) {
    diagnosis.set_confidence(reading.posterior *
                             std::min(1.0, subject.cohesion / kFullCohesion) *
                             std::max(0.0, 1 - subject.enrichment_p));
  }
  diagnosis.set_summary(Summary(subject, findings, diagnosis));
  return diagnosis;
}

}  // namespace

std::vector<v1::Diagnosis> Diagnose(const DiagnosisInput& input,
                                    absl::Span<const Subject> subjects,
                                    NegativeControls* controls) {
  if (subjects.empty()) return {};
  const size_t runs = input.runs.size();
  const Window window{input.runs, input.discovery, input.names};
  std::vector<RunSet> targets;
  for (const Subject& subject : subjects) {
    targets.push_back(MakeSet(subject.members, runs));
  }
  ContextTableOptions options;
  options.threads = input.threads;
  const ContextTable table(window, targets, options);
  const BehaviorContrast behavior(window, table);
  const RunSet successes = table.discovery() & ~table.failed();

  std::vector<Findings> findings(subjects.size());
  std::vector<CauseSubject> cause_subjects(subjects.size());
  base::ParallelFor(subjects.size(), input.threads, [&](size_t s) {
    Findings& found = findings[s];
    found.members = targets[s];
    found.scope = FindClusterScope(table, found.members);
    const RunSet rest = table.discovery() & ~found.members;
    found.behavior = behavior.Compare(found.members, rest);

    const RunSet scope_successes = successes & found.scope.runs;
    const bool enough = scope_successes.Count() >= kMinScopeSuccesses;
    const RunSet& usual = enough ? scope_successes : rest;
    Evidence& evidence = found.evidence;
    evidence.tokens =
        enough ? behavior.Compare(found.members, usual) : found.behavior;
    evidence.steps_effect =
        behavior.NumericEffect(kLogSteps, found.members, usual);
    evidence.errors_effect =
        behavior.NumericEffect(kErrorShare, found.members, usual);
    evidence.scope = found.scope.predicate;
    evidence.routes = CompareAnswerers(table, found.scope.runs, found.members);

    cause_subjects[s] = {MakeSet(subjects[s].held_out_members, runs),
                         subjects[s].trajectory_only, found.scope.predicate,
                         found.scope.runs};
  });

  const std::vector<CauseTest> tests =
      TestCauses(table, cause_subjects, input.threads);
  for (const CauseTest& test : tests) {
    Findings& found = findings[test.subject];
    ++found.features_tested;
    if (test.Passes(input.false_discovery_rate)) {
      found.evidence.causes.push_back(&test);
    }
  }
  const NegativeControls tested =
      TestNegativeControls(table, cause_subjects, input.threads);
  if (controls != nullptr) *controls = tested;

  std::vector<v1::Diagnosis> diagnoses;
  for (size_t s = 0; s < subjects.size(); ++s) {
    std::stable_sort(findings[s].evidence.causes.begin(),
                     findings[s].evidence.causes.end(),
                     [](const CauseTest* a, const CauseTest* b) {
                       return a->rank() > b->rank();
                     });
    diagnoses.push_back(MakeDiagnosis(input, subjects[s], findings[s]));
    diagnoses.back().set_negative_control_rate(tested.rate());
  }
  return diagnoses;
}

}  // namespace faultline::diagnose
