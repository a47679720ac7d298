// What evaluators ask over the state that ticks leave and the runs of the log:
// slices, offline evaluation, benchmarks, chains, explanations.
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "faultline/v1/evaluation_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"
#include "lib/slowloop/tick.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using v1::BenchmarkItem;
using v1::ChainLink;
using v1::Cluster;
using v1::Intervention;

v1::Predicate TypeIs(const std::string& type) {
  v1::Predicate predicate;
  v1::Comparison& comparison = *predicate.mutable_comparison();
  comparison.set_field("task.type");
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text(type);
  return predicate;
}

v1::Trace MakeTyped(const std::string& id, const std::string& type,
                    v1::Outcome outcome, const std::string& tool = "search") {
  v1::Trace trace = MakeTrace(id, tool, outcome);
  trace.mutable_task()->set_type(type);
  return trace;
}

class EvaluationServiceTest : public ServiceTest {
 protected:
  EvaluationServiceTest()
      : stub_(v1::EvaluationService::NewStub(channel())),
        interventions_(v1::InterventionService::NewStub(channel())),
        policies_(v1::PolicyService::NewStub(channel())) {}

  // A tick over everything that is stored, leaving `state`.
  void Tick(v1::TickState state) {
    state.mutable_config()->set_discovery_share(0.6);
    Loop()->SetState(std::move(state));
    EXPECT_OK(Loop()->RunOnce());
  }

  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                 const Request&, Response*),
                    Stub* stub, const Request& request, Response* response) {
    grpc::ClientContext call;
    grpc::Status status = (stub->*method)(&call, request, response);
    detail_ = TrailingDetail(call);
    return status;
  }

  grpc::Status Slices(v1::GetSliceMetricsRequest request) {
    request.set_parent("projects/p");
    slices_.Clear();
    return Call(&v1::EvaluationService::Stub::GetSliceMetrics, stub_.get(),
                request, &slices_);
  }

  grpc::Status Offline(v1::EvaluatePolicyOfflineRequest request) {
    request.set_parent("projects/p");
    offline_.Clear();
    return Call(&v1::EvaluationService::Stub::EvaluatePolicyOffline,
                stub_.get(), request, &offline_);
  }

  grpc::Status Explain(const v1::ExplainPolicyRequest& request) {
    explained_.Clear();
    return Call(&v1::InterventionService::Stub::ExplainPolicy,
                interventions_.get(), request, &explained_);
  }

  // Fills in summary_ and items_.
  grpc::Status Benchmark(v1::ExportBenchmarkRequest request) {
    request.set_parent("projects/p");
    grpc::ClientContext call;
    const auto stream = stub_->ExportBenchmark(&call, request);
    v1::ExportBenchmarkResponse response;
    summary_.Clear();
    items_.clear();
    while (stream->Read(&response)) {
      if (response.has_summary()) {
        EXPECT_THAT(items_, IsEmpty());
        summary_ = response.summary();
      } else {
        items_.push_back(response.item());
      }
    }
    grpc::Status status = stream->Finish();
    detail_ = TrailingDetail(call);
    return status;
  }

  std::unique_ptr<v1::EvaluationService::Stub> stub_;
  std::unique_ptr<v1::InterventionService::Stub> interventions_;
  std::unique_ptr<v1::PolicyService::Stub> policies_;
  std::optional<v1::ErrorDetail> detail_;
  v1::GetSliceMetricsResponse slices_;
  v1::EvaluatePolicyOfflineResponse offline_;
  v1::ExplainPolicyResponse explained_;
  v1::BenchmarkSummary summary_;
  std::vector<BenchmarkItem> items_;
};

