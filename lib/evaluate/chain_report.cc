#include "lib/evaluate/chain_report.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/intervene/planner.h"

namespace faultline::evaluate {
namespace {

using v1::ChainLink;
using v1::Cluster;
using v1::Effect;
using v1::Intervention;
using v1::LineageEvent;

constexpr int kMaxChains = 20;
// Routers that are named one by one.
constexpr size_t kMaxNamed = 3;

// `rolled back` for STATUS_ROLLED_BACK.
std::string StatusWord(Intervention::Status status) {
  std::string word = Intervention::Status_Name(status);
  word = word.substr(word.find('_') + 1);
  std::replace(word.begin(), word.end(), '_', ' ');
  return absl::AsciiStrToLower(word);
}

template <typename Links>
void AddLink(ChainLink::Kind kind, ChainLink::State state, std::string reason,
             Links* links) {
  ChainLink& link = *links->Add();
  link.set_kind(kind);
  link.set_state(state);
  link.set_reason(std::move(reason));
}

std::string RiskText(const v1::RelativeRisk& risk) {
  return absl::StrFormat("relative risk %.2f (%.2f to %.2f)", risk.ratio(),
                         risk.lower(), risk.upper());
}

// ", in the last 8 ticks survived 5 times, split once"; empty: nothing known.
std::string LineageText(absl::Span<const v1::Tick> ticks,
                        const std::string& cluster_id) {
  struct Count {
    LineageEvent::Kind kind;
    const char* word;
    int times;
  };
  std::array<Count, 6> counts = {{{LineageEvent::KIND_SURVIVED, "survived", 0},
                                  {LineageEvent::KIND_SPLIT, "split", 0},
                                  {LineageEvent::KIND_MERGED, "merged", 0},
                                  {LineageEvent::KIND_DORMANT, "dormant", 0},
                                  {LineageEvent::KIND_DEAD, "dead", 0},
                                  {LineageEvent::KIND_REVIVED, "revived", 0}}};
  for (const v1::Tick& tick : ticks) {
    for (const LineageEvent& event : tick.lineage()) {
      if (event.cluster_id() != cluster_id) continue;
      for (Count& count : counts) {
        if (count.kind == event.kind()) ++count.times;
      }
    }
  }
  std::string text;
  for (const Count& count : counts) {
    if (count.times == 0) continue;
    absl::StrAppend(
        &text, text.empty() ? "" : ", ", count.word, " ",
        count.times == 1 ? "once" : absl::StrCat(count.times, " times"));
  }
  if (text.empty()) return text;
  return absl::StrCat("; in the last ", ticks.size(), " ticks ", text);
}

std::string ValidityText(const Cluster& cluster) {
  std::string text = absl::StrFormat("found in %d ticks", cluster.ticks_seen());
  if (cluster.has_enrichment()) {
    const v1::Enrichment& enrichment = cluster.enrichment();
    absl::StrAppendFormat(
        &text, ", odds ratio on held-out runs %.2f (%.2f to %.2f)",
        enrichment.odds_ratio(), enrichment.odds_ratio_lower(),
        enrichment.odds_ratio_upper());
  }
  if (cluster.has_stability()) {
    absl::StrAppendFormat(&text, ", found again in subsamples at %.2f",
                          cluster.stability());
  }
  return text;
}

// The last change of status, in words.
std::string LastChange(const Intervention& intervention) {
  if (intervention.history().empty()) return StatusWord(intervention.status());
  const Intervention::Transition& last = *intervention.history().rbegin();
  return absl::StrFormat("%s in tick %d by %s: %s", StatusWord(last.to()),
                         last.tick(), last.actor(), last.reason());
}

bool IsEnded(Intervention::Status status) {
  return status == Intervention::STATUS_DISCONFIRMED ||
         status == Intervention::STATUS_ROLLED_BACK ||
         status == Intervention::STATUS_REJECTED ||
         status == Intervention::STATUS_RETIRED;
}

// One intervention of a cluster.
class ChainOf {
 public:
  ChainOf(const ChainInput& input, const Intervention& intervention)
      : input_(input),
        intervention_(intervention),
        // Of the last verdict, unless a new trial has begun since.
        effect_(intervention.has_decided_effect() &&
                        intervention.status() != Intervention::STATUS_TRIAL
                    ? intervention.decided_effect()
                    : intervention.effect()) {}

