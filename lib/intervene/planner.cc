#include "lib/intervene/planner.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/ulid.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/scope.h"
#include "lib/intervene/efficacy.h"
#include "lib/intervene/type_list.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/policy_matcher.h"
#include "lib/stats/evidence.h"

namespace faultline::intervene {
namespace {

using ::google::protobuf::util::TimeUtil;
using v1::Intervention;
using v1::InterventionReview;

constexpr char kPlanner[] = "planner";
constexpr char kAutoApprove[] = "auto_approve";
// Share of a scope that open interventions on the same knob may cover.
constexpr double kMaxCovered = 0.75;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixNanos(TimeUtil::TimestampToNanoseconds(time));
}

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  return TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

bool IsOpen(Intervention::Status status) {
  return status == Intervention::STATUS_PROPOSED ||
         status == Intervention::STATUS_APPROVED ||
         status == Intervention::STATUS_TRIAL;
}

// Status that a review leads to from `status`; unset where it does not fit.
Intervention::Status AfterReview(Intervention::Status status,
                                 InterventionReview::Decision decision) {
  const bool waits = status == Intervention::STATUS_PROPOSED;
  switch (decision) {
    case InterventionReview::DECISION_APPROVE:
      if (waits) return Intervention::STATUS_APPROVED;
      break;
    case InterventionReview::DECISION_REJECT:
      if (waits || status == Intervention::STATUS_APPROVED) {
        return Intervention::STATUS_REJECTED;
      }
      break;
    case InterventionReview::DECISION_ROLL_BACK:
      if (IsActive(status)) return Intervention::STATUS_ROLLED_BACK;
      break;
    case InterventionReview::DECISION_UNSPECIFIED:
    case v1::
        InterventionReview_Decision_InterventionReview_Decision_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::
        InterventionReview_Decision_InterventionReview_Decision_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return Intervention::STATUS_UNSPECIFIED;
}

// What makes two interventions the same change: kind, knob and scope.
using Change = std::tuple<int, std::string, std::string>;

Change ChangeOf(const v1::Action& action, const v1::Predicate& scope) {
  return {static_cast<int>(action.kind_case()), policy::ActionKnob(action),
          scope.SerializeAsString()};
}

// One tick of the planner.
class Planner {
 public:
  explicit Planner(const PlanInput& input)
      : input_(input),
        random_(base::Mix64(input.seed ^ base::Mix64(input.tick))) {
    for (const Intervention& intervention : input.interventions) {
      interventions_[intervention.intervention_id()] = intervention;
    }
  }

  std::vector<Intervention> Run() {
    ApplyReviews();
    ApplyVerdicts();
    Expire();
    Propose();
    AutoApprove();
    StartTrials();

    std::vector<Intervention> result;
    for (auto& [id, intervention] : interventions_) {
      intervention.clear_etag();
      intervention.set_etag(absl::StrFormat(
          "%016x", base::Hash64(intervention.SerializeAsString())));
      result.push_back(std::move(intervention));
    }
    return result;
  }

 private:
  void Move(Intervention* intervention, Intervention::Status to,
            absl::string_view reason, absl::string_view actor) {
    Intervention::Transition& transition = *intervention->add_history();
    transition.set_from(intervention->status());
    transition.set_to(to);
    transition.set_tick(input_.tick);
    transition.set_reason(std::string(reason));
    transition.set_actor(std::string(actor));
    intervention->set_status(to);
  }

  absl::Time ExpireTime() const {
    return input_.now + absl::Nanoseconds(TimeUtil::DurationToNanoseconds(
                            input_.config.intervention_ttl()));
  }

  void ApplyReviews() {
    for (const InterventionReview& review : input_.reviews) {
      const auto entry = interventions_.find(review.intervention_id());
      if (entry == interventions_.end()) continue;
      Intervention& intervention = entry->second;
      const Intervention::Status to =
          AfterReview(intervention.status(), review.decision());
      if (to == Intervention::STATUS_UNSPECIFIED) continue;
      Move(&intervention, to,
           review.reason().empty() ? "approved by a reviewer" : review.reason(),
           review.reviewer());
    }
  }

  // What the evidence says of what routers apply (METHODS 5.3).
  void ApplyVerdicts() {
    for (auto& [id, intervention] : interventions_) {
      if (!IsActive(intervention.status())) continue;
      const v1::Effect effect = intervention.effect();
      Intervention::Status to = Intervention::STATUS_UNSPECIFIED;
      switch (effect.verdict()) {
        case v1::Effect::VERDICT_HELPS:
          to = Intervention::STATUS_CONFIRMED;
          break;
        case v1::Effect::VERDICT_NO_BENEFIT:
        case v1::Effect::VERDICT_DISPLACES:
          to = Intervention::STATUS_DISCONFIRMED;
          break;
        case v1::Effect::VERDICT_HARMS:
        case v1::Effect::VERDICT_UNSOUND:
          to = Intervention::STATUS_ROLLED_BACK;
          break;
        case v1::Effect::VERDICT_INCONCLUSIVE:
          to = Intervention::STATUS_RETIRED;
          break;
        case v1::Effect::VERDICT_DECAYED:
          to = Intervention::STATUS_TRIAL;
          break;
        default:  // proto3 enums are open
          continue;
      }
      *intervention.mutable_decided_effect() = effect;
      if (to == Intervention::STATUS_TRIAL) {
        StartTrial(&intervention, effect.verdict_reason());
        continue;
      }
      Move(&intervention, to, effect.verdict_reason(), kPlanner);
      if (to == Intervention::STATUS_CONFIRMED) {
        intervention.set_treatment_probability(
            input_.config.confirmed_probability());
        *intervention.mutable_expire_time() = ToTimestamp(ExpireTime());
      }
    }
  }

  // Trials ever started, and those of them that were confirmed.
  std::pair<uint64_t, uint64_t> TrialsSoFar() const {
    uint64_t started = 0;
    uint64_t confirmed = 0;
    for (const auto& [id, intervention] : interventions_) {
      for (const Intervention::Transition& change : intervention.history()) {
        started += change.to() == Intervention::STATUS_TRIAL ? 1 : 0;
        confirmed += change.to() == Intervention::STATUS_CONFIRMED ? 1 : 0;
      }
    }
    return {started, confirmed};
  }

  void StartTrial(Intervention* intervention, absl::string_view reason) {
    const auto [started, confirmed] = TrialsSoFar();
    intervention->set_confirmation_level(stats::SpentLevel(
        input_.config.trial_false_discovery_rate(), started + 1, confirmed));
    intervention->set_treatment_probability(
        input_.config.treatment_probability());
    intervention->set_start_tick(input_.tick);
    *intervention->mutable_expire_time() = ToTimestamp(ExpireTime());
    Move(intervention, Intervention::STATUS_TRIAL, reason, kPlanner);
  }

  // Whether a change may not be proposed again: until its cool-down is over
  // where its trial showed nothing, at once where it was never put to the test,
  // else for good.
  bool IsTaken(const Intervention& intervention) const {
    if (intervention.status() != Intervention::STATUS_RETIRED) return true;
    return intervention.effect().verdict() ==
               v1::Effect::VERDICT_INCONCLUSIVE &&
           input_.tick < intervention.history().rbegin()->tick() +
                             input_.config.trial_cooldown_ticks();
  }

  void Expire() {
    for (auto& [id, intervention] : interventions_) {
      const bool lives =
          IsOpen(intervention.status()) || IsActive(intervention.status());
      if (lives && intervention.has_expire_time() &&
          input_.now >= ToTime(intervention.expire_time())) {
        Move(&intervention, Intervention::STATUS_RETIRED,
             "expired without renewal", kPlanner);
      }
    }
  }

  void Propose() {
    std::set<std::string> busy;  // clusters with an open intervention
    std::set<Change> taken;
    std::map<v1::InterventionKind, Efficacy> efficacy;
    for (const auto& [id, intervention] : interventions_) {
      efficacy[intervention.kind()].Count(intervention);
      if (IsOpen(intervention.status())) busy.insert(intervention.cluster());
      if (IsTaken(intervention)) {
        taken.insert(ChangeOf(intervention.action(), intervention.scope()));
      }
    }
    std::vector<const ProposalContext*> contexts;
    for (const ProposalContext& context : input_.contexts) {
      if (busy.count(context.cluster->name()) > 0) continue;
      contexts.push_back(&context);
    }
    if (contexts.empty()) return;
    std::vector<diagnose::RunSet> targets(contexts.size());
    base::ParallelFor(contexts.size(), input_.threads, [&](size_t c) {
      targets[c] = SampledMembers(*contexts[c]);
    });
    const diagnose::Window window{contexts.front()->runs,
                                  contexts.front()->discovery,
                                  contexts.front()->names};
    const diagnose::ContextTable table(window, targets);

    // The best proposal of each cluster that is not decided already, largest
    // expected reduction first, so that a wide one goes before its parts.
    std::vector<std::vector<Ranked>> ranked_for(contexts.size());
    base::ParallelFor(contexts.size(), input_.threads, [&](size_t c) {
      ranked_for[c] = Rank(*contexts[c], table, efficacy);
    });
    std::vector<std::pair<const v1::Cluster*, Proposal>> best;
    for (size_t c = 0; c < contexts.size(); ++c) {
      for (Ranked& ranked : ranked_for[c]) {
        const Change change =
            ChangeOf(ranked.proposal.action, ranked.proposal.scope);
        if (taken.count(change) > 0 && !IsAnswered(window, ranked.proposal)) {
          continue;
        }
        best.emplace_back(contexts[c]->cluster, std::move(ranked.proposal));
        break;
      }
    }
    std::stable_sort(
        best.begin(), best.end(), [](const auto& a, const auto& b) {
          return a.second.expected_reduction > b.second.expected_reduction;
        });
    for (auto& [cluster, proposal] : best) {
      if (!IsAnswered(window, proposal)) Add(*cluster, std::move(proposal));
    }
  }

  // Whether open interventions on the same knob cover most of the scope
  // (METHODS 4.3): then they answer the cluster, too.
  bool IsAnswered(const diagnose::Window& window,
                  const Proposal& proposal) const {
    const std::string knob = policy::ActionKnob(proposal.action);
    const diagnose::RunSet scope = MatchingRuns(window, proposal.scope);
    diagnose::RunSet covered(window.runs.size());
    for (const auto& [id, intervention] : interventions_) {
      if (!IsOpen(intervention.status()) ||
          policy::ActionKnob(intervention.action()) != knob) {
        continue;
      }
      if (intervention.scope().SerializeAsString() ==
          proposal.scope.SerializeAsString()) {
        return true;
      }
      covered = covered | MatchingRuns(window, intervention.scope());
    }
    return scope.Count() > 0 &&
           scope.CountBoth(covered) >=
               kMaxCovered * static_cast<double>(scope.Count());
  }

  struct Ranked {
    bool answers;
    Proposal proposal;
  };

  static std::vector<Ranked> Rank(
      const ProposalContext& context, const diagnose::ContextTable& table,
      const std::map<v1::InterventionKind, Efficacy>& efficacy) {
    std::vector<Ranked> all;
    for (const auto& type : InterventionTypes()) {
      const auto known = efficacy.find(type->kind());
      const double kept =
          (known == efficacy.end() ? Efficacy() : known->second).Mean();
      const bool answers =
          type->Answers(context.cluster->diagnosis().failure_mode());
      for (Proposal& proposal : type->Propose(context, table)) {
        if (!type->Validate(proposal.action).ok()) continue;
        proposal.expected_reduction *= kept;
        all.push_back({answers || proposal.answers_cause, std::move(proposal)});
      }
    }
    std::stable_sort(
        all.begin(), all.end(), [](const Ranked& a, const Ranked& b) {
          return std::make_tuple(a.answers, a.proposal.expected_reduction) >
                 std::make_tuple(b.answers, b.proposal.expected_reduction);
        });
    return all;
  }

  void Add(const v1::Cluster& cluster, Proposal proposal) {
    const std::string id = base::MakeUlid(input_.now, &random_);
    Intervention& intervention = interventions_[id];
    intervention.set_name(
        absl::StrCat("projects/", input_.project, "/interventions/", id));
    intervention.set_intervention_id(id);
    intervention.set_kind(KindOf(proposal.action));
    *intervention.mutable_action() = std::move(proposal.action);
    *intervention.mutable_scope() = std::move(proposal.scope);
    intervention.set_summary(proposal.summary);
    intervention.set_cluster(cluster.name());
    intervention.set_failure_mode(cluster.diagnosis().failure_mode());
    intervention.set_treatment_probability(
        input_.config.treatment_probability());
    intervention.set_salt(absl::StrFormat("%016x", random_.Next()));
    intervention.set_expected_reduction(proposal.expected_reduction);
    intervention.set_create_tick(input_.tick);
    *intervention.mutable_expire_time() = ToTimestamp(ExpireTime());
    Move(&intervention, Intervention::STATUS_PROPOSED, proposal.summary,
         kPlanner);
  }

  void AutoApprove() {
    const auto& kinds = input_.config.auto_approve();
    for (auto& [id, intervention] : interventions_) {
      // What is not expected to spare anything waits for a person.
      if (intervention.status() == Intervention::STATUS_PROPOSED &&
          intervention.expected_reduction() > 0 &&
          std::find(kinds.begin(), kinds.end(), intervention.kind()) !=
              kinds.end()) {
        Move(&intervention, Intervention::STATUS_APPROVED,
             "its kind starts without a reviewer", kAutoApprove);
      }
    }
  }

  void StartTrials() {
    size_t trials = 0;
    std::vector<Intervention*> waiting;
    for (auto& [id, intervention] : interventions_) {
      trials += intervention.status() == Intervention::STATUS_TRIAL ? 1 : 0;
      if (intervention.status() == Intervention::STATUS_APPROVED) {
        waiting.push_back(&intervention);
      }
    }
    std::stable_sort(waiting.begin(), waiting.end(),
                     [](const Intervention* a, const Intervention* b) {
                       return a->expected_reduction() > b->expected_reduction();
                     });
    for (Intervention* intervention : waiting) {
      if (trials >= input_.config.max_trials()) break;
      ++trials;
      StartTrial(intervention, "a trial was free");
    }
  }

  const PlanInput& input_;
  base::Random random_;
  std::map<std::string, Intervention> interventions_;  // by id
};

}  // namespace

std::vector<Intervention> Plan(const PlanInput& input) {
  return Planner(input).Run();
}

bool IsActive(Intervention::Status status) {
  return status == Intervention::STATUS_TRIAL ||
         status == Intervention::STATUS_CONFIRMED;
}

}  // namespace faultline::intervene