TEST_F(EvaluationServiceTest, SlicesAreCountedUpToTheWatermark) {
  std::vector<v1::Trace> traces;
  for (int i = 0; i < 40; ++i) {
    traces.push_back(MakeTyped(absl::StrCat("q", i), "qa",
                               i < 20 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS));
    traces.push_back(MakeTyped(absl::StrCat("s", i), "sum",
                               i < 2 ? v1::OUTCOME_ERROR : v1::OUTCOME_PASS));
  }
  traces.push_back(MakeTyped("late", "qa", v1::OUTCOME_UNSPECIFIED));
  traces.push_back(MakeTyped("never", "qa", v1::OUTCOME_UNSPECIFIED));
  Store(std::move(traces));
  std::vector<v1::LogRecord> records(1);
  records[0].mutable_outcome()->set_trace_id("late");
  records[0].mutable_outcome()->mutable_evaluation()->set_outcome(
      v1::OUTCOME_FAIL);
  EXPECT_OK(log_->AppendAndWait("p", std::move(records)));
  Tick({});
  Store({MakeTyped("after", "qa", v1::OUTCOME_FAIL)});

  v1::GetSliceMetricsRequest request;
  request.add_group_by("task.type");
  ASSERT_TRUE(Slices(request).ok());
  EXPECT_EQ(slices_.stretch().tick(), 1);
  EXPECT_EQ(slices_.stretch().first_sequence(), 1);
  EXPECT_EQ(slices_.stretch().last_sequence(), 83);
  EXPECT_EQ(slices_.stretch().runs(), 81);
  EXPECT_EQ(slices_.stretch().pending(), 1);
  EXPECT_EQ(slices_.aggregate().failures(), 23);
  ASSERT_THAT(slices_.slices(), SizeIs(2));
  EXPECT_EQ(slices_.slices(0).text(), "task.type = \"qa\"");
  EXPECT_EQ(slices_.slices(0).failures().failures(), 21);
  EXPECT_NEAR(slices_.slices(0).difference().value(), 21. / 41 - 2. / 40,
              1e-12);
  EXPECT_LT(slices_.slices(0).difference().adjusted_p_value(), 1e-3);
}

TEST_F(EvaluationServiceTest, WithoutATickThereIsNothingToCount) {
  Store({MakeTyped("a", "qa", v1::OUTCOME_FAIL)});
  v1::GetSliceMetricsRequest request;
  *request.add_slices() = TypeIs("qa");
  ASSERT_TRUE(Slices(request).ok());
  EXPECT_EQ(slices_.stretch().tick(), 0);
  EXPECT_EQ(slices_.aggregate().runs(), 0);
  EXPECT_FALSE(slices_.slices(0).difference().defined());
}

