#include "lib/evaluate/chain_report.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::evaluate {
namespace {

using ::testing::HasSubstr;
using v1::ChainLink;
using v1::Cluster;
using v1::Effect;
using v1::Intervention;

// A loop that closed: a stable mode, a confirmed intervention, one router.
class ChainReportTest : public ::testing::Test {
 protected:
  ChainReportTest() {
    state_.mutable_tick()->set_tick(9);
    Cluster& cluster = *state_.add_clusters();
    cluster.set_name("projects/p/clusters/c");
    cluster.set_cluster_id("c");
    cluster.set_status(Cluster::STATUS_STABLE);
    cluster.set_status_reason("held out and found again");
    cluster.set_ticks_seen(4);
    cluster.set_last_seen_tick(9);
    Intervention& intervention = *state_.add_interventions();
    intervention.set_name("projects/p/interventions/iv");
    intervention.set_intervention_id("iv");
    intervention.set_cluster("projects/p/clusters/c");
    intervention.set_status(Intervention::STATUS_CONFIRMED);
    intervention.set_start_tick(5);
    FillEffect(intervention.mutable_decided_effect());
    first_versions_["iv"] = 3;
    policy_.set_version(4);
    policy_.add_rules()->set_intervention_id("iv");
    AddRouter("r1", 4);
  }

  static void FillEffect(Effect* effect) {
    effect->mutable_treatment()->set_runs(100);
    effect->mutable_holdout()->set_runs(90);
    effect->set_verdict(Effect::VERDICT_HELPS);
    effect->set_verdict_reason("fewer failures of the mode");
    v1::RelativeRisk& risk = *effect->mutable_mode_failure();
    risk.set_defined(true);
    risk.set_ratio(.25);
    risk.set_lower(.1);
    risk.set_upper(.6);
    v1::GuardMetric& guard = *effect->add_guards();
    guard.set_kind(v1::GuardMetric::KIND_COST);
    guard.set_runs(190);
    guard.set_change(.001);
    guard.set_lower(-.001);
    guard.set_upper(.003);
    guard.set_limit(.002);
  }

  v1::Router& AddRouter(const std::string& id, uint64_t applied) {
    v1::Router& router = routers_.emplace_back();
    router.set_router_id(id);
    router.set_applied_version(applied);
    return router;
  }

  Cluster& cluster() { return *state_.mutable_clusters(0); }
  Intervention& intervention() { return *state_.mutable_interventions(0); }

  v1::ChainReport Report() {
    ChainInput input;
    input.state = &state_;
    input.policy = &policy_;
    input.routers = routers_;
    input.ticks = ticks_;
    input.first_versions = &first_versions_;
    return ReportChain(input, cluster());
  }

  // The link of the cluster, or of its first chain.
  static ChainLink Link(const v1::ChainReport& report, ChainLink::Kind kind) {
    for (const ChainLink& link : report.links()) {
      if (link.kind() == kind) return link;
    }
    for (const ChainLink& link : report.chains(0).links()) {
      if (link.kind() == kind) return link;
    }
    ADD_FAILURE() << "no link " << kind;
    return {};
  }
  ChainLink Link(ChainLink::Kind kind) { return Link(Report(), kind); }

