#include "client/lab/lab_runner.h"

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/lab/report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace faultline::lab {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A server that learns one thing from its first tick: ask the parser.
class FakeBackend final : public Backend {
 public:
  absl::Status Configure(const v1::ProjectConfig&) override {
    return absl::OkStatus();
  }
  absl::Status Send(std::vector<v1::Trace> traces) override {
    for (v1::Trace& trace : traces) received.push_back(std::move(trace));
    return send_status;
  }
  absl::StatusOr<v1::Tick> Tick() override {
    v1::Action action;
    auto* candidate = action.mutable_routing_policy()->add_candidates();
    candidate->set_name("parser");
    candidate->set_weight(1);
    policy_ = std::make_unique<ForcedActions>(std::vector<v1::Action>{action});
    v1::Tick tick;
    tick.set_policy_version(++version_);
    return tick;
  }
  absl::StatusOr<std::vector<v1::Cluster>> Clusters() override {
    v1::Cluster cluster;
    cluster.set_cluster_id("c1");
    cluster.set_status(v1::Cluster::STATUS_STABLE);
    cluster.set_title("bag \x1b[31mof words");
    cluster.mutable_diagnosis()->set_failure_mode(
        v1::FAILURE_MODE_ROUTING_FAILURE);
    std::vector<v1::Cluster> clusters(11, cluster);
    for (int i = 0; i < 10; ++i) {
      clusters[i].set_status(v1::Cluster::STATUS_HYPOTHESIS);
    }
    return clusters;
  }
  absl::StatusOr<std::vector<v1::Intervention>> Interventions() override {
    v1::Intervention intervention;
    intervention.set_intervention_id("i1");
    intervention.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
    intervention.set_status(v1::Intervention::STATUS_TRIAL);
    return std::vector<v1::Intervention>{intervention};
  }
  const PolicySource& policy() const override { return *policy_; }

  std::vector<v1::Trace> received;
  absl::Status send_status;

 private:
  std::unique_ptr<PolicySource> policy_ = std::make_unique<NoPolicy>();
  uint64_t version_ = 0;
};

// One lab for all tests: training takes half a second.
const Lab& TheLab() {
  static const Lab& lab = *[] {
    Lab::Options options;
    options.tasks_per_tick = 200;
    return Lab::Create(options).value().release();
  }();
  return lab;
}

TEST(LabRunnerTest, SendsRunsAndActsOnWhatTheServerFound) {
  fakes::FakeClock clock;
  FakeBackend backend;
  std::ostringstream labels;
  LabRunner runner(TheLab(), clock, &backend, &labels);
  std::vector<TickReport> reports;
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(TickReport report, runner.RunTick());
    reports.push_back(std::move(report));
  }
  EXPECT_EQ(backend.received.size(), 600u);
  std::map<std::string, int> ids;
  for (const v1::Trace& trace : backend.received) ++ids[trace.trace_id()];
  EXPECT_EQ(ids.size(), 600u);
  const std::string text = labels.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 600);
  EXPECT_EQ(reports[0].score.reached, reports[0].score.none);
  EXPECT_LT(reports[1].score.reached, reports[1].score.none);

  const Summary summary = Summarize(reports);
  EXPECT_EQ(summary.last_ticks, 1);
  EXPECT_EQ(summary.first.reached, reports[0].score.reached);
  EXPECT_EQ(summary.last.reached, reports[2].score.reached);
  EXPECT_GT(summary.gap_closed, .2);
  EXPECT_LT(summary.gap_closed, .7);
}

TEST(LabRunnerTest, StopsWhereTheServerDoes) {
  fakes::FakeClock clock;
  FakeBackend backend;
  backend.send_status = absl::UnavailableError("gone");
  LabRunner runner(TheLab(), clock, &backend, nullptr);
  EXPECT_THAT(runner.RunTick(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("gone")));
}

TEST(LabRunnerTest, SaysWhenLabelsCannotBeWritten) {
  fakes::FakeClock clock;
  FakeBackend backend;
  std::ostringstream labels;
  labels.setstate(std::ios::badbit);
  LabRunner runner(TheLab(), clock, &backend, &labels);
  EXPECT_THAT(runner.RunTick(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("labels")));
  EXPECT_TRUE(backend.received.empty());
}

TEST(ReportTest, ShowsClustersAndInterventionsWithoutControlCharacters) {
  fakes::FakeClock clock;
  FakeBackend backend;
  LabRunner runner(TheLab(), clock, &backend, nullptr);
  ASSERT_OK_AND_ASSIGN(const TickReport report, runner.RunTick());
  EXPECT_THAT(TickText(report),
              AllOf(HasSubstr("tick 1: 200 runs"), HasSubstr("routing_failure"),
                    HasSubstr("stable"), HasSubstr("and 3 hypothesis\n"),
                    HasSubstr("routing_policy"), HasSubstr("trial"),
                    Not(HasSubstr("\x1b"))));
  EXPECT_THAT(TickJson(report), AllOf(HasSubstr("\"failure_mode\":"
                                                "\"routing_failure\""),
                                      HasSubstr("\"status\":\"trial\"")));
  EXPECT_THAT(SummaryText({report}),
              AllOf(HasSubstr("reached"), ::testing::EndsWith("0.000\n")));
  EXPECT_THAT(SummaryJson({report}), HasSubstr("\"gap_closed\":0.0"));
}

TEST(ReportTest, ShowsEachRouteByHiddenKind) {
  const auto reports = TheLab().MeasureKinds(200);
  EXPECT_THAT(KindsText(reports),
              AllOf(HasSubstr("bag_of_words"), HasSubstr("transitive"),
                    HasSubstr("calc_b"), HasSubstr("format"),
                    HasSubstr("none  "), HasSubstr("oracle  ")));
  EXPECT_THAT(KindsJson(reports), HasSubstr("\"kind\":\"negation\""));
}

}  // namespace
}  // namespace faultline::lab
