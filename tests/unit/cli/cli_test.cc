#include "client/cli/cli.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "faultline/v1/error.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/cli/fake_server.h"

namespace faultline::cli {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Invoke;
using ::testing::IsEmpty;
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

class CliTest : public ::testing::Test {
 protected:
  // Runs a command line against the fake server; fills in out_ and err_.
  int Run(std::vector<std::string> arguments) {
    arguments.push_back("--server=" + server_.address());
    return RunAnywhere(std::move(arguments));
  }

  int RunAnywhere(std::vector<std::string> arguments) {
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

TEST_F(CliTest, ShowsThePolicysRulesAsWords) {
  EXPECT_CALL(server_.policies, GetPolicy)
      .WillOnce(
          DoAll(SetArgPointee<2>(Parse<v1::GetPolicyResponse>(R"pb(
                  version: 3
                  policy {
                    version: 3
                    tick: 7
                    digest: "0123456789abcdef"
                    ttl { seconds: 600 }
                    global_holdout: 0.05
                    rules {
                      intervention_id: "iv1"
                      kind: INTERVENTION_KIND_TOOL_CONSTRAINT
                      treatment_probability: 0.5
                      match {
                        comparison {
                          field: "task.type"
                          op: OPERATOR_EQUAL
                          text: "arithmetic"
                        }
                      }
                      action {
                        tool_constraint {
                          tool: "calculator"
                          argument { argument: "expression" pattern: "[0-9+]*" }
                        }
                      }
                    }
                  }
                )pb")),
                Return(grpc::Status::OK)));
  EXPECT_EQ(Run({"policy", "show"}), kExitOk) << err_;
  EXPECT_THAT(out_,
              AllOf(HasSubstr("version 3 of tick 7"), HasSubstr("10 min"),
                    HasSubstr("tool_constraint"), HasSubstr("50.0 %"),
                    HasSubstr("task.type"),
                    HasSubstr("calculator: expression must match /[0-9+]*/")));
}

TEST_F(CliTest, PolicyAloneShowsTheCurrentOneAndVersionsIsAnotherCommand) {
  EXPECT_CALL(server_.policies, GetPolicy).WillOnce(Return(grpc::Status::OK));
  EXPECT_EQ(Run({"policy"}), kExitOk) << err_;
}

TEST_F(CliTest, JsonIsTheWholeAnswerOnOneLine) {
  const auto expected = Parse<v1::GetStatusResponse>(R"pb(
    version: "9.9"
    projects { name: "projects/p" traces: 10 failures: 4 })pb");
  EXPECT_CALL(server_.admin, GetStatus)
      .WillOnce(DoAll(SetArgPointee<2>(expected), Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"status", "--json"}), kExitOk) << err_;
  v1::GetStatusResponse printed;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(out_, &printed).ok());
  EXPECT_EQ(printed.SerializeAsString(), expected.SerializeAsString());
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 1);
  EXPECT_THAT(out_, HasSubstr("\"rejected\":\"0\""));  // no field is left out
}

TEST_F(CliTest, StatusAsksForOneProjectOnlyWhereItIsNamed) {
  EXPECT_CALL(server_.admin, GetStatus)
      .WillOnce(Invoke([](auto*, const auto* request, auto*) {
        EXPECT_THAT(request->parent(), IsEmpty());
        return grpc::Status::OK;
      }))
      .WillOnce(Invoke([](auto*, const auto* request, auto*) {
        EXPECT_EQ(request->parent(), "projects/p");
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"status"}), kExitOk);
  EXPECT_EQ(Run({"status", "--project", "p"}), kExitOk);
}

TEST_F(CliTest, StatusShowsRatesAndWhatWaitsToBeIndexed) {
  EXPECT_CALL(server_.admin, GetStatus)
      .WillOnce(DoAll(SetArgPointee<2>(Parse<v1::GetStatusResponse>(R"pb(
                        version: "9.9"
                        projects {
                          name: "projects/p"
                          traces: 10
                          failures: 4
                          durable_sequence: 12
                          indexed_sequence: 9
                          clusters { key: "STATUS_STABLE" value: 2 }
                          clusters { key: "STATUS_ARTIFACT" value: 1 }
                          novelty {
                            compared: 80
                            emerging: 12
                            earlier_compared: 200
                            earlier_emerging: 5
                            p_value: 0.0001
                          }
                        })pb")),
                      Return(grpc::Status::OK)));
  ASSERT_EQ(Run({"status"}), kExitOk);
  EXPECT_THAT(out_, AllOf(HasSubstr("40.0 %"), HasSubstr("3 waiting"),
                          HasSubstr("12 of 80 (before 2.5 %) !"),
                          HasSubstr("2 stable, 1 artifact")));
}

TEST_F(CliTest, ARunIsLocatedAmongTheKnownModes) {
  EXPECT_CALL(server_.behavior, LocateTrace)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->name(), "projects/default/traces/t1");
        *response = Parse<v1::LocateTraceResponse>(R"pb(
          modes {
            cluster: "projects/default/clusters/near"
            distance: 0.75
            reach: 0.5
            view: VIEW_BEHAVIOR
          }
          modes {
            cluster: "projects/default/clusters/far"
            distance: 1.25
            reach: 0.25
            view: VIEW_TRAJECTORY
          }
          novelty: 1.5)pb");
        return grpc::Status::OK;
      }))
      .WillOnce(Return(grpc::Status::OK));
  ASSERT_EQ(Run({"locate", "t1"}), kExitOk) << err_;
  EXPECT_THAT(
      out_,
      AllOf(HasSubstr("novel: 1.5 times the reach of the nearest mode, near"),
            ContainsRegex("near +0.75 +0.5 +1.5 +behavior"),
            ContainsRegex("far +1.25 +0.25 +5 +trajectory")));
  ASSERT_EQ(Run({"locate", "t1"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("no mode is known yet"));
}

TEST_F(CliTest, AMapIsDrawnOrWritten) {
  EXPECT_CALL(server_.behavior, GetMap)
      .WillRepeatedly(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->parent(), "projects/default");
        EXPECT_EQ(request->max_points(), 7);
        *response = Parse<v1::GetMapResponse>(R"pb(
          points { trace_id: "t1" outcome: OUTCOME_FAIL }
          tick: 4
          runs: 9)pb");
        return grpc::Status::OK;
      }));
  ASSERT_EQ(Run({"map", "--points=7"}), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr("Tick 4: 1 of 9 runs"));
  const testing::TempDir dir;
  const std::string svg = dir.path() + "/map.svg";
  const std::string html = dir.path() + "/map.html";
  ASSERT_EQ(Run({"map", "--points=7", "--svg", svg, "--html", html}), kExitOk);
  EXPECT_EQ(out_, "wrote " + svg + "\nwrote " + html + "\n");
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_THAT(read(svg), HasSubstr("<title>t1: fail</title>"));
  EXPECT_THAT(read(html), HasSubstr("Failures of default, tick 4"));
  EXPECT_EQ(Run({"map", "--points=7", "--svg", dir.path() + "/no/map.svg"}),
            kExitServer);
  EXPECT_THAT(err_, HasSubstr("cannot write"));
}