  v1::InterventionChain Report() {
    chain_.set_intervention(intervention_.name());
    chain_.set_kind(intervention_.kind());
    chain_.set_status(intervention_.status());
    const auto first =
        input_.first_versions->find(intervention_.intervention_id());
    if (first != input_.first_versions->end()) {
      chain_.set_first_policy_version(first->second);
    }
    for (const v1::Rule& rule : input_.policy->rules()) {
      if (rule.intervention_id() == intervention_.intervention_id()) {
        chain_.set_in_current_policy(true);
      }
    }
    *chain_.mutable_effect() = effect_;
    const v1::RelativeRisk& risk = effect_.mode_failure();
    if (risk.defined()) {
      chain_.set_spared_per_thousand(1000 * (1 - risk.ratio()));
    }
    AddPublished();
    AddApplied();
    AddExposed();
    AddReduced();
    AddAfforded();
    return chain_;
  }

 private:
  void Add(ChainLink::Kind kind, ChainLink::State state, std::string reason) {
    AddLink(kind, state, std::move(reason), chain_.mutable_links());
  }

  void AddPublished() {
    if (chain_.in_current_policy()) {
      Add(ChainLink::KIND_PUBLISHED, ChainLink::STATE_OK,
          absl::StrFormat("policy version %d has the rule, since version %d",
                          input_.policy->version(),
                          chain_.first_policy_version()));
      return;
    }
    if (IsEnded(intervention_.status())) {
      Add(ChainLink::KIND_PUBLISHED, ChainLink::STATE_BROKEN,
          LastChange(intervention_));
      return;
    }
    if (intervene::IsActive(intervention_.status())) {
      Add(ChainLink::KIND_PUBLISHED, ChainLink::STATE_BROKEN,
          absl::StrFormat("it is %s, and policy version %d has no rule of it: "
                          "128 rules of higher priority fill the policy",
                          StatusWord(intervention_.status()),
                          input_.policy->version()));
      return;
    }
    Add(ChainLink::KIND_PUBLISHED, ChainLink::STATE_NOT_YET,
        intervention_.status() == Intervention::STATUS_APPROVED
            ? "approved; it starts in the next tick that has a trial free"
            : "proposed; it waits for a reviewer");
  }

  void AddApplied() {
    chain_.set_routers(input_.routers.size());
    if (!chain_.in_current_policy()) {
      Add(ChainLink::KIND_APPLIED,
          IsEnded(intervention_.status()) ? ChainLink::STATE_BROKEN
                                          : ChainLink::STATE_NOT_YET,
          "no rule to apply");
      return;
    }
    std::vector<std::string> refusing, behind;
    for (const v1::Router& router : input_.routers) {
      // A router may apply a version and refuse one rule of it.
      const bool refuses_rule = absl::StrContains(
          router.nack_reason(), intervention_.intervention_id());
      const bool applies =
          router.applied_version() > 0 &&
          router.applied_version() >= chain_.first_policy_version();
      if (applies && !refuses_rule) {
        chain_.set_routers_applying(chain_.routers_applying() + 1);
      } else if (!router.nack_reason().empty()) {
        refusing.push_back(absl::StrCat(router.router_id(), " refuses version ",
                                        router.sent_version(), " (",
                                        router.nack_reason(), ")"));
      } else {
        behind.push_back(absl::StrCat(router.router_id(), " applies version ",
                                      router.applied_version()));
      }
    }
    std::string text = absl::StrFormat(
        "%d of %d routers apply version %d or later", chain_.routers_applying(),
        chain_.routers(), chain_.first_policy_version());
    for (const auto* others : {&refusing, &behind}) {
      for (size_t i = 0; i < std::min(others->size(), kMaxNamed); ++i) {
        absl::StrAppend(&text, "; ", (*others)[i]);
      }
      if (others->size() > kMaxNamed) {
        absl::StrAppend(&text, "; and ", others->size() - kMaxNamed, " more");
      }
    }
    if (input_.routers.empty()) {
      Add(ChainLink::KIND_APPLIED, ChainLink::STATE_NOT_YET,
          "no router has asked since the server started");
    } else if (!refusing.empty()) {
      Add(ChainLink::KIND_APPLIED, ChainLink::STATE_BROKEN, std::move(text));
    } else {
      Add(ChainLink::KIND_APPLIED,
          behind.empty() ? ChainLink::STATE_OK : ChainLink::STATE_NOT_YET,
          std::move(text));
    }
  }

