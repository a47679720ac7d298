#include "client/cli/case_file.h"

#include <cmath>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"
#include "client/cli/trace_table.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::cli {
namespace {

using Member = v1::ListMembersResponse::Member;

constexpr int kMaxEvidence = 8;  // rows of one kind
constexpr size_t kMaxSlices = 12;
constexpr double kLeastContribution = 0.01;

void Heading(Session* session, absl::string_view text) {
  session->out() << "\n" << text << "\n";
}

void Line(Session* session, absl::string_view key, absl::string_view value) {
  session->out() << absl::StreamFormat("  %-12s %s\n", key,
                                       OneLine(value, 1000));
}

std::string ScopeText(const v1::Predicate& scope) {
  return scope.expression_case() == v1::Predicate::EXPRESSION_NOT_SET
             ? "-"
             : policy::PredicateText(scope);
}

// An odds ratio with its interval; `-` where the counts do not allow one.
std::string OddsRatioText(const v1::Association& association) {
  return association.odds_ratio_upper() > 0
             ? WithInterval(association.odds_ratio(),
                            association.odds_ratio_lower(),
                            association.odds_ratio_upper())
             : "-";
}

void PrintEnrichment(Session* session, const v1::Enrichment& enrichment) {
  Heading(session, "Does it hold on runs that were held out?");
  if (enrichment.held_out_runs() == 0) {
    Line(session, "runs", "not tested yet");
    return;
  }
  Line(session, "runs",
       absl::StrCat(enrichment.assigned(), " of ", enrichment.held_out_runs(),
                    " held-out runs look like it; ",
                    enrichment.assigned_failed(), " of them failed, ",
                    absl::StrFormat("%.1f", enrichment.expected_failed()),
                    " were to be expected"));
  Line(session, "odds ratio",
       absl::StrCat(
           WithInterval(enrichment.odds_ratio(), enrichment.odds_ratio_lower(),
                        enrichment.odds_ratio_upper()),
           " over ", enrichment.strata(), " strata"));
  Line(session, "p-value",
       absl::StrCat(PValue(enrichment.p_value()), ", adjusted ",
                    PValue(enrichment.adjusted_p_value())));
}

// Figures of the clustering itself, and what speaks against the cluster.
void PrintValidity(Session* session, const v1::Cluster& cluster) {
  const v1::Validity& validity = cluster.validity();
  Heading(session, "Is it more than a shape in the data?");
  const v1::SequentialEvidence& evidence = validity.evidence();
  Line(session, "over its life",
       evidence.batches() == 0
           ? "no batch of held-out runs yet"
           : absl::StrCat(evidence.assigned(), " held-out runs in ",
                          evidence.batches(), " batches, ",
                          evidence.assigned_failed(), " failed, ",
                          absl::StrFormat("%.1f", evidence.expected_failed()),
                          " expected; ln e ", Number(evidence.log_e_value()),
                          ", needs ", Number(-std::log(evidence.level()))));
  Line(session, "confirmed",
       evidence.confirmed_tick() == 0
           ? "not yet"
           : absl::StrCat("in tick ", evidence.confirmed_tick()));
  const auto line_if = [session](const char* key, bool known, double value,
                                 absl::string_view meaning) {
    Line(session, key,
         known ? absl::StrCat(Number(value), meaning) : std::string("-"));
  };
  line_if("stability", cluster.has_stability(), cluster.stability(),
          ", as subsamples find it again (0.6 is asked for)");
  line_if("prediction", validity.has_prediction_strength(),
          validity.prediction_strength(),
          " of its held-out pairs stay together (0.8 is good)");
  line_if("shuffled", validity.has_shuffle_null(),
          validity.shuffle_null().tie_weight(),
          absl::StrCat(" of tie weight; shuffled channels reach ",
                       Number(validity.shuffle_null().null_tie_weight()),
                       ", p ", PValue(validity.shuffle_null().p_value())));
  line_if("residual", validity.has_residual_agreement(),
          validity.residual_agreement(),
          " is left of it without what its slice has in common");
  Line(session, "about",
       absl::StrCat(Number(validity.failure_information_bits()),
                    " bits of the failure, ",
                    Number(validity.model_information_bits()),
                    " bits of which model ran"));
  Line(session, "slices",
       validity.slice_bound().empty()
           ? (validity.transferable() ? "holds across them"
                                      : "does not hold across them")
           : absl::StrCat("bound to ",
                          absl::StrJoin(validity.slice_bound(), ", ")));
  Table slices({{"  VARIABLE"},
                {"MOST HAVE", Column::Fit::kCut},
                {"SHARE", Column::Fit::kNumber},
                {"OF ALL", Column::Fit::kNumber},
                {"AGREEMENT", Column::Fit::kNumber},
                {"BITS", Column::Fit::kNumber},
                {"LEFT OUT", Column::Fit::kNumber},
                {"WITHIN", Column::Fit::kNumber},
                {"I2", Column::Fit::kNumber}});
  for (const v1::SliceCheck& slice : validity.slices()) {
    if (slices.rows() == kMaxSlices) break;
    slices.AddRow(
        {absl::StrCat("  ", slice.variable()),
         OneLine(slice.largest_value(), 40), Percent(slice.largest_share()),
         Percent(slice.expected_share()), Number(slice.agreement()),
         Number(slice.information_bits()),
         slice.has_transfer() ? Number(slice.transfer()) : "-",
         slice.has_replication() ? absl::StrCat(Percent(slice.replication()),
                                                " of ", slice.values_tested())
                                 : "-",
         slice.has_replication() ? Number(slice.i_squared()) : "-"});
  }
  session->PrintTable(slices, "  no slices to compare");

  Heading(session, "What speaks against it");
  for (const std::string& concern : validity.concerns()) {
    session->out() << "  - " << OneLine(concern, 1000) << "\n";
  }
  if (validity.concerns().empty()) session->out() << "  nothing found\n";
}

void PrintDiagnosis(Session* session, const v1::Diagnosis& diagnosis) {
  Heading(session, "What fails");
  Line(session, "mode",
       absl::StrCat(EnumWord(diagnosis.failure_mode()), ", confidence ",
                    Number(diagnosis.confidence())));
  if (!diagnosis.summary().empty()) {
    Line(session, "summary", diagnosis.summary());
  }
  for (const auto& reading : diagnosis.readings()) {
    if (reading.contribution() < kLeastContribution) continue;
    Line(session, absl::StrFormat("%+.2f", reading.contribution()),
         absl::StrCat(EnumWord(reading.failure_mode()), ": ", reading.rule()));
  }
}

void PrintEvidence(Session* session, const v1::Diagnosis& diagnosis) {
  Heading(session,
          "What goes with it (odds ratio against successes and "
          "against other failures)");
  Table causes({{"  CAUSE", Column::Fit::kCut},
                {"SUCCESSES"},
                {"OTHER FAILURES"},
                {"ADJ. P", Column::Fit::kNumber},
                {"SHARE", Column::Fit::kNumber}});
  for (const auto& cause : diagnosis.causes()) {
    if (causes.rows() == kMaxEvidence) break;
    causes.AddRow({absl::StrCat("  ", OneLine(cause.text(), 80)),
                   OddsRatioText(cause.against_successes()),
                   OddsRatioText(cause.against_failures()),
                   PValue(cause.adjusted_p_value()),
                   Percent(cause.attributable_share())});
  }
  session->PrintTable(causes,
                      absl::StrCat("  none of ", diagnosis.features_tested(),
                                   " tested features"));

  Heading(session, "What these runs do");
  Table behavior({{"  BEHAVIOUR", Column::Fit::kCut},
                  {"MEMBERS", Column::Fit::kNumber},
                  {"SUCCESSES", Column::Fit::kNumber},
                  {"Z", Column::Fit::kNumber}});
  for (const auto& evidence : diagnosis.behavior()) {
    if (behavior.rows() == kMaxEvidence) break;
    behavior.AddRow({absl::StrCat("  ", OneLine(evidence.token(), 80)),
                     Percent(evidence.member_share()),
                     Percent(evidence.success_share()), Number(evidence.z())});
  }
  session->PrintTable(behavior, "  nothing that sets them apart");
}

// Ten runs that show what the cluster is, where it ends, and what went right
// instead; members take the places that no other run fills.
ClusterRuns ToInspect(const ClusterRuns& runs) {
  constexpr int kShown = 10;
  std::map<Member::Role, int> left = {{Member::ROLE_MEDOID, 1},
                                      {Member::ROLE_EXEMPLAR, 4},
                                      {Member::ROLE_BOUNDARY, 2},
                                      {Member::ROLE_NEAREST_SUCCESS, 3},
                                      {Member::ROLE_MEMBER, kShown}};
  ClusterRuns chosen;
  for (const Member& run : runs) {
    if (chosen.size() == kShown) break;
    if (left[run.role()]-- > 0) *chosen.Add() = run;
  }
  return chosen;
}

// e-values and guards of an intervention that is or was on trial.
void PrintTests(Session* session, const v1::Intervention& intervention) {
  const v1::Effect& effect = intervention.effect();
  if (effect.tallies_size() == 0) return;
  const v1::ModeDetector& detector = intervention.detector();
  Line(session, "counted",
       detector.every_failure()
           ? "every failure in scope"
           : absl::StrCat("failures by ", detector.tokens_size(),
                          " marks of the mode (precision ",
                          Percent(detector.precision()), ", recall ",
                          Percent(detector.recall()), " when frozen)"));
  const auto e_value = [](double log_value) {
    return Number(std::exp(log_value));
  };
  Line(
      session, "helps",
      absl::StrCat("e-value ", e_value(effect.log_benefit()), ", confirmed at ",
                   Number(1 / intervention.confirmation_level())));
  Line(session, "harms",
       absl::StrCat("e-value ", e_value(effect.log_harm()), " of this mode, ",
                    e_value(effect.log_any_harm()),
                    " of any failure; rolled back at 20"));
  Line(session, "arms",
       absl::StrCat("e-value ", e_value(effect.log_imbalance()),
                    " of lost runs, ", e_value(effect.log_missing()),
                    " of lost outcomes; stopped at 1000"));
  for (const v1::GuardMetric& guard : effect.guards()) {
    Line(
        session, EnumWord(guard.kind()),
        absl::StrCat("changes by ",
                     WithInterval(guard.change(), guard.lower(), guard.upper()),
                     " from ", Number(guard.baseline()), " a run in ",
                     guard.runs(), " runs; limit ", Number(guard.limit())));
  }
  const v1::RefusedRuns& refused = effect.refused();
  const uint64_t not_counted = refused.unpublished_probability() +
                               refused.other_arm() + refused.repeated_key() +
                               refused.too_many_keys();
  if (not_counted > 0) {
    Line(session, "not counted",
         absl::StrCat(refused.unpublished_probability(),
                      " runs of an unpublished probability, ",
                      refused.other_arm(), " in an arm that was not drawn, ",
                      refused.repeated_key(), " of a key counted before, ",
                      refused.too_many_keys(), " beyond the number of keys"));
  }
  if (!effect.verdict_reason().empty()) {
    Line(session, "verdict",
         absl::StrCat(EnumWord(effect.verdict()), ": ",
                      effect.verdict_reason()));
  }
}

}  // namespace

