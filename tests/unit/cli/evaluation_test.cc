// The commands of EvaluationService, and those that explain and compare
// policies.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/cli.h"
#include "client/cli/condition.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/cli/fake_server.h"

namespace faultline::cli {
namespace {

using ::testing::AllOf;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Return;
using ::testing::SaveArgPointee;
using ::testing::SetArgPointee;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

class EvaluationCliTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> arguments) {
    arguments.push_back("--server=" + server_.address());
    std::ostringstream out;
    std::ostringstream err;
    const int code = RunCli(std::move(arguments), {.out = &out,
                                                   .err = &err,
                                                   .out_terminal = {},
                                                   .err_terminal = {},
                                                   .clock = &clock_,
                                                   .user = "ada"});
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  FakeServer server_;
  fakes::FakeClock clock_;
  std::string out_;
  std::string err_;
};

TEST(ParseCondition, ReadsEveryOperator) {
  const auto one = [](const std::string& text) {
    const auto predicate = ParseCondition(text);
    EXPECT_OK(predicate) << text;
    return predicate.ok() ? predicate->comparison() : v1::Comparison();
  };
  EXPECT_EQ(one("task.type=qa").op(), v1::Comparison::OPERATOR_EQUAL);
  EXPECT_EQ(one("task.type=qa").text(), "qa");
  EXPECT_EQ(one("task.id=a=b").text(), "a=b");
  EXPECT_EQ(one("task.type != qa").op(), v1::Comparison::OPERATOR_NOT_EQUAL);
  EXPECT_EQ(one("task.type != qa").field(), "task.type");
  EXPECT_EQ(one("steps>=9").op(), v1::Comparison::OPERATOR_AT_LEAST);
  EXPECT_EQ(one("steps>=9").number(), 9);
  EXPECT_EQ(one("signals.confidence<0.5").op(), v1::Comparison::OPERATOR_BELOW);
  EXPECT_EQ(one("task.input~not").op(), v1::Comparison::OPERATOR_HAS_WORD);
  const auto all = ParseCondition("task.type=qa && steps>=9");
  ASSERT_OK(all);
  EXPECT_EQ(all->all().predicates_size(), 2);
  for (const char* text : {"", "task.type", "=qa", "steps>=many", "a=b && c"}) {
    EXPECT_FALSE(ParseCondition(text).ok()) << text;
  }
}

TEST_F(EvaluationCliTest, SlicesAreShownBesideTheWhole) {
  v1::GetSliceMetricsRequest request;
  EXPECT_CALL(server_.evaluation, GetSliceMetrics)
      .WillOnce(
          DoAll(SaveArgPointee<1>(&request),
                SetArgPointee<2>(Parse<v1::GetSliceMetricsResponse>(R"pb(
                  stretch { runs: 300 pending: 2 last_sequence: 302 tick: 5 }
                  aggregate { runs: 300 failures: 40 rate: 0.133 }
                  slices {
                    text: "task.type = \"qa\""
                    failures { runs: 100 failures: 30 rate: 0.3 lower: 0.22 }
                    difference {
                      defined: true
                      value: 0.25
                      lower: 0.16
                      upper: 0.35
                      adjusted_p_value: 0.001
                    }
                  }
                  fields {
                    field: "task.type"
                    values: 9
                    values_left_out: 8
                    runs_left_out: 200
                  })pb")),
                Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"slices", "--by", "task.type", "--slice", "steps>=9",
                 "--values", "1", "--after", "2026-01-01T00:00:00Z"}),
            kExitOk)
      << err_;
  EXPECT_EQ(request.group_by(0), "task.type");
  EXPECT_EQ(request.slices(0).comparison().number(), 9);
  EXPECT_EQ(request.max_values(), 1);
  EXPECT_TRUE(request.has_start_time());
  EXPECT_THAT(
      out_, AllOf(HasSubstr("task.type = \"qa\""), HasSubstr("30.0 % (22.0 %"),
                  HasSubstr("25.0 % (16.0 % to 35.0 %)"), HasSubstr("tick 5")));
  EXPECT_THAT(err_, HasSubstr("8 of 9 values"));
}

TEST_F(EvaluationCliTest, ArmsOfAnInterventionSplitSlices) {
  v1::GetSliceMetricsRequest request;
  EXPECT_CALL(server_.evaluation, GetSliceMetrics)
      .WillOnce(DoAll(SaveArgPointee<1>(&request), Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"slices", "--by", "task.type", "--arms", "iv"}), kExitOk);
  EXPECT_EQ(request.split(), v1::GetSliceMetricsRequest::SPLIT_ARM);
  EXPECT_EQ(request.intervention(), "projects/default/interventions/iv");
}