TEST_F(CliTest, ListsFollowPagesUpToTheLimitAndSayThatThereAreMore) {
  EXPECT_CALL(server_.admin, ListTicks)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->page_size(), 3);
        EXPECT_THAT(request->page_token(), IsEmpty());
        response->add_ticks()->set_tick(9);
        response->add_ticks()->set_tick(8);
        response->set_next_page_token("more");
        return grpc::Status::OK;
      }))
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->page_size(), 1);
        EXPECT_EQ(request->page_token(), "more");
        response->add_ticks()->set_tick(7);
        response->set_next_page_token("even more");
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"ticks", "--limit", "3"}), kExitOk);
  EXPECT_THAT(out_, AllOf(HasSubstr("9"), HasSubstr("8"), HasSubstr("7")));
  EXPECT_THAT(err_, HasSubstr("--limit"));
}

// Two ticks, the second with another digest.
grpc::Status TwoReplayedTicks(
    grpc::ServerContext*, const v1::ReplayTicksRequest* request,
    grpc::ServerWriter<v1::ReplayTicksResponse>* writer) {
  for (uint64_t number : {1, 2}) {
    v1::ReplayTicksResponse replayed;
    replayed.mutable_tick()->set_tick(number);
    replayed.mutable_tick()->set_digest("0123456789abcdef");
    replayed.set_digest(number == 1 ? "0123456789abcdef" : "fedcba9876543210");
    replayed.set_same_policy(true);
    replayed.set_same(number == 1);
    if (request->include_policies()) {
      replayed.mutable_policy()->set_version(number + 10);
    }
    writer->Write(replayed);
  }
  return grpc::Status::OK;
}