Table ClusterRunTable(const ClusterRuns& runs) {
  TraceTable table({{"ROLE"},
                    {"STRENGTH", Column::Fit::kNumber},
                    {"DISTANCE", Column::Fit::kNumber}});
  for (const Member& run : runs) {
    table.AddRow(run.trace(),
                 {EnumWord(run.role()),
                  run.strength() > 0 ? Number(run.strength()) : "-",
                  run.has_distance() ? Number(run.distance()) : "-"},
                 "", run.outcome());
  }
  return table.table();
}

Table InterventionTable(const Interventions& interventions) {
  Table table({{"INTERVENTION"},
               {"STATUS"},
               {"KIND"},
               {"ANSWERS"},
               {"TREATED", Column::Fit::kNumber},
               {"HELD OUT", Column::Fit::kNumber},
               {"MODE FAILURE RR"},
               {"ACTION", Column::Fit::kCut}});
  for (const v1::Intervention& intervention : interventions) {
    const v1::Effect& effect = intervention.effect();
    table.AddRow(
        {intervention.intervention_id(),
         {EnumWord(intervention.status()), ToneOf(intervention.status())},
         EnumWord(intervention.kind()),
         EnumWord(intervention.failure_mode()),
         absl::StrCat(effect.treatment().runs()),
         absl::StrCat(effect.holdout().runs()),
         {RelativeRiskText(effect.mode_failure()),
          RelativeRiskTone(effect.mode_failure())},
         OneLine(ActionText(intervention.action()))});
  }
  return table;
}