  void AddExposed() {
    const uint64_t treated = effect_.treatment().runs();
    const uint64_t held = effect_.holdout().runs();
    const v1::RefusedRuns& refused = effect_.refused();
    const uint64_t refusals = refused.unpublished_probability() +
                              refused.other_arm() + refused.repeated_key() +
                              refused.too_many_keys();
    std::string text = absl::StrFormat(
        "%d treated and %d held-out runs with known outcome", treated, held);
    if (refusals > 0) {
      absl::StrAppendFormat(
          &text,
          "; %d that carry it do not count: %d with a probability that was "
          "never published, %d in another arm than their key draws, %d with a "
          "key that was counted",
          refusals, refused.unpublished_probability(), refused.other_arm(),
          refused.repeated_key() + refused.too_many_keys());
    }
    if (effect_.verdict() == Effect::VERDICT_UNSOUND) {
      Add(ChainLink::KIND_EXPOSED, ChainLink::STATE_BROKEN,
          absl::StrCat(effect_.verdict_reason(), "; ", text));
    } else if (treated > 0 && held > 0) {
      Add(ChainLink::KIND_EXPOSED, ChainLink::STATE_OK, std::move(text));
    } else if (IsEnded(intervention_.status()) ||
               (treated + held == 0 && refusals > 0)) {
      Add(ChainLink::KIND_EXPOSED, ChainLink::STATE_BROKEN, std::move(text));
    } else {
      Add(ChainLink::KIND_EXPOSED, ChainLink::STATE_NOT_YET, std::move(text));
    }
  }

  void AddReduced() {
    const v1::RelativeRisk& risk = effect_.mode_failure();
    const uint64_t failures =
        effect_.treatment().mode_failures() + effect_.holdout().mode_failures();
    std::string text =
        risk.defined() ? absl::StrFormat("%d failures of the mode so far: %s",
                                         failures, RiskText(risk))
                       : "no failure of the mode so far";
    if (!effect_.verdict_reason().empty()) {
      absl::StrAppend(&text, "; verdict: ", effect_.verdict_reason());
    }
    ChainLink::State state = ChainLink::STATE_NOT_YET;
    if (intervention_.status() == Intervention::STATUS_CONFIRMED) {
      state = ChainLink::STATE_OK;
    } else if (IsEnded(intervention_.status())) {
      state = ChainLink::STATE_BROKEN;
    }
    Add(ChainLink::KIND_REDUCED, state, std::move(text));
  }

  void AddAfforded() {
    if (effect_.guards().empty()) {
      Add(ChainLink::KIND_AFFORDED, ChainLink::STATE_NOT_YET,
          "neither cost nor latency was known before the trial");
      return;
    }
    std::string text;
    bool known = true, over = false;
    for (const v1::GuardMetric& guard : effect_.guards()) {
      const bool cost = guard.kind() == v1::GuardMetric::KIND_COST;
      absl::StrAppendFormat(
          &text,
          "%s%s changes by %.3g (%.3g to %.3g) %s a run, %.3g was usual, the "
          "limit is %.3g",
          text.empty() ? "" : "; ", cost ? "cost" : "latency", guard.change(),
          guard.lower(), guard.upper(), cost ? "US dollars" : "s",
          guard.baseline(), guard.limit());
      known &= guard.runs() > 0;
      over |= guard.runs() > 0 && guard.lower() > guard.limit();
    }
    ChainLink::State state =
        known ? ChainLink::STATE_OK : ChainLink::STATE_NOT_YET;
    if (over) state = ChainLink::STATE_BROKEN;
    Add(ChainLink::KIND_AFFORDED, state, std::move(text));
  }