TEST_F(CliTest, AReplayShowsEachTickAndVerifyFailsWhereOneDiffers) {
  EXPECT_CALL(server_.admin, ReplayTicks)
      .WillRepeatedly(Invoke(TwoReplayedTicks));
  EXPECT_EQ(Run({"replay"}), kExitOk) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("0123456789ab  0123456789ab  same"),
                          HasSubstr("fedcba987654  another state"),
                          HasSubstr("not all the same")));
  EXPECT_EQ(Run({"replay", "--verify"}), kExitServer);
  EXPECT_THAT(err_, HasSubstr("tick 2: another state"));
  EXPECT_EQ(Run({"replay", "--policy", "12"}), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr("\"version\":\"12\""));
  EXPECT_EQ(Run({"replay", "--policy", "13"}), kExitNotFound);
}

TEST_F(CliTest, FiltersBecomeEnumsAndUnknownOnesAreUsageErrors) {
  EXPECT_CALL(server_.clusters, ListClusters)
      .WillOnce(Invoke([](auto*, const auto* request, auto*) {
        EXPECT_EQ(request->statuses_size(), 2);
        EXPECT_EQ(request->statuses(0), v1::Cluster::STATUS_STABLE);
        EXPECT_EQ(request->statuses(1), v1::Cluster::STATUS_ARTIFACT);
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"clusters", "--status", "stable,artifact"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("No clusters"));
  EXPECT_EQ(Run({"clusters", "--status", "solid"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("solid"));
}

TEST_F(CliTest, ACaseFileTellsWhatFailsWhetherItHoldsAndWhatIsDone) {
  EXPECT_CALL(server_.clusters, GetCluster)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->name(), "projects/default/clusters/c1");
        *response->mutable_cluster() = Parse<v1::Cluster>(R"pb(
          name: "projects/default/clusters/c1"
          cluster_id: "c1"
          title: "calculator \033[31mbad_argument"
          status: STATUS_STABLE
          size: 41
          failure_share: 0.25
          medoid: "t7"
          exemplars: "t8"
          enrichment {
            held_out_runs: 100
            assigned: 20
            assigned_failed: 15
            expected_failed: 6.4
            odds_ratio: 5.2
            odds_ratio_lower: 2.1
            odds_ratio_upper: 12.9
            strata: 3
          }
          stability: 0.71
          validity {
            evidence {
              batches: 2
              assigned: 31
              assigned_failed: 24
              expected_failed: 9.5
              log_e_value: 8.25
              level: 0.05
              confirmed_tick: 4
            }
            prediction_strength: 0.66
            failure_information_bits: 0.125
            model_information_bits: 0.0625
            slice_bound: "system.model = small"
            slices {
              variable: "system.model"
              largest_value: "small"
              largest_share: 0.9
              replication: 0.5
              values_tested: 4
            }
            concerns: "keeps only 0.66 of its pairs together"
          }
          diagnosis {
            failure_mode: FAILURE_MODE_TOOL_MISUSE
            confidence: 0.8
            summary: "The calculator is called with words."
            causes { text: "system.model = small" attributable_share: 0.6 }
          })pb");
        return grpc::Status::OK;
      }));
  EXPECT_CALL(server_.clusters, ListMembers)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->parent(), "projects/default/clusters/c1");
        EXPECT_EQ(request->roles_size(), 5);
        *response = Parse<v1::ListMembersResponse>(R"pb(
          members {
            trace { trace_id: "t7" }
            role: ROLE_MEDOID
            strength: 0.875
          }
          members {
            trace { trace_id: "t8" }
            role: ROLE_EXEMPLAR
            distance: 0.5
          }
          members {
            trace { trace_id: "edge" }
            role: ROLE_BOUNDARY
            outcome: OUTCOME_FAIL
          }
          members {
            trace { trace_id: "edge2" }
            role: ROLE_BOUNDARY
          }
          members {
            trace { trace_id: "edge3" }
            role: ROLE_BOUNDARY
          }
          members {
            trace { trace_id: "fine" }
            role: ROLE_NEAREST_SUCCESS
            outcome: OUTCOME_PASS
          }
        )pb");
        for (int i = 0; i < 20; ++i) {
          auto& member = *response->add_members();
          member.mutable_trace()->set_trace_id(absl::StrCat("m", i));
          member.set_role(v1::ListMembersResponse::Member::ROLE_MEMBER);
        }
        return grpc::Status::OK;
      }));
  EXPECT_CALL(server_.interventions, ListInterventions)
      .WillOnce(Invoke([](auto*, const auto*, auto* response) {
        *response = Parse<v1::ListInterventionsResponse>(R"pb(
          interventions {
            intervention_id: "mine"
            cluster: "projects/default/clusters/c1"
            status: STATUS_TRIAL
          }
          interventions {
            intervention_id: "foreign"
            cluster: "projects/default/clusters/c2"
          })pb");
        return grpc::Status::OK;
      }));
  ASSERT_EQ(Run({"cluster", "c1"}), kExitOk) << err_;
  EXPECT_THAT(
      out_,
      AllOf(HasSubstr("tool_misuse, confidence 0.8"),
            HasSubstr("20 of 100 held-out runs"),
            HasSubstr("15 of them failed, 6.4 were to be expected"),
            HasSubstr("5.2 (2.1 to 12.9)"), HasSubstr("system.model = small"),
            HasSubstr("31 held-out runs in 2 batches, 24 failed, 9.5 expected"),
            HasSubstr("ln e 8.25, needs 3"), HasSubstr("in tick 4"),
            HasSubstr("0.71, as subsamples"), HasSubstr("0.66 of its held-out"),
            HasSubstr("0.125 bits of the failure, 0.0625 bits of which model"),
            HasSubstr("bound to system.model = small"),
            HasSubstr("50.0 % of 4"),
            HasSubstr("- keeps only 0.66 of its pairs together"),
            ContainsRegex("t7 +medoid +0.875 +-"),
            ContainsRegex("t8 +exemplar +- +0.5"),
            ContainsRegex("edge +boundary +- +- +fail"), HasSubstr("edge2"),
            Not(HasSubstr("edge3")),
            ContainsRegex("fine +nearest_success +- +- +pass"),
            HasSubstr("m4 "), Not(HasSubstr("m5 ")), HasSubstr("mine"),
            Not(HasSubstr("foreign")), Not(HasSubstr("\033"))));
}

