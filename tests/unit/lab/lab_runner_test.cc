#include "client/lab/lab_runner.h"

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/lab/html_report.h"
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

constexpr uint64_t kEarlierTicks = 5;  // that the project had before the lab

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
    tick.set_tick(kEarlierTicks + version_);
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
  // The stable cluster: the failures of one kind of question, so far as the
  // test has said which.
  absl::StatusOr<std::vector<std::string>> Members(
      const std::string&) override {
    return members;
  }
  absl::StatusOr<std::vector<v1::Intervention>> Interventions() override {
    v1::Intervention intervention;
    intervention.set_intervention_id("i1");
    intervention.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
    intervention.set_status(v1::Intervention::STATUS_TRIAL);
    intervention.mutable_scope()->mutable_all();
    auto* candidate = intervention.mutable_action()
                          ->mutable_routing_policy()
                          ->add_candidates();
    candidate->set_name(route);
    candidate->set_weight(1);
    const auto move = [&](v1::Intervention::Status to, uint64_t tick) {
      auto* change = intervention.add_history();
      change->set_from(intervention.status());
      change->set_to(to);
      change->set_tick(tick);
      intervention.set_status(to);
    };
    intervention.set_status(v1::Intervention::STATUS_APPROVED);
    move(v1::Intervention::STATUS_TRIAL, kEarlierTicks + 1);
    if (version_ >= 3)
      move(v1::Intervention::STATUS_CONFIRMED, kEarlierTicks + 3);
    return std::vector<v1::Intervention>{intervention};
  }
  const PolicySource& policy() const override { return *policy_; }

  std::vector<v1::Trace> received;
  absl::Status send_status;
  std::vector<std::string> members;
  std::string route = "parser";  // of the intervention

 private:
  std::unique_ptr<PolicySource> policy_ = std::make_unique<NoPolicy>();
  uint64_t version_ = 0;
};

// One lab for all tests: training takes half a second.
const Lab& TheLab() {
  static const Lab& lab = *[] {
    Lab::Options options;
    options.families = {Family::kReasoning, Family::kArithmetic};
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
  const Score& first = reports[0].scores.all;
  const Score& second = reports[1].scores.all;
  EXPECT_EQ(first.reached, first.none);
  EXPECT_LT(second.reached, second.none);
  EXPECT_LT(second.oracle, second.reached);
  // The bandit has learned a little, lots are of no use to most questions.
  EXPECT_LT(reports[2].scores.all.bandit, reports[2].scores.all.none);
  EXPECT_NE(second.random, second.none);

  const Summary summary = Summarize(reports, {}, {});
  EXPECT_EQ(summary.last_ticks, 1);
  EXPECT_EQ(summary.first.reached, first.reached);
  EXPECT_EQ(summary.last.reached, reports[2].scores.all.reached);
  EXPECT_GT(summary.captured, .2);
  EXPECT_LT(summary.captured, .7);
}

TEST(LabRunnerTest, HoldsTrialsAgainstTheTruth) {
  fakes::FakeClock clock;
  FakeBackend backend;
  LabRunner runner(TheLab(), clock, &backend, nullptr);
  for (int i = 0; i < 3; ++i) ASSERT_OK(runner.RunTick());
  std::vector<TrialReport> trials = runner.Trials();
  ASSERT_EQ(trials.size(), 1u);
  EXPECT_EQ(trials[0].start_tick, 1);
  EXPECT_EQ(trials[0].verdict_tick, 3);
  EXPECT_TRUE(trials[0].confirmed);
  EXPECT_EQ(trials[0].truth.effect(), Truth::Effect::kHelps);
  Summary summary = Summarize(runner.reports(), trials, {});
  EXPECT_EQ(summary.trials, 1);
  EXPECT_EQ(summary.confirmed, 1);
  EXPECT_EQ(summary.false_confirmations, 0);
  EXPECT_EQ(summary.median_ticks_to_verdict, 2);

  // A route that nobody has changes nothing: to confirm it is false.
  backend.route = "nobody";
  ASSERT_OK(runner.RunTick());
  trials = runner.Trials();
  EXPECT_GT(trials[0].truth.in_scope, 0);
  EXPECT_EQ(trials[0].truth.effect(), Truth::Effect::kInert);
  EXPECT_EQ(Summarize(runner.reports(), trials, {}).false_confirmations, 1);

  // The shorter-sighted of two agents hurts.
  backend.route = "calc_a";
  ASSERT_OK(runner.RunTick());
  trials = runner.Trials();
  EXPECT_EQ(trials[0].truth.effect(), Truth::Effect::kHurts);
  summary = Summarize(runner.reports(), trials, {});
  EXPECT_EQ(summary.harmful, 1);
  EXPECT_EQ(summary.harmful_confirmed, 1);
}

TEST(LabRunnerTest, HoldsNamesAgainstHiddenKinds) {
  fakes::FakeClock clock;
  FakeBackend backend;
  LabRunner runner(TheLab(), clock, &backend, nullptr);
  ASSERT_OK(runner.RunTick());
  const auto members_of = [&](const std::string& kind) {
    std::vector<std::string> members;
    for (const Problem& problem : TheLab().MakeProblems(1, 200)) {
      if (problem.kind == kind) members.push_back(problem.id);
    }
    members.push_back("of-an-earlier-lab");
    return members;
  };
  backend.members = members_of("negation");
  ASSERT_OK_AND_ASSIGN(std::vector<NamingReport> naming, runner.Naming());
  ASSERT_EQ(naming.size(), 1u);
  EXPECT_EQ(naming[0].kind, "negation");
  EXPECT_GT(naming[0].share, .9);
  EXPECT_LT(naming[0].share, 1);
  EXPECT_TRUE(naming[0].right);
  backend.members = members_of("format");
  ASSERT_OK_AND_ASSIGN(naming, runner.Naming());
  EXPECT_EQ(naming[0].kind, "format");
  EXPECT_FALSE(naming[0].right);
  const Summary summary = Summarize(runner.reports(), {}, naming);
  EXPECT_EQ(summary.accepted_clusters, 1);
  EXPECT_EQ(summary.rightly_named, 0);
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
  const std::vector<TrialReport> trials = runner.Trials();
  const std::vector<NamingReport> naming = {
      {.title = "<b>of words", .kind = "negation", .right = true}};
  const Results results = {runner.reports(), trials, naming};
  EXPECT_THAT(SummaryText(results),
              AllOf(HasSubstr("helps"), HasSubstr("negation"),
                    ::testing::EndsWith("ours 0.000\n")));
  EXPECT_THAT(SummaryJson(results), AllOf(HasSubstr("\"captured\":0.0"),
                                          HasSubstr("\"truth\":\"helps\"")));
  EXPECT_THAT(HtmlReport(TheLab(), results),
              AllOf(HasSubstr("<svg"), HasSubstr("&lt;b&gt;of words"),
                    HasSubstr("binary_reasoning"), Not(HasSubstr("<b>of")),
                    Not(HasSubstr("http")), Not(HasSubstr("\x1b"))));
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