TEST_F(EvaluationCliTest, OfflineSaysItsVerdictFirst) {
  v1::EvaluatePolicyOfflineRequest request;
  EXPECT_CALL(server_.evaluation, EvaluatePolicyOffline)
      .WillOnce(
          DoAll(SaveArgPointee<1>(&request),
                SetArgPointee<2>(Parse<v1::EvaluatePolicyOfflineResponse>(R"pb(
                  verdict: VERDICT_NOT_IDENTIFIED
                  reason: "no propensity"
                  overlap { runs: 12 without_propensity: 12 })pb")),
                Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"offline", "--weights", "a=0.7,b=0.3"}), kExitOk) << err_;
  EXPECT_EQ(request.weights().weights(1).name(), "b");
  EXPECT_EQ(request.weights().weights(1).weight(), .3);
  EXPECT_THAT(out_,
              AllOf(HasSubstr("not_identified"), HasSubstr("no propensity"),
                    HasSubstr("No estimates."), HasSubstr("12 runs in scope")));
  EXPECT_EQ(Run({"offline"}), kExitRefused);
  EXPECT_EQ(Run({"offline", "--weights", "a", "--policy-version", "2"}),
            kExitRefused);
}

TEST_F(EvaluationCliTest, ABenchmarkIsOneRunALine) {
  const faultline::testing::TempDir directory;
  const std::string file = directory.path() + "/benchmark.jsonl";
  v1::ExportBenchmarkRequest request;
  EXPECT_CALL(server_.evaluation, ExportBenchmark)
      .WillOnce([&](grpc::ServerContext*,
                    const v1::ExportBenchmarkRequest* asked,
                    grpc::ServerWriter<v1::ExportBenchmarkResponse>* writer) {
        request = *asked;
        writer->Write(Parse<v1::ExportBenchmarkResponse>(R"pb(
          summary {
            items: 2
            over_per_mode: 7
            strata {
              cluster: "projects/p/clusters/c"
              title: "payments"
              members: 9
              members_exported: 2
            }
          })pb"));
        for (const char* id : {"a", "b"}) {
          v1::ExportBenchmarkResponse response;
          response.mutable_item()->mutable_trace()->set_trace_id(id);
          response.mutable_item()->set_split(v1::BenchmarkItem::SPLIT_HELD_OUT);
          writer->Write(response);
        }
        return grpc::Status::OK;
      });
  ASSERT_EQ(Run({"benchmark", "--out", file, "--per-mode", "2", "--seed", "4",
                 "--cluster", "c"}),
            kExitOk)
      << err_;
  EXPECT_EQ(request.per_mode(), 2);
  EXPECT_EQ(request.seed(), 4);
  EXPECT_EQ(request.clusters(0), "projects/default/clusters/c");
  EXPECT_THAT(out_, AllOf(HasSubstr("2 of 9"), HasSubstr("7 failures over"),
                          HasSubstr("Wrote 2 runs")));
  std::ifstream written(file);
  std::vector<std::string> ids;
  for (std::string line; std::getline(written, line);) {
    v1::BenchmarkItem item;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &item).ok());
    EXPECT_EQ(item.split(), v1::BenchmarkItem::SPLIT_HELD_OUT);
    ids.push_back(item.trace().trace_id());
  }
  EXPECT_THAT(ids, ::testing::ElementsAre("a", "b"));
}

TEST_F(EvaluationCliTest, ABenchmarkThatBreaksLeavesTheOldFile) {
  const faultline::testing::TempDir directory;
  const std::string file = directory.path() + "/benchmark.jsonl";
  std::ofstream(file) << "old\n";
  EXPECT_CALL(server_.evaluation, ExportBenchmark)
      .WillOnce([](grpc::ServerContext*, const v1::ExportBenchmarkRequest*,
                   grpc::ServerWriter<v1::ExportBenchmarkResponse>* writer) {
        v1::ExportBenchmarkResponse response;
        response.mutable_item()->mutable_trace()->set_trace_id("a");
        writer->Write(response);
        return grpc::Status(grpc::StatusCode::DATA_LOSS, "broken");
      });
  EXPECT_EQ(Run({"benchmark", "--out", file}), kExitServer);
  std::ifstream kept(file);
  std::string line;
  std::getline(kept, line);
  EXPECT_EQ(line, "old");
  EXPECT_FALSE(std::filesystem::exists(file + ".partial"));
}