TEST_F(CliTest, MembersAreAskedForByRole) {
  EXPECT_CALL(server_.clusters, ListMembers)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_THAT(
            request->roles(),
            ElementsAre(v1::ListMembersResponse::Member::ROLE_BOUNDARY,
                        v1::ListMembersResponse::Member::ROLE_NEAREST_SUCCESS));
        response->add_members()->set_role(
            v1::ListMembersResponse::Member::ROLE_BOUNDARY);
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"members", "c1", "--role=boundary,nearest_success"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("boundary"));
  EXPECT_EQ(Run({"members", "c1", "--role=other"}), kExitUsage);
}

TEST_F(CliTest, ARunIsReadAsItIsStored) {
  v1::GetTraceRequest asked;
  EXPECT_CALL(server_.behavior, GetTrace)
      .WillOnce(
          DoAll(SaveArgPointee<1>(&asked),
                SetArgPointee<2>(Parse<v1::GetTraceResponse>(R"pb(
                  trace {
                    trace_id: "run/7"
                    start_time { seconds: 1800000000 }
                    task { type: "qa" input: "how\nmuch?" }
                    system { agent: "shop" model: "m" }
                    decisions { kind: KIND_ROUTE chosen: "m" propensity: 0.25 }
                    steps {
                      kind: KIND_TOOL
                      name: "pay"
                      start_offset { nanos: 85000000 }
                      duration { seconds: 2 }
                      status: STATUS_ERROR
                      error_type: "timeout"
                      error_message: "no answer"
                      input: "{}"
                    }
                    evaluation { outcome: OUTCOME_ERROR }
                    closing: CLOSING_IDLE
                    left_out: 3
                  }
                  replacements: 2
                  cluster: "projects/shop/clusters/c1"
                )pb")),
                Return(grpc::Status::OK)));
  EXPECT_EQ(Run({"trace", "run/7", "--project=shop"}), 0) << err_;
  EXPECT_EQ(asked.name(), "projects/shop/traces/run/7");
  for (const char* text :
       {"run/7", "closed     idle, amended 2 times, 3 elements left out",
        "outcome    error", "cluster    c1", "input      how much?",
        "route      m, with probability 0.25", "85 ms", "pay", "timeout",
        "no answer"}) {
    EXPECT_THAT(out_, HasSubstr(text));
  }
}

TEST_F(CliTest, AReviewCarriesTheReviewerAndTheReason) {
  EXPECT_CALL(server_.interventions, ReviewIntervention)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->name(), "projects/p/interventions/iv1");
        EXPECT_EQ(request->decision(), v1::InterventionReview::DECISION_REJECT);
        EXPECT_EQ(request->reviewer(), "ada");
        EXPECT_EQ(request->reason(), "too broad");
        response->set_sequence(77);
        return grpc::Status::OK;
      }));
  EXPECT_EQ(
      Run({"reject", "projects/p/interventions/iv1", "--reason", "too broad"}),
      kExitOk)
      << err_;
  EXPECT_THAT(out_, HasSubstr("77"));
  EXPECT_EQ(Run({"reject", "iv1"}), kExitUsage) << "a reason is required";
}