void PrintCaseFile(Session* session, const v1::Cluster& cluster,
                   const ClusterRuns& runs,
                   const Interventions& interventions) {
  session->out() << "Cluster " << cluster.cluster_id() << ": "
                 << OneLine(cluster.title()) << "\n";
  Line(session, "status",
       absl::StrCat(EnumWord(cluster.status()),
                    cluster.status_reason().empty() ? "" : ": ",
                    cluster.status_reason()));
  Line(session, "size",
       absl::StrCat(cluster.size(), " failed runs, ",
                    Percent(cluster.failure_share()),
                    " of the window's failures"));
  Line(session, "runs",
       absl::StrCat(Time(cluster.first_run_time()), " to ",
                    Time(cluster.last_run_time())));
  Line(session, "seen",
       absl::StrCat("in ", cluster.ticks_seen(), " ticks, first ",
                    cluster.birth_tick(), ", last ", cluster.last_seen_tick(),
                    "; overlap with its previous self ",
                    Percent(cluster.overlap())));
  Line(session, "shape",
       absl::StrCat(
           "cohesion ", Number(cluster.cohesion()), ", radius ",
           Number(cluster.radius()), ", views ",
           absl::StrJoin(
               cluster.views(), " and ", [](std::string* out, int view) {
                 absl::StrAppend(out, EnumWord(static_cast<v1::View>(view)));
               })));
  Line(session, "scope", ScopeText(cluster.scope()));
  if (cluster.has_diagnosis()) PrintDiagnosis(session, cluster.diagnosis());
  PrintEnrichment(session, cluster.enrichment());
  if (cluster.has_validity()) PrintValidity(session, cluster);
  if (cluster.has_diagnosis()) PrintEvidence(session, cluster.diagnosis());

  Heading(session, "Runs to read first (distance to the medoid)");
  session->PrintTable(ClusterRunTable(ToInspect(runs)), "  none is stored");

  Heading(session, "What is done about it");
  Interventions answers;
  for (const v1::Intervention& intervention : interventions) {
    if (intervention.cluster() == cluster.name()) {
      *answers.Add() = intervention;
    }
  }
  session->PrintTable(InterventionTable(answers), "  nothing yet");
}

