#include "lib/evaluate/explanation.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/policy/predicate.h"

namespace faultline::evaluate {
namespace {

constexpr int kMaxCauses = 3;

std::string Name(absl::string_view project, absl::string_view collection,
                 absl::string_view id) {
  return absl::StrCat("projects/", project, "/", collection, "/", id);
}

// `routing failure` for FAILURE_MODE_ROUTING_FAILURE: the words of an enum
// value after its prefix.
std::string Words(absl::string_view value, absl::string_view prefix) {
  std::string word = absl::AsciiStrToLower(value.substr(prefix.size()));
  std::replace(word.begin(), word.end(), '_', ' ');
  return word;
}

std::string StatusWord(v1::Intervention::Status status) {
  return Words(v1::Intervention::Status_Name(status), "STATUS_");
}

void AddRuleStep(const v1::Rule* rule, const v1::Policy& current,
                 uint64_t first_version, v1::RuleExplanation* explanation) {
  if (rule != nullptr) {
    explanation->add_because(absl::StrFormat(
        "Policy version %d has the rule since version %d: on runs with %s, in "
        "%.0f %% of them.",
        current.version(), first_version, policy::PredicateText(rule->match()),
        100 * rule->treatment_probability()));
  } else if (first_version > 0) {
    explanation->add_because(
        absl::StrFormat("Version %d began to carry the rule; version %d, the "
                        "current one, does not have it.",
                        first_version, current.version()));
  } else {
    explanation->add_because("No policy version has had a rule of it.");
  }
}

void AddInterventionSteps(const v1::Intervention& intervention,
                          v1::RuleExplanation* explanation) {
  explanation->add_because(
      absl::StrFormat("The rule is intervention %s, proposed in tick %d: %s",
                      intervention.intervention_id(),
                      intervention.create_tick(), intervention.summary()));
  for (const v1::Intervention::Transition& change : intervention.history()) {
    if (change.from() == v1::Intervention::STATUS_UNSPECIFIED) continue;
    explanation->add_because(absl::StrFormat(
        "It became %s in tick %d, by %s: %s", StatusWord(change.to()),
        change.tick(), change.actor(), change.reason()));
  }
}

void AddDiagnosisSteps(const v1::Cluster& cluster,
                       v1::RuleExplanation* explanation) {
  const v1::Diagnosis& diagnosis = cluster.diagnosis();
  explanation->add_because(absl::StrFormat(
      "It answers cluster %s, read as %s (confidence %.2f): %s",
      cluster.cluster_id(),
      Words(v1::FailureMode_Name(diagnosis.failure_mode()), "FAILURE_MODE_"),
      diagnosis.confidence(), diagnosis.summary()));
  for (int c = 0; c < std::min(diagnosis.causes_size(), kMaxCauses); ++c) {
    const v1::CauseEvidence& cause = diagnosis.causes(c);
    const v1::Association& found = cause.against_successes();
    explanation->add_because(absl::StrFormat(
        "Its failures have %s more often than successes do: odds ratio %.2f "
        "(%.2f to %.2f), adjusted p %.2g.",
        cause.text(), found.odds_ratio(), found.odds_ratio_lower(),
        found.odds_ratio_upper(), cause.adjusted_p_value()));
  }
}

void AddClusterSteps(const v1::Cluster& cluster,
                     v1::RuleExplanation* explanation) {
  explanation->add_because(absl::StrFormat(
      "The cluster is %s: %s",
      Words(v1::Cluster::Status_Name(cluster.status()), "STATUS_"),
      cluster.status_reason()));
  if (cluster.has_enrichment()) {
    const v1::Enrichment& enrichment = cluster.enrichment();
    explanation->add_because(absl::StrFormat(
        "Of %d held-out runs in its region %d failed, %.1f were to be expected "
        "from their strata: odds ratio %.2f (%.2f to %.2f).",
        enrichment.assigned(), enrichment.assigned_failed(),
        enrichment.expected_failed(), enrichment.odds_ratio(),
        enrichment.odds_ratio_lower(), enrichment.odds_ratio_upper()));
  }
  explanation->add_because(absl::StrFormat(
      "It holds %d failed runs of the window, %.1f %% of all; %s is most like "
      "the others.",
      cluster.size(), 100 * cluster.failure_share(),
      cluster.medoid().empty() ? "none" : cluster.medoid()));
}

}  // namespace

v1::RuleExplanation ExplainRule(const v1::TickState& state,
                                const v1::Policy& current,
                                absl::string_view project,
                                absl::string_view intervention_id,
                                uint64_t first_version) {
  v1::RuleExplanation explanation;
  const v1::Rule* rule = nullptr;
  for (const v1::Rule& candidate : current.rules()) {
    if (candidate.intervention_id() == intervention_id) rule = &candidate;
  }
  if (rule != nullptr) *explanation.mutable_rule() = *rule;
  explanation.set_first_policy_version(first_version);
  AddRuleStep(rule, current, first_version, &explanation);

  const auto& interventions = state.interventions();
  const auto intervention =
      std::find_if(interventions.begin(), interventions.end(),
                   [&](const v1::Intervention& candidate) {
                     return candidate.intervention_id() == intervention_id;
                   });
  if (intervention == interventions.end()) return explanation;
  *explanation.mutable_intervention() = *intervention;
  AddInterventionSteps(*intervention, &explanation);

  const auto& clusters = state.clusters();
  const auto cluster = std::find_if(
      clusters.begin(), clusters.end(), [&](const v1::Cluster& candidate) {
        return candidate.name() == intervention->cluster();
      });
  if (cluster == clusters.end()) {
    explanation.add_because(absl::StrCat(
        "It answered ", intervention->cluster(), ", which is forgotten."));
    return explanation;
  }
  *explanation.mutable_cluster() = *cluster;
  AddDiagnosisSteps(*cluster, &explanation);
  AddClusterSteps(*cluster, &explanation);
  if (!cluster->medoid().empty()) {
    explanation.set_medoid(Name(project, "traces", cluster->medoid()));
  }
  for (const std::string& id : cluster->exemplars()) {
    explanation.add_exemplars(Name(project, "traces", id));
  }
  for (const std::string& id : cluster->boundary_exemplars()) {
    explanation.add_boundary(Name(project, "traces", id));
  }
  return explanation;
}

std::vector<v1::MatchedRule> MatchRules(const v1::Policy& policy,
                                        absl::string_view project,
                                        const v1::Trace& trace) {
  absl::flat_hash_map<std::string, v1::Arm> carried;
  for (const auto& exposure : trace.exposure().interventions()) {
    carried.try_emplace(exposure.intervention_id(), exposure.arm());
  }
  std::vector<v1::MatchedRule> matched;
  for (const v1::Rule& rule : policy.rules()) {
    const auto predicate = policy::CompiledPredicate::Compile(rule.match());
    const bool matches = predicate.ok() && predicate->Matches(trace);
    const auto arm = carried.find(rule.intervention_id());
    if (!matches && arm == carried.end()) continue;
    v1::MatchedRule& added = matched.emplace_back();
    added.set_intervention(
        Name(project, "interventions", rule.intervention_id()));
    *added.mutable_rule() = rule;
    added.set_matches(matches);
    if (arm != carried.end()) {
      added.set_carried(true);
      added.set_arm(arm->second);
      carried.erase(arm);
    }
  }
  for (const auto& exposure : trace.exposure().interventions()) {
    const auto arm = carried.find(exposure.intervention_id());
    if (arm == carried.end()) continue;
    v1::MatchedRule& added = matched.emplace_back();
    added.set_intervention(
        Name(project, "interventions", exposure.intervention_id()));
    added.set_carried(true);
    added.set_arm(arm->second);
    carried.erase(arm);
  }
  return matched;
}

}  // namespace faultline::evaluate