TEST_F(CliTest, ADecisionAboutAClusterSaysWhatItIsAbout) {
  using v1::ClusterReview;
  std::vector<v1::ReviewClusterRequest> asked;
  EXPECT_CALL(server_.clusters, ReviewCluster)
      .WillRepeatedly(Invoke([&](auto*, const auto* request, auto* response) {
        asked.push_back(*request);
        response->set_sequence(77);
        return grpc::Status::OK;
      }));
  const std::vector<std::vector<std::string>> calls = {
      {"label", "c1", "goes round in circles"},
      {"merge", "c1", "c2", "projects/default/clusters/c3"},
      {"split", "c1", "--part", "2,3"},
      {"split", "c1", "--trace", "t1,t2"},
      {"must-link", "c1", "t1", "t2"},
      {"cannot-link", "c1", "t1", "t2"},
      {"reject", "c1", "--request-id", "once"}};
  for (std::vector<std::string> call : calls) {
    call.insert(call.begin(), "review");
    EXPECT_EQ(Run(call), kExitUsage) << "a reason is required";
    call.insert(call.end(), {"--reason", "seen it"});
    EXPECT_EQ(Run(call), kExitOk) << err_;
    EXPECT_THAT(out_, HasSubstr("77"));
  }
  ASSERT_EQ(asked.size(), calls.size());
  for (const v1::ReviewClusterRequest& request : asked) {
    EXPECT_EQ(request.name(), "projects/default/clusters/c1");
    EXPECT_EQ(request.reviewer(), "ada");
    EXPECT_EQ(request.reason(), "seen it");
  }
  EXPECT_EQ(asked[0].decision(), ClusterReview::DECISION_LABEL);
  EXPECT_EQ(asked[0].label(), "goes round in circles");
  EXPECT_THAT(asked[1].others(), ElementsAre("projects/default/clusters/c2",
                                             "projects/default/clusters/c3"));
  EXPECT_THAT(asked[2].sub_modes(), ElementsAre(2, 3));
  EXPECT_THAT(asked[3].trace_ids(), ElementsAre("t1", "t2"));
  EXPECT_EQ(asked[4].decision(), ClusterReview::DECISION_MUST_LINK);
  EXPECT_THAT(asked[4].trace_ids(), ElementsAre("t1", "t2"));
  EXPECT_EQ(asked[5].decision(), ClusterReview::DECISION_CANNOT_LINK);
  EXPECT_EQ(asked[6].decision(), ClusterReview::DECISION_REJECT);
  EXPECT_EQ(asked[6].request_id(), "once");
}