  const ChainInput& input_;
  const Intervention& intervention_;
  const Effect& effect_;
  v1::InterventionChain chain_;
};

// Interventions that answer a cluster: those that run, then those that may,
// then the rest, each latest first.
std::vector<const Intervention*> AnswersTo(const Cluster& cluster,
                                           const v1::TickState& state) {
  std::vector<const Intervention*> answers;
  for (const Intervention& intervention : state.interventions()) {
    if (intervention.cluster() == cluster.name()) {
      answers.push_back(&intervention);
    }
  }
  const auto rank = [](const Intervention* intervention) {
    if (intervene::IsActive(intervention->status())) return 0;
    return IsEnded(intervention->status()) ? 2 : 1;
  };
  std::sort(answers.begin(), answers.end(),
            [&rank](const Intervention* a, const Intervention* b) {
              if (rank(a) != rank(b)) return rank(a) < rank(b);
              if (a->create_tick() != b->create_tick()) {
                return a->create_tick() > b->create_tick();
              }
              return a->intervention_id() > b->intervention_id();
            });
  return answers;
}

void AddStable(const ChainInput& input, const Cluster& cluster,
               const std::vector<const Intervention*>& answers,
               v1::ChainReport* report) {
  const std::string lineage = LineageText(input.ticks, cluster.cluster_id());
  const bool reviewed = std::any_of(
      cluster.reviews().begin(), cluster.reviews().end(),
      [](const v1::ClusterReview& review) {
        return review.decision() == v1::ClusterReview::DECISION_REJECT;
      });
  const bool confirmed = std::any_of(
      answers.begin(), answers.end(), [](const Intervention* intervention) {
        return intervention->status() == Intervention::STATUS_CONFIRMED;
      });
  const uint64_t tick = input.state->tick().tick();
  ChainLink::State state = ChainLink::STATE_NOT_YET;
  std::string reason = absl::StrCat(cluster.status_reason(), "; ",
                                    ValidityText(cluster), lineage);
  if (cluster.status() == Cluster::STATUS_STABLE) {
    state = ChainLink::STATE_OK;
  } else if (confirmed && !reviewed && cluster.last_seen_tick() < tick) {
    // That it is not found any more is what the intervention was for.
    state = ChainLink::STATE_OK;
    reason = absl::StrFormat(
        "not found since tick %d, and an intervention against it is confirmed; "
        "%s%s",
        cluster.last_seen_tick(), ValidityText(cluster), lineage);
  } else if (cluster.status() == Cluster::STATUS_ARTIFACT ||
             cluster.status() == Cluster::STATUS_RETIRED) {
    state = ChainLink::STATE_BROKEN;
  }
  AddLink(ChainLink::KIND_STABLE, state, std::move(reason),
          report->mutable_links());
}

void AddAnswered(const Cluster& cluster,
                 const std::vector<const Intervention*>& answers,
                 v1::ChainReport* report) {
  const size_t live = static_cast<size_t>(std::count_if(
      answers.begin(), answers.end(), [](const Intervention* intervention) {
        return !IsEnded(intervention->status());
      }));
  if (live > 0) {
    const Intervention& first = *answers.front();
    AddLink(ChainLink::KIND_ANSWERED, ChainLink::STATE_OK,
            absl::StrCat(first.intervention_id(), " is ",
                         StatusWord(first.status()), ": ", first.summary()),
            report->mutable_links());
  } else if (!answers.empty()) {
    AddLink(ChainLink::KIND_ANSWERED, ChainLink::STATE_NOT_YET,
            absl::StrFormat("%d were tried or refused, the last was %s",
                            answers.size(), LastChange(*answers.front())),
            report->mutable_links());
  } else {
    AddLink(ChainLink::KIND_ANSWERED, ChainLink::STATE_NOT_YET,
            cluster.status() == Cluster::STATUS_STABLE
                ? "the planner has found no change that its evidence supports"
                : "only a stable cluster is answered",
            report->mutable_links());
  }
}

// The first link that does not hold; null where all do.
template <typename Links>
const ChainLink* FirstOpen(const Links& links) {
  const auto open =
      std::find_if(links.begin(), links.end(), [](const ChainLink& link) {
        return link.state() != ChainLink::STATE_OK;
      });
  return open == links.end() ? nullptr : &*open;
}

std::string OpenText(const ChainLink& link) {
  static constexpr const char* kWords[] = {"",         "a stable failure mode",
                                           "answered", "in the policy",
                                           "applied",  "exposed",
                                           "reduced",  "afforded"};
  return absl::StrCat(
      link.state() == ChainLink::STATE_BROKEN ? "not " : "not yet ",
      kWords[link.kind()], ": ", link.reason());
}

}  // namespace

v1::ChainReport ReportChain(const ChainInput& input, const Cluster& cluster) {
  v1::ChainReport report;
  report.set_cluster(cluster.name());
  report.set_title(cluster.title());
  report.set_status(cluster.status());
  report.set_failure_mode(cluster.diagnosis().failure_mode());
  report.set_confidence(cluster.diagnosis().confidence());
  report.set_failure_share(cluster.failure_share());
  const std::vector<const Intervention*> answers =
      AnswersTo(cluster, *input.state);
  AddStable(input, cluster, answers, &report);
  AddAnswered(cluster, answers, &report);

  const ChainLink* open = FirstOpen(report.links());
  const ChainLink* farthest = nullptr;  // open link of the longest chain
  const v1::InterventionChain* closed = nullptr;
  report.mutable_chains()->Reserve(kMaxChains);  // addresses stay
  for (const Intervention* intervention : answers) {
    if (report.chains_size() == kMaxChains) break;
    v1::InterventionChain& chain = *report.add_chains();
    chain = ChainOf(input, *intervention).Report();
    const ChainLink* missing = FirstOpen(chain.links());
    chain.set_closed(open == nullptr && missing == nullptr);
    if (chain.closed() && closed == nullptr) closed = &chain;
    if (missing != nullptr &&
        (farthest == nullptr || missing->kind() > farthest->kind())) {
      farthest = missing;
    }
  }
  report.set_closed(closed != nullptr);
  if (closed != nullptr) {
    report.set_summary(
        absl::StrCat("closed: ", RiskText(closed->effect().mode_failure()),
                     " with ", closed->intervention()));
  } else if (open != nullptr || farthest != nullptr) {
    report.set_summary(OpenText(open != nullptr ? *open : *farthest));
  }
  return report;
}

}  // namespace faultline::evaluate