TEST_F(EvaluationServiceTest, BadSlicesAreRefusedByName) {
  Store({MakeTyped("a", "qa", v1::OUTCOME_FAIL)});
  v1::GetSliceMetricsRequest request;
  EXPECT_EQ(Slices(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "slices");
  *request.add_slices() = TypeIs("qa");
  request.mutable_slices(0)->mutable_comparison()->set_field("task.colour");
  EXPECT_EQ(Slices(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(detail_->field(), HasSubstr("slices[0]"));
  EXPECT_NE(detail_->limit(), "");
  *request.mutable_slices(0) = TypeIs("qa");
  request.set_split(v1::GetSliceMetricsRequest::SPLIT_ARM);
  request.set_intervention("projects/p/interventions/none");
  EXPECT_EQ(Slices(request).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(detail_->field(), "intervention");
  request.set_intervention("none");
  EXPECT_EQ(Slices(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// Routes drawn with .5, where `strong` fails at .1 and `weak` at .5.
class OfflineTest : public EvaluationServiceTest {
 protected:
  OfflineTest() {
    std::vector<v1::Trace> traces;
    for (int i = 0; i < 800; ++i) {
      const bool weak = i % 2 == 0;
      const bool failed = (i / 2) % 10 < (weak ? 5 : 1);
      v1::Trace& trace = traces.emplace_back(
          MakeTyped(absl::StrCat("r", i), "qa",
                    failed ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS));
      v1::Decision& route = *trace.add_decisions();
      route.set_kind(v1::Decision::KIND_ROUTE);
      route.add_candidates()->set_name("strong");
      route.add_candidates()->set_name("weak");
      route.set_chosen(weak ? "weak" : "strong");
      route.set_propensity(.5);
    }
    Store(std::move(traces));
    Intervention& intervention = *state_.add_interventions();
    intervention.set_intervention_id("iv");
    *intervention.mutable_scope() = TypeIs("qa");
    auto& policy = *intervention.mutable_action()->mutable_routing_policy();
    policy.add_candidates()->set_name("strong");
    policy.mutable_candidates(0)->set_weight(1);
    Intervention& prompt = *state_.add_interventions();
    prompt.set_intervention_id("prompt");
    prompt.mutable_action()->mutable_prompt_strategy()->set_strategy("s");
    Tick(state_);
  }

  v1::TickState state_;
};

TEST_F(OfflineTest, WeightsAnInterventionAndAVersionAreEvaluated) {
  v1::EvaluatePolicyOfflineRequest request;
  request.mutable_weights()->add_weights()->set_name("strong");
  request.mutable_weights()->mutable_weights(0)->set_weight(1);
  ASSERT_TRUE(Offline(request).ok());
  EXPECT_EQ(offline_.verdict(),
            v1::EvaluatePolicyOfflineResponse::VERDICT_SUPPORTED)
      << offline_.reason();
  EXPECT_NEAR(offline_.ips().value(), .1, 1e-9);
  EXPECT_NEAR(offline_.logged().value(), .3, 1e-9);
  EXPECT_LT(offline_.change().upper(), 0);
  EXPECT_EQ(offline_.stretch().runs(), 800);
  EXPECT_EQ(offline_.stretch().tick(), 1);

  request.set_intervention("projects/p/interventions/iv");
  ASSERT_TRUE(Offline(request).ok());
  EXPECT_NEAR(offline_.snips().value(), .1, 1e-9);
  EXPECT_EQ(offline_.scope().comparison().text(), "qa");

  v1::Policy policy;
  v1::Rule& rule = *policy.add_rules();
  rule.set_intervention_id("iv");
  *rule.mutable_match() = TypeIs("qa");
  *rule.mutable_action() = state_.interventions(0).action();
  PublishPolicy(policy);
  request.set_policy_version(1);
  ASSERT_TRUE(Offline(request).ok());
  EXPECT_NEAR(offline_.dr().value(), .1, .02);
}

TEST_F(OfflineTest, WhatCannotBeEvaluatedIsRefusedByName) {
  v1::EvaluatePolicyOfflineRequest request;
  EXPECT_EQ(Offline(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "policy");
  request.set_intervention("projects/p/interventions/prompt");
  EXPECT_EQ(Offline(request).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  request.set_intervention("projects/p/interventions/none");
  EXPECT_EQ(Offline(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_policy_version(9);
  EXPECT_EQ(Offline(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.mutable_weights();
  EXPECT_EQ(Offline(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "weights.weights");
}

TEST_F(OfflineTest, RunsWithoutPropensitiesAreNotIdentified) {
  std::vector<v1::Trace> traces;
  for (int i = 0; i < 200; ++i) {
    v1::Trace& trace = traces.emplace_back(
        MakeTyped(absl::StrCat("n", i), "other", v1::OUTCOME_FAIL));
    v1::Decision& route = *trace.add_decisions();
    route.set_kind(v1::Decision::KIND_ROUTE);
    route.add_candidates()->set_name("strong");
    route.set_chosen("strong");
  }
  Store(std::move(traces));
  Tick(state_);
  v1::EvaluatePolicyOfflineRequest request;
  request.mutable_weights()->add_weights()->set_name("strong");
  request.mutable_weights()->mutable_weights(0)->set_weight(1);
  *request.mutable_scope() = TypeIs("other");
  ASSERT_TRUE(Offline(request).ok());
  EXPECT_EQ(offline_.verdict(),
            v1::EvaluatePolicyOfflineResponse::VERDICT_NOT_IDENTIFIED);
  EXPECT_THAT(offline_.reason(), HasSubstr("no propensity"));
  EXPECT_FALSE(offline_.has_ips());
}

// One mode: failures that call `pay`. The cluster was made of the discovery
// side; its exemplars know the held-out ones again.
class BenchmarkTest : public EvaluationServiceTest {
 protected:
  BenchmarkTest() {
    std::vector<v1::Trace> traces;
    for (int i = 0; i < 60; ++i) {
      v1::Trace failed =
          MakeTyped(absl::StrCat("f", i), "qa", v1::OUTCOME_FAIL, "pay");
      failed.mutable_task()->set_id(absl::StrCat("task", i));
      v1::Trace passed =
          MakeTyped(absl::StrCat("p", i), "qa", v1::OUTCOME_PASS, "pay");
      passed.mutable_task()->set_id(absl::StrCat("task", i));
      const bool discovery = slowloop::OnDiscoverySide(failed.trace_id(), 0.6);
      (discovery ? discovery_ : held_out_).insert(failed.trace_id());
      traces.push_back(failed);
      traces.push_back(passed);
    }
    // A failure that went unlike the mode, on the held-out side.
    for (int i = 0; novel_.empty(); ++i) {
      const std::string id = absl::StrCat("x", i);
      if (!slowloop::OnDiscoverySide(id, 0.6)) novel_ = id;
    }
    v1::Trace novel = MakeTyped(novel_, "qa", v1::OUTCOME_FAIL, "fetch");
    for (int i = 0; i < 5; ++i) {
      v1::Step& step = *novel.add_steps();
      step.set_kind(v1::Step::KIND_RETRIEVAL);
      step.set_name(absl::StrCat("index", i));
      step.set_status(v1::Step::STATUS_ERROR);
      step.set_error_type("timeout");
    }
    traces.push_back(novel);
    Store(traces);

    Cluster& cluster = *state_.add_clusters();
    cluster.set_name("projects/p/clusters/c");
    cluster.set_cluster_id("c");
    cluster.set_title("payments");
    cluster.set_status(Cluster::STATUS_STABLE);
    cluster.mutable_diagnosis()->set_failure_mode(v1::FAILURE_MODE_TOOL_MISUSE);
    cluster.set_medoid(*discovery_.begin());
    cluster.add_exemplars(*discovery_.rbegin());
    v1::ClusterMembers& members = *state_.add_members();
    members.set_cluster_id("c");
    v1::KnownMode& mode = *state_.add_known_modes();
    mode.set_cluster_id("c");
    mode.set_view(v1::VIEW_BEHAVIOR);
    mode.set_reach(.2);
    const auto embedder = *embedding::Embedder::Create({}, {});
    for (size_t t = 0; t < traces.size(); ++t) {
      if (discovery_.count(traces[t].trace_id()) == 0) continue;
      const uint64_t sequence = t + 1;
      members.add_sequences(sequence);
      members.add_strengths(.5);
      if (mode.sequences_size() == 4) continue;
      const std::vector<float> vector = embedding::EmbedInView(
          *embedder, embedding::ExtractRun(traces[t], nullptr), mode.view());
      mode.add_sequences(sequence);
      mode.mutable_vectors()->Add(vector.begin(), vector.end());
    }
    Cluster& artifact = *state_.add_clusters();
    artifact.set_name("projects/p/clusters/z");
    artifact.set_cluster_id("z");
    artifact.set_status(Cluster::STATUS_ARTIFACT);
    Tick(state_);
  }

  v1::TickState state_;
  std::set<std::string> discovery_, held_out_;
  std::string novel_;
};

TEST_F(BenchmarkTest, SplitsStayApartAndEveryRunSaysWhereItComesFrom) {
  v1::ExportBenchmarkRequest request;
  request.set_per_mode(8);
  request.set_successes_per_failure(1);
  request.set_seed(3);
  ASSERT_TRUE(Benchmark(request).ok());
  ASSERT_THAT(summary_.strata(), SizeIs(1));  // the artifact is none
  const v1::BenchmarkStratum& stratum = summary_.strata(0);
  EXPECT_EQ(stratum.members(), discovery_.size());
  EXPECT_EQ(stratum.held_out(), held_out_.size());
  EXPECT_EQ(stratum.members_exported(), 8);
  EXPECT_EQ(stratum.held_out_exported(), 8);
  EXPECT_EQ(summary_.held_out_failures(), held_out_.size() + 1);
  EXPECT_EQ(summary_.held_out_novel(), 1);
  EXPECT_EQ(summary_.over_per_mode(), 60 - 16);
  EXPECT_EQ(summary_.items(), items_.size());
  EXPECT_EQ(summary_.stretch().tick(), 1);

  EXPECT_EQ(items_[0].trace().trace_id(), *discovery_.begin());
  EXPECT_EQ(items_[0].role(), BenchmarkItem::ROLE_MEDOID);
  EXPECT_EQ(items_[1].role(), BenchmarkItem::ROLE_EXEMPLAR);
  std::set<std::string> seen;
  for (const BenchmarkItem& item : items_) {
    const std::string& id = item.trace().trace_id();
    EXPECT_TRUE(seen.insert(id).second) << id;
    const bool held_out = item.split() == BenchmarkItem::SPLIT_HELD_OUT;
    EXPECT_EQ(item.cluster(), "projects/p/clusters/c");
    EXPECT_EQ(item.failure_mode(), v1::FAILURE_MODE_TOOL_MISUSE);
    EXPECT_EQ(item.tick(), 1);
    EXPECT_EQ(item.seed(), 3);
    if (item.role() == BenchmarkItem::ROLE_MATCHED_SUCCESS) {
      EXPECT_EQ(item.outcome(), v1::OUTCOME_PASS);
      EXPECT_EQ(seen.count(item.matched_to()), 1);
      EXPECT_EQ(held_out, !slowloop::OnDiscoverySide(id, 0.6));
      continue;
    }
    EXPECT_EQ(item.outcome(), v1::OUTCOME_FAIL);
    EXPECT_EQ(held_out, held_out_.count(id) > 0);
    EXPECT_EQ(item.has_relative_distance(), held_out);
    if (!held_out) {
      EXPECT_EQ(item.strength(), .5);
    }
  }
  EXPECT_EQ(seen.count(novel_), 0);
}

TEST_F(BenchmarkTest, EqualSeedsGiveEqualBenchmarks) {
  const auto bytes = [this](uint64_t seed) {
    v1::ExportBenchmarkRequest request;
    request.set_per_mode(8);
    request.set_successes_per_failure(2);
    request.set_seed(seed);
    EXPECT_TRUE(Benchmark(request).ok());
    std::string all = summary_.SerializeAsString();
    for (const BenchmarkItem& item : items_) {
      all += item.SerializeAsString();
    }
    return all;
  };
  const std::string once = bytes(3);
  EXPECT_EQ(bytes(3), once);
  EXPECT_NE(bytes(4), once);
  // What comes later changes nothing.
  Store({MakeTyped("later", "qa", v1::OUTCOME_FAIL, "pay"),
         MakeTyped("later-pass", "qa", v1::OUTCOME_PASS, "pay")});
  EXPECT_EQ(bytes(3), once);
}

TEST_F(BenchmarkTest, ARunThatIsDeletedMeanwhileIsSkipped) {
  EXPECT_OK(log_->Delete("p", {*log_->FindTrace("p", *discovery_.begin())},
                         v1::DELETION_REASON_REQUESTED));
  ASSERT_TRUE(Benchmark({}).ok());
  EXPECT_EQ(summary_.deleted(), 1);
  EXPECT_EQ(items_[0].role(), BenchmarkItem::ROLE_EXEMPLAR);
}

TEST_F(BenchmarkTest, WhatIsAskedWronglyIsRefusedByName) {
  v1::ExportBenchmarkRequest request;
  request.add_clusters("projects/p/clusters/none");
  EXPECT_EQ(Benchmark(request).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(detail_->field(), "clusters");
  request.clear_clusters();
  request.set_max_items(10001);
  EXPECT_EQ(Benchmark(request).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "max_items");
  // A cluster that is named is taken whatever its status.
  request.clear_max_items();
  request.add_clusters("projects/p/clusters/z");
  ASSERT_TRUE(Benchmark(request).ok());
  EXPECT_THAT(summary_.strata(), SizeIs(1));
  EXPECT_THAT(items_, IsEmpty());
}

TEST_F(BenchmarkTest, ARunIsExplainedByTheModesWithinWhoseReachItIs) {
  v1::ExplainPolicyRequest request;
  request.set_trace("projects/p/traces/" + *held_out_.begin());
  ASSERT_TRUE(Explain(request).ok());
  EXPECT_EQ(explained_.trace().cluster(), "");  // no member
  EXPECT_THAT(explained_.trace().within_reach(),
              ElementsAre("projects/p/clusters/c"));
  request.set_trace("projects/p/traces/" + novel_);
  ASSERT_TRUE(Explain(request).ok());
  EXPECT_THAT(explained_.trace().within_reach(), IsEmpty());
}

TEST_F(BenchmarkTest, AClientThatLeavesHoldsNothing) {
  v1::ExportBenchmarkRequest request;
  request.set_parent("projects/p");
  {
    grpc::ClientContext call;
    const auto stream = stub_->ExportBenchmark(&call, request);
    v1::ExportBenchmarkResponse response;
    ASSERT_TRUE(stream->Read(&response));
    call.TryCancel();
    while (stream->Read(&response)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Benchmark({}).ok());
}

// A mode whose intervention is in trial.
class ChainTest : public EvaluationServiceTest {
 protected:
  ChainTest() {
    Store({MakeTyped("m", "qa", v1::OUTCOME_FAIL),
           MakeTyped("other", "sum", v1::OUTCOME_PASS)});
    for (const char* id : {"a", "b"}) {
      Cluster& cluster = *state_.add_clusters();
      cluster.set_name(absl::StrCat("projects/p/clusters/", id));
      cluster.set_cluster_id(id);
      cluster.set_status(Cluster::STATUS_STABLE);
      cluster.set_failure_share(*id == 'a' ? .1 : .4);
      cluster.set_medoid("m");
    }
    v1::ClusterMembers& members = *state_.add_members();
    members.set_cluster_id("b");
    members.add_sequences(1);
    members.add_strengths(1);
    Intervention& intervention = *state_.add_interventions();
    intervention.set_name("projects/p/interventions/iv");
    intervention.set_intervention_id("iv");
    intervention.set_cluster("projects/p/clusters/b");
    intervention.set_status(Intervention::STATUS_TRIAL);
    intervention.set_start_tick(1);
    Loop()->SetPolicyVersion(1);
    Tick(state_);
    v1::Policy policy;
    v1::Rule& rule = *policy.add_rules();
    rule.set_intervention_id("iv");
    *rule.mutable_match() = TypeIs("qa");
    rule.mutable_action()->mutable_prompt_strategy()->set_strategy("s");
    rule.set_treatment_probability(.5);
    PublishPolicy(policy);
    board_->NoteRouter("p", {.router_id = "r", .applied_version = 1});
  }

  grpc::Status Report(v1::GetChainReportRequest request) {
    request.set_parent("projects/p");
    chains_.Clear();
    return Call(&v1::EvaluationService::Stub::GetChainReport, stub_.get(),
                request, &chains_);
  }

  v1::TickState state_;
  v1::GetChainReportResponse chains_;
};

TEST_F(ChainTest, ReportsComeLargestFirstWithTheirLinks) {
  v1::GetChainReportRequest request;
  request.set_page_size(1);
  ASSERT_TRUE(Report(request).ok());
  EXPECT_EQ(chains_.tick(), 1);
  EXPECT_EQ(chains_.policy_version(), 1);
  EXPECT_EQ(chains_.clusters(), 2);
  EXPECT_EQ(chains_.closed(), 0);
  ASSERT_THAT(chains_.reports(), SizeIs(1));
  const v1::ChainReport& report = chains_.reports(0);
  EXPECT_EQ(report.cluster(), "projects/p/clusters/b");
  ASSERT_THAT(report.chains(), SizeIs(1));
  const v1::InterventionChain& chain = report.chains(0);
  EXPECT_EQ(chain.first_policy_version(), 1);
  EXPECT_TRUE(chain.in_current_policy());
  EXPECT_EQ(chain.routers_applying(), 1);
  ASSERT_THAT(chain.links(), SizeIs(5));
  EXPECT_EQ(chain.links(0).kind(), ChainLink::KIND_PUBLISHED);
  EXPECT_EQ(chain.links(0).state(), ChainLink::STATE_OK);
  EXPECT_EQ(chain.links(1).state(), ChainLink::STATE_OK);
  EXPECT_EQ(chain.links(2).state(), ChainLink::STATE_NOT_YET);
  EXPECT_THAT(report.summary(), HasSubstr("not yet exposed"));

  request.set_page_token(chains_.next_page_token());
  ASSERT_TRUE(Report(request).ok());
  EXPECT_EQ(chains_.reports(0).cluster(), "projects/p/clusters/a");
  EXPECT_EQ(chains_.next_page_token(), "");
}

TEST_F(ChainTest, OneClusterIsReportedByNameAndByAlias) {
  (*state_.mutable_aliases())["old"] = "a";
  Tick(state_);
  v1::GetChainReportRequest request;
  request.set_cluster("projects/p/clusters/old");
  ASSERT_TRUE(Report(request).ok());
  EXPECT_EQ(chains_.reports(0).cluster(), "projects/p/clusters/a");
  request.set_cluster("projects/q/clusters/a");
  EXPECT_EQ(Report(request).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(detail_->field(), "cluster");
}

TEST_F(ChainTest, ARuleIsExplainedBackToItsRuns) {
  v1::ExplainPolicyRequest request;
  request.set_intervention("projects/p/interventions/iv");
  ASSERT_TRUE(Explain(request).ok());
  ASSERT_THAT(explained_.rules(), SizeIs(1));
  const v1::RuleExplanation& explanation = explained_.rules(0);
  EXPECT_EQ(explanation.rule().intervention_id(), "iv");
  EXPECT_EQ(explanation.first_policy_version(), 1);
  EXPECT_EQ(explanation.cluster().cluster_id(), "b");
  EXPECT_EQ(explanation.medoid(), "projects/p/traces/m");
  EXPECT_THAT(absl::StrJoin(explanation.because(), "\n"),
              HasSubstr("cluster b"));
  const std::string bytes = explained_.SerializeAsString();
  request.set_parent("projects/p");
  ASSERT_TRUE(Explain(request).ok());
  EXPECT_EQ(explained_.SerializeAsString(), bytes);
}

TEST_F(ChainTest, ARunIsExplainedByTheRulesThatItMet) {
  v1::Trace carrying = MakeTyped("carrying", "sum", v1::OUTCOME_PASS);
  carrying.mutable_exposure()->set_policy_version(1);
  auto* exposure = carrying.mutable_exposure()->add_interventions();
  exposure->set_intervention_id("iv");
  exposure->set_arm(v1::ARM_HOLDOUT);
  Store({carrying});
  v1::ExplainPolicyRequest request;
  request.set_trace("projects/p/traces/m");
  ASSERT_TRUE(Explain(request).ok());
  EXPECT_EQ(explained_.trace().cluster(), "projects/p/clusters/b");
  EXPECT_EQ(explained_.trace().policy_version(), 0);
  ASSERT_THAT(explained_.trace().rules(), SizeIs(1));
  EXPECT_TRUE(explained_.trace().rules(0).matches());
  EXPECT_FALSE(explained_.trace().rules(0).carried());
  EXPECT_EQ(explained_.rules(0).cluster().cluster_id(), "b");

  request.set_trace("projects/p/traces/carrying");
  ASSERT_TRUE(Explain(request).ok());
  EXPECT_EQ(explained_.trace().cluster(), "");
  ASSERT_THAT(explained_.trace().rules(), SizeIs(1));
  EXPECT_TRUE(explained_.trace().rules(0).carried());
  EXPECT_EQ(explained_.trace().rules(0).arm(), v1::ARM_HOLDOUT);
  EXPECT_FALSE(explained_.trace().rules(0).matches());
}

TEST_F(ChainTest, WhatCannotBeExplainedIsRefusedByName) {
  v1::ExplainPolicyRequest request;
  EXPECT_EQ(Explain(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "subject");
  request.set_intervention("projects/p/interventions/none");
  EXPECT_EQ(Explain(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_trace("projects/p/traces/none");
  EXPECT_EQ(Explain(request).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(detail_->field(), "trace");
}

TEST_F(ChainTest, VersionsAreCompared) {
  v1::Policy next;
  v1::Rule& rule = *next.add_rules();
  rule = board_->Current("p")->policy().rules(0);
  rule.set_treatment_probability(.9);
  next.add_rules()->set_intervention_id("new");
  PublishPolicy(next);
  v1::DiffPoliciesRequest request;
  request.set_parent("projects/p");
  v1::DiffPoliciesResponse diff;
  const auto call = [&] {
    diff.Clear();
    return Call(&v1::PolicyService::Stub::DiffPolicies, policies_.get(),
                request, &diff);
  };
  ASSERT_TRUE(call().ok());
  EXPECT_EQ(diff.from_version(), 1);
  EXPECT_EQ(diff.to_version(), 2);
  ASSERT_THAT(diff.added(), SizeIs(1));
  ASSERT_THAT(diff.changed(), SizeIs(1));
  EXPECT_EQ(diff.changed(0).fields(0).field(), "treatment_probability");
  request.set_to_version(1);  // from the empty policy
  ASSERT_TRUE(call().ok());
  EXPECT_EQ(diff.from_version(), 0);
  EXPECT_THAT(diff.added(), SizeIs(1));
  request.set_from_version(2);  // the way back
  ASSERT_TRUE(call().ok());
  EXPECT_THAT(diff.removed(), SizeIs(1));
  request.set_to_version(7);
  EXPECT_EQ(call().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace faultline::integration