TEST_F(CliTest, LineageTellsWhatBecameOfAClusterAndWhy) {
  v1::ListLineageRequest asked;
  EXPECT_CALL(server_.clusters, ListLineage)
      .WillOnce(DoAll(SaveArgPointee<1>(&asked),
                      SetArgPointee<2>(Parse<v1::ListLineageResponse>(R"pb(
                        events {
                          kind: KIND_SPLIT
                          cluster_id: "c1"
                          tick: 9
                          children: "c2"
                          review {
                            decision: DECISION_SPLIT
                            reviewer: "ann"
                            reason: "two causes"
                          }
                        }
                        events {
                          kind: KIND_SURVIVED
                          cluster_id: "c1"
                          tick: 8
                          overlap: 0.75
                          new_share: 0.9
                          old_share: 0.64
                          size: 120
                        }
                      )pb")),
                      Return(grpc::Status::OK)));
  EXPECT_EQ(Run({"lineage", "c1", "--kind", "split,survived"}), kExitOk)
      << err_;
  EXPECT_EQ(asked.parent(), "projects/default");
  EXPECT_EQ(asked.cluster(), "projects/default/clusters/c1");
  EXPECT_THAT(asked.kinds(), ElementsAre(v1::LineageEvent::KIND_SPLIT,
                                         v1::LineageEvent::KIND_SURVIVED));
  for (const char* text : {"parts c2; split by ann: two causes", "survived",
                           "0.75", "90.0 %", "64.0 %", "120"}) {
    EXPECT_THAT(out_, HasSubstr(text));
  }
}

TEST_F(CliTest, SettingsTravelWithTheirMask) {
  EXPECT_CALL(server_.admin, UpdateConfig)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_EQ(request->config().tick_interval().seconds(), 90);
        EXPECT_EQ(request->config().auto_approve_size(), 2);
        EXPECT_EQ(request->config().max_trials(), 0U);
        EXPECT_THAT(request->update_mask().paths(),
                    ElementsAre("tick_interval", "auto_approve", "max_trials"));
        *response->mutable_config() = request->config();
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"config", "set", "tick_interval=90s",
                 "auto_approve=routing_policy,guardrail", "max_trials=0"}),
            kExitOk)
      << err_;
  EXPECT_THAT(out_,
              AllOf(HasSubstr("1m30s"), HasSubstr("routing_policy,guardrail")));
}