void PrintIntervention(Session* session, const v1::Intervention& intervention) {
  session->out() << "Intervention " << intervention.intervention_id() << ": "
                 << OneLine(intervention.summary(), 500) << "\n";
  Line(session, "status", EnumWord(intervention.status()));
  Line(session, "kind", EnumWord(intervention.kind()));
  Line(session, "action", ActionText(intervention.action()));
  Line(session, "scope", ScopeText(intervention.scope()));
  Line(session, "answers",
       absl::StrCat(EnumWord(intervention.failure_mode()), ", cluster ",
                    ShortName(intervention.cluster())));
  Line(session, "treatment",
       absl::StrCat("with probability ",
                    Number(intervention.treatment_probability())));
  Line(session, "expected",
       absl::StrCat(Percent(intervention.expected_reduction()),
                    " of all runs spared a failure"));
  Line(session, "started",
       intervention.start_tick() == 0
           ? "not yet"
           : absl::StrCat("in tick ", intervention.start_tick()));
  Line(session, "expires", Time(intervention.expire_time()));

  Heading(session, "Effect so far (the interval holds at every look)");
  const v1::Effect& effect = intervention.effect();
  Table arms({{"  ARM"},
              {"RUNS", Column::Fit::kNumber},
              {"OF THIS MODE", Column::Fit::kNumber},
              {"FAILURES", Column::Fit::kNumber},
              {"PENDING", Column::Fit::kNumber}});
  const auto add_arm = [&arms](const std::string& name,
                               const v1::ArmCount& arm) {
    arms.AddRow({name, absl::StrCat(arm.runs()),
                 absl::StrCat(arm.mode_failures()),
                 absl::StrCat(arm.failures()), absl::StrCat(arm.pending())});
  };
  add_arm("  treatment", effect.treatment());
  add_arm("  holdout", effect.holdout());
  session->PrintTable(arms, "");
  Line(session, "this mode",
       absl::StrCat("relative risk ", RelativeRiskText(effect.mode_failure())));
  Line(session, "any failure",
       absl::StrCat("relative risk ", RelativeRiskText(effect.any_failure())));
  PrintTests(session, intervention);

  Heading(session, "History");
  Table history({{"  TICK", Column::Fit::kNumber},
                 {"FROM"},
                 {"TO"},
                 {"BY"},
                 {"WHY", Column::Fit::kCut}});
  for (const auto& transition : intervention.history()) {
    history.AddRow({absl::StrCat(transition.tick()),
                    EnumWord(transition.from()), EnumWord(transition.to()),
                    OneLine(transition.actor(), 40),
                    OneLine(transition.reason())});
  }
  session->PrintTable(history, "  none");
}

}  // namespace faultline::cli