TEST_F(EvaluationCliTest, ChainsAreALineEachAndOneIsWhole) {
  const auto response = Parse<v1::GetChainReportResponse>(R"pb(
    reports {
      cluster: "projects/p/clusters/c"
      status: STATUS_STABLE
      summary: "not yet applied: no router has asked"
      links { kind: KIND_STABLE state: STATE_OK reason: "it holds" }
      chains {
        intervention: "projects/p/interventions/iv"
        links { kind: KIND_APPLIED state: STATE_NOT_YET reason: "no router" }
      }
    })pb");
  v1::GetChainReportRequest request;
  EXPECT_CALL(server_.evaluation, GetChainReport)
      .Times(2)
      .WillRepeatedly(DoAll(SaveArgPointee<1>(&request),
                            SetArgPointee<2>(response),
                            Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"chain"}), kExitOk) << err_;
  EXPECT_THAT(out_,
              AllOf(HasSubstr("not yet applied"), Not(HasSubstr("it holds"))));
  ASSERT_EQ(Run({"chain", "c"}), kExitOk) << err_;
  EXPECT_EQ(request.cluster(), "projects/default/clusters/c");
  EXPECT_THAT(out_, AllOf(HasSubstr("it holds"), HasSubstr("iv"),
                          HasSubstr("not_yet"), HasSubstr("no router")));
}

TEST_F(EvaluationCliTest, ExplainsARuleARunOrThePolicy) {
  v1::ExplainPolicyRequest request;
  EXPECT_CALL(server_.interventions, ExplainPolicy)
      .Times(3)
      .WillRepeatedly(
          DoAll(SaveArgPointee<1>(&request),
                SetArgPointee<2>(Parse<v1::ExplainPolicyResponse>(R"pb(
                  rules {
                    rule { intervention_id: "iv" }
                    because: "It answers cluster c"
                    medoid: "projects/p/traces/m"
                    exemplars: "projects/p/traces/e"
                  }
                  trace {
                    trace: "projects/p/traces/t"
                    cluster: "projects/p/clusters/c"
                    rules {
                      intervention: "projects/p/interventions/iv"
                      carried: true
                      arm: ARM_HOLDOUT
                    }
                  })pb")),
                Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"explain", "iv"}), kExitOk) << err_;
  EXPECT_EQ(request.intervention(), "projects/default/interventions/iv");
  EXPECT_THAT(out_, AllOf(HasSubstr("- It answers cluster c"),
                          HasSubstr("medoid m"), HasSubstr("exemplars e")));
  ASSERT_EQ(Run({"explain", "--trace", "t"}), kExitOk) << err_;
  EXPECT_EQ(request.trace(), "projects/default/traces/t");
  EXPECT_THAT(out_, HasSubstr("holdout"));
  ASSERT_EQ(Run({"explain"}), kExitOk) << err_;
  EXPECT_EQ(request.parent(), "projects/default");
  EXPECT_EQ(Run({"explain", "iv", "--trace", "t"}), kExitRefused);
}

TEST_F(EvaluationCliTest, PolicyDiffNamesRulesAndFields) {
  v1::DiffPoliciesRequest request;
  EXPECT_CALL(server_.policies, DiffPolicies)
      .WillOnce(DoAll(SaveArgPointee<1>(&request),
                      SetArgPointee<2>(Parse<v1::DiffPoliciesResponse>(R"pb(
                        from_version: 2
                        to_version: 3
                        added { intervention_id: "new" }
                        changed {
                          intervention_id: "iv"
                          fields {
                            field: "treatment_probability"
                            before: "0.5"
                            after: "0.9"
                          }
                        }
                        unchanged: 4)pb")),
                      Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"policy", "diff", "2", "3"}), kExitOk) << err_;
  EXPECT_EQ(request.from_version(), 2);
  EXPECT_EQ(request.to_version(), 3);
  EXPECT_THAT(out_, AllOf(HasSubstr("From version 2 to 3"), HasSubstr("added"),
                          HasSubstr("treatment_probability"), HasSubstr("0.9"),
                          HasSubstr("4 as before")));
}

}  // namespace
}  // namespace faultline::cli