TEST_F(CliTest, ASettingOfAGroupKeepsTheOthersOfIt) {
  EXPECT_CALL(server_.admin, GetConfig)
      .WillOnce(Invoke([](auto*, const auto*, auto* response) {
        response->mutable_config()->mutable_quota()->set_stored_bytes(1000);
        response->set_etag("e1");
        return grpc::Status::OK;
      }));
  EXPECT_CALL(server_.admin, UpdateConfig)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        const v1::ProjectConfig& config = request->config();
        EXPECT_EQ(request->etag(), "e1");
        EXPECT_EQ(config.quota().stored_bytes(), 1000U);
        EXPECT_EQ(config.quota().records_per_second(), 50);
        EXPECT_EQ(config.retention().max_age().seconds(), 3600);
        EXPECT_EQ(config.content(), v1::CONTENT_POLICY_DIGEST);
        EXPECT_THAT(request->update_mask().paths(),
                    ElementsAre("quota", "retention", "content"));
        *response->mutable_config() = config;
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"config", "set", "quota.records_per_second=50",
                 "retention.max_age=1h", "content=digest"}),
            kExitOk)
      << err_;
  EXPECT_THAT(
      out_, AllOf(HasSubstr("quota.records_per_second"), HasSubstr("digest")));
  EXPECT_EQ(Run({"config", "set", "quota=50"}), kExitUsage);
  EXPECT_EQ(Run({"config", "set", "content=some"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("none"));
}

TEST_F(CliTest, DeleteOnlySaysWhatWouldGoUnlessItIsConfirmed) {
  EXPECT_CALL(server_.admin, DeleteTraces)
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_TRUE(request->dry_run());
        EXPECT_THAT(request->ids().trace_ids(), ElementsAre("a", "b"));
        response->set_traces(1);
        response->add_unknown_ids("b");
        return grpc::Status::OK;
      }))
      .WillOnce(Invoke([](auto*, const auto* request, auto* response) {
        EXPECT_FALSE(request->dry_run());
        const v1::TraceFilter& filter = request->filter();
        EXPECT_EQ(filter.predicate().all().predicates_size(), 2);
        EXPECT_EQ(filter.predicate().all().predicates(1).comparison().text(),
                  "a=b");
        EXPECT_EQ(filter.end_time().seconds(), 1'767'225'600);
        EXPECT_EQ(filter.outcome(), v1::OUTCOME_FAIL);
        response->set_traces(3);
        response->add_clusters("projects/p/clusters/c7");
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"delete", "a", "b"}), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr("Would remove 1 runs"));
  EXPECT_THAT(err_, AllOf(HasSubstr("b: no such run"), HasSubstr("--yes")));
  EXPECT_EQ(
      Run({"delete", "--where", "task.type=qa", "--where", "task.labels.x=a=b",
           "--before", "2026-01-01T00:00:00Z", "--outcome", "fail", "--yes"}),
      kExitOk)
      << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("Removed 3 runs"), HasSubstr("c7")));
}

TEST_F(CliTest, DeleteTakesOneWayToSelect) {
  EXPECT_EQ(Run({"delete"}), kExitRefused);
  EXPECT_EQ(Run({"delete", "a", "--session", "s"}), kExitRefused);
  EXPECT_EQ(Run({"delete", "--before", "yesterday"}), kExitUsage);
  EXPECT_EQ(Run({"delete", "--where", "task.type"}), kExitUsage);
}

TEST_F(CliTest, RejectionsSayWhy) {
  EXPECT_CALL(server_.admin, ListRejections)
      .WillOnce(Invoke([](auto*, const auto*, auto* response) {
        v1::RejectedRecord& rejection = *response->add_rejections();
        rejection.set_source(v1::RECORD_SOURCE_OTLP);
        rejection.set_trace_id("t1");
        rejection.mutable_error()->set_reason(v1::ErrorDetail::REASON_TOO_LONG);
        rejection.mutable_error()->set_field("steps[3].name");
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"rejections"}), kExitOk) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("otlp"), HasSubstr("t1"),
                          HasSubstr("too_long"), HasSubstr("steps[3].name")));
}