  v1::TickState state_;
  v1::Policy policy_;
  std::vector<v1::Router> routers_;
  std::vector<v1::Tick> ticks_;
  absl::flat_hash_map<std::string, uint64_t> first_versions_;
};

TEST_F(ChainReportTest, AClosedChainHoldsInEveryLink) {
  const v1::ChainReport report = Report();
  EXPECT_TRUE(report.closed());
  ASSERT_EQ(report.chains_size(), 1);
  const v1::InterventionChain& chain = report.chains(0);
  EXPECT_TRUE(chain.closed());
  EXPECT_EQ(report.links_size() + chain.links_size(), 7);
  for (int kind = ChainLink::KIND_STABLE; kind <= ChainLink::KIND_AFFORDED;
       ++kind) {
    const ChainLink link = Link(report, static_cast<ChainLink::Kind>(kind));
    EXPECT_EQ(link.state(), ChainLink::STATE_OK) << link.reason();
    EXPECT_NE(link.reason(), "");
  }
  EXPECT_EQ(chain.first_policy_version(), 3);
  EXPECT_TRUE(chain.in_current_policy());
  EXPECT_EQ(chain.routers_applying(), 1);
  EXPECT_NEAR(chain.spared_per_thousand(), 750, 1e-9);
  EXPECT_THAT(report.summary(), HasSubstr("closed: relative risk 0.25"));
}

TEST_F(ChainReportTest, AClusterWithoutAnswerSaysSo) {
  state_.clear_interventions();
  const v1::ChainReport report = Report();
  EXPECT_FALSE(report.closed());
  EXPECT_EQ(report.chains_size(), 0);
  EXPECT_EQ(Link(report, ChainLink::KIND_ANSWERED).state(),
            ChainLink::STATE_NOT_YET);
  EXPECT_THAT(report.summary(), HasSubstr("not yet answered"));
}

TEST_F(ChainReportTest, StabilityIsReadFromStatusAndLineage) {
  cluster().set_status(Cluster::STATUS_CANDIDATE);
  cluster().set_status_reason("too few held-out runs");
  for (const auto kind :
       {v1::LineageEvent::KIND_SURVIVED, v1::LineageEvent::KIND_SURVIVED,
        v1::LineageEvent::KIND_SPLIT}) {
    v1::LineageEvent& event = *ticks_.emplace_back().add_lineage();
    event.set_kind(kind);
    event.set_cluster_id("c");
  }
  ticks_[0].mutable_lineage(0)->set_cluster_id("other");
  const ChainLink link = Link(ChainLink::KIND_STABLE);
  EXPECT_EQ(link.state(), ChainLink::STATE_NOT_YET);
  EXPECT_THAT(link.reason(), HasSubstr("too few held-out runs"));
  EXPECT_THAT(link.reason(),
              HasSubstr("in the last 3 ticks survived once, split once"));
  cluster().set_status(Cluster::STATUS_ARTIFACT);
  EXPECT_EQ(Link(ChainLink::KIND_STABLE).state(), ChainLink::STATE_BROKEN);
}

TEST_F(ChainReportTest, AModeThatIsGoneForItsInterventionIsNoBrokenChain) {
  cluster().set_status(Cluster::STATUS_RETIRED);
  cluster().set_last_seen_tick(6);
  EXPECT_TRUE(Report().closed());
  cluster().add_reviews()->set_decision(v1::ClusterReview::DECISION_REJECT);
  EXPECT_EQ(Link(ChainLink::KIND_STABLE).state(), ChainLink::STATE_BROKEN);
  cluster().clear_reviews();
  intervention().set_status(Intervention::STATUS_TRIAL);
  EXPECT_EQ(Link(ChainLink::KIND_STABLE).state(), ChainLink::STATE_BROKEN);
}

TEST_F(ChainReportTest, WhatWaitsForAReviewerIsNotYetPublished) {
  intervention().set_status(Intervention::STATUS_PROPOSED);
  policy_.clear_rules();
  const v1::ChainReport report = Report();
  EXPECT_EQ(Link(report, ChainLink::KIND_PUBLISHED).state(),
            ChainLink::STATE_NOT_YET);
  EXPECT_THAT(Link(report, ChainLink::KIND_PUBLISHED).reason(),
              HasSubstr("waits for a reviewer"));
  EXPECT_EQ(Link(report, ChainLink::KIND_APPLIED).state(),
            ChainLink::STATE_NOT_YET);
  EXPECT_THAT(report.summary(), HasSubstr("not yet in the policy"));
}

TEST_F(ChainReportTest, WhatWasWithdrawnIsBrokenWithItsReason) {
  intervention().set_status(Intervention::STATUS_ROLLED_BACK);
  Intervention::Transition& change = *intervention().add_history();
  change.set_to(Intervention::STATUS_ROLLED_BACK);
  change.set_tick(8);
  change.set_actor("ann");
  change.set_reason("it costs too much");
  policy_.clear_rules();
  const v1::ChainReport report = Report();
  for (const auto kind : {ChainLink::KIND_PUBLISHED, ChainLink::KIND_APPLIED,
                          ChainLink::KIND_REDUCED}) {
    EXPECT_EQ(Link(report, kind).state(), ChainLink::STATE_BROKEN);
  }
  EXPECT_THAT(Link(report, ChainLink::KIND_PUBLISHED).reason(),
              HasSubstr("rolled back in tick 8 by ann: it costs too much"));
  EXPECT_EQ(Link(report, ChainLink::KIND_ANSWERED).state(),
            ChainLink::STATE_NOT_YET);
}

TEST_F(ChainReportTest, RoutersThatAreBehindOrRefuseAreNamed) {
  AddRouter("r2", 2);
  ChainLink link = Link(ChainLink::KIND_APPLIED);
  EXPECT_EQ(link.state(), ChainLink::STATE_NOT_YET);
  EXPECT_THAT(link.reason(), HasSubstr("1 of 2 routers"));
  EXPECT_THAT(link.reason(), HasSubstr("r2 applies version 2"));
  // It applies the version, but for this rule.
  AddRouter("r3", 4).set_nack_reason("iv: action is not known");
  link = Link(ChainLink::KIND_APPLIED);
  EXPECT_EQ(link.state(), ChainLink::STATE_BROKEN);
  EXPECT_THAT(link.reason(), HasSubstr("action is not known"));
  routers_.clear();
  link = Link(ChainLink::KIND_APPLIED);
  EXPECT_EQ(link.state(), ChainLink::STATE_NOT_YET);
  EXPECT_THAT(link.reason(), HasSubstr("no router has asked"));
}

TEST_F(ChainReportTest, BothArmsMustCarryIt) {
  Effect& effect = *intervention().mutable_decided_effect();
  effect.mutable_holdout()->set_runs(0);
  EXPECT_EQ(Link(ChainLink::KIND_EXPOSED).state(), ChainLink::STATE_NOT_YET);
  effect.mutable_treatment()->set_runs(0);
  effect.mutable_refused()->set_other_arm(50);
  const ChainLink link = Link(ChainLink::KIND_EXPOSED);
  EXPECT_EQ(link.state(), ChainLink::STATE_BROKEN);
  EXPECT_THAT(link.reason(), HasSubstr("50 in another arm"));
  FillEffect(&effect);
  effect.set_verdict(Effect::VERDICT_UNSOUND);
  EXPECT_EQ(Link(ChainLink::KIND_EXPOSED).state(), ChainLink::STATE_BROKEN);
}

TEST_F(ChainReportTest, ATrialWithoutVerdictHasNotReducedYet) {
  intervention().set_status(Intervention::STATUS_TRIAL);
  FillEffect(intervention().mutable_effect());
  Effect& effect = *intervention().mutable_effect();
  effect.clear_verdict();
  effect.clear_verdict_reason();
  effect.mutable_mode_failure()->set_ratio(.8);
  const v1::ChainReport report = Report();
  const ChainLink link = Link(report, ChainLink::KIND_REDUCED);
  EXPECT_EQ(link.state(), ChainLink::STATE_NOT_YET);
  EXPECT_THAT(link.reason(), HasSubstr("relative risk 0.80 (0.10 to 0.60)"));
  // Not of the verdict of an earlier trial.
  EXPECT_NEAR(report.chains(0).spared_per_thousand(), 200, 1e-9);
  EXPECT_THAT(report.summary(), HasSubstr("not yet reduced"));
}

TEST_F(ChainReportTest, CostBeyondItsLimitBreaksTheChain) {
  v1::GuardMetric& guard =
      *intervention().mutable_decided_effect()->mutable_guards(0);
  guard.set_lower(.0021);
  EXPECT_EQ(Link(ChainLink::KIND_AFFORDED).state(), ChainLink::STATE_BROKEN);
  guard.set_runs(0);
  EXPECT_EQ(Link(ChainLink::KIND_AFFORDED).state(), ChainLink::STATE_NOT_YET);
  intervention().mutable_decided_effect()->clear_guards();
  EXPECT_THAT(Link(ChainLink::KIND_AFFORDED).reason(),
              HasSubstr("neither cost nor latency"));
}

TEST_F(ChainReportTest, InterventionsThatRunComeFirst) {
  Intervention& rejected = *state_.add_interventions();
  rejected = intervention();
  rejected.set_intervention_id("zz");
  rejected.set_name("projects/p/interventions/zz");
  rejected.set_create_tick(8);
  rejected.set_status(Intervention::STATUS_REJECTED);
  const v1::ChainReport report = Report();
  ASSERT_EQ(report.chains_size(), 2);
  EXPECT_EQ(report.chains(0).intervention(), "projects/p/interventions/iv");
  EXPECT_TRUE(report.closed());
  EXPECT_FALSE(report.chains(1).closed());
}

}  // namespace
}  // namespace faultline::evaluate