TEST_F(CliTest, ASettingThatIsNoneIsAUsageErrorThatNamesWhatIsPossible) {
  EXPECT_EQ(Run({"config", "set", "tick=90s"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("tick_interval"));
  EXPECT_EQ(Run({"config", "set", "tick_interval=soon"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("90s"));
  EXPECT_EQ(Run({"config", "set", "auto_approve=everything"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("guardrail"));
}

TEST_F(CliTest, WatchPrintsEachVersionAcknowledgesItAndSkipsKeepAlives) {
  EXPECT_CALL(server_.policies, WatchPolicy)
      .WillOnce(Invoke([](auto*, WatchStream* stream) {
        v1::WatchPolicyRequest request;
        EXPECT_TRUE(stream->Read(&request));
        EXPECT_EQ(request.parent(), "projects/default");
        for (const uint64_t version : {4, 5}) {
          v1::WatchPolicyResponse keep_alive;
          stream->Write(keep_alive);
          v1::WatchPolicyResponse response;
          response.mutable_policy()->set_version(version);
          response.set_nonce(absl::StrCat("n", version));
          stream->Write(response);
          EXPECT_TRUE(stream->Read(&request));
          EXPECT_EQ(request.nonce(), absl::StrCat("n", version));
          EXPECT_EQ(request.applied_version(), version);
        }
        return grpc::Status::OK;
      }));
  EXPECT_EQ(Run({"watch", "--count", "2"}), kExitOk) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("version 4"), HasSubstr("version 5")));
}

grpc::Status Detailed(grpc::ServerContext* context) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::REASON_OUT_OF_RANGE);
  detail.set_field("page_size");
  detail.set_limit("1 to 1000");
  detail.set_message("5000 is too many");
  context->AddTrailingMetadata("faultline-error-detail-bin",
                               detail.SerializeAsString());
  return {grpc::StatusCode::INVALID_ARGUMENT, "page_size: 5000 is too many"};
}

TEST_F(CliTest, AnErrorNamesFieldAndLimit) {
  EXPECT_CALL(server_.clusters, ListClusters)
      .Times(2)
      .WillRepeatedly(Invoke(
          [](auto* context, auto*, auto*) { return Detailed(context); }));
  EXPECT_EQ(Run({"clusters"}), kExitRefused);
  EXPECT_THAT(out_, IsEmpty());
  EXPECT_THAT(err_, AllOf(HasSubstr("5000 is too many [INVALID_ARGUMENT]"),
                          HasSubstr("field  page_size"),
                          HasSubstr("limit  1 to 1000")));
  EXPECT_EQ(Run({"clusters", "--json"}), kExitRefused);
  EXPECT_THAT(err_, AllOf(HasSubstr("\"reason\":\"REASON_OUT_OF_RANGE\""),
                          HasSubstr("\"code\":\"INVALID_ARGUMENT\"")));
}

TEST_F(CliTest, ExitCodesTellErrorsApart) {
  EXPECT_CALL(server_.clusters, GetCluster)
      .WillOnce(Return(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such")))
      .WillOnce(Return(grpc::Status(grpc::StatusCode::INTERNAL, "broken")));
  EXPECT_EQ(Run({"cluster", "c1"}), kExitNotFound);
  EXPECT_EQ(Run({"cluster", "c1"}), kExitServer);
  EXPECT_EQ(RunAnywhere({"status", "--server", "127.0.0.1:1"}),
            kExitUnreachable);
  EXPECT_THAT(err_, HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(Run({}), kExitUsage);
  EXPECT_EQ(Run({"nonsense"}), kExitUsage);
  EXPECT_EQ(RunAnywhere({"--help"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("Exit codes"));
}

}  // namespace
}  // namespace faultline::cli
