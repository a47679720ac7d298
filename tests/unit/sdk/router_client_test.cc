#include "client/sdk/router_client.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_server.h"
#include "tests/support/status_matchers.h"

namespace faultline::sdk {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Mode = RouterClient::Mode;

// One rule for every run, always treated; the strategy names the version.
v1::Policy MakePolicy(uint64_t version) {
  v1::Policy policy;
  policy.set_name(absl::StrCat("projects/shop/policies/", version));
  policy.set_version(version);
  policy.set_digest(absl::StrCat("digest-", version));
  policy.mutable_ttl()->set_seconds(600);
  v1::Rule* const rule = policy.add_rules();
  rule->set_intervention_id("iv");
  rule->mutable_match()->mutable_all();
  rule->mutable_action()->mutable_prompt_strategy()->set_strategy(
      absl::StrCat("strategy-", version));
  rule->set_treatment_probability(1);
  return policy;
}

// The same with a rule whose action is of a later release.
v1::Policy MakePartlyUnknownPolicy(uint64_t version) {
  v1::Policy policy = MakePolicy(version);
  v1::Rule* const rule = policy.add_rules();
  *rule = policy.rules(0);
  rule->set_intervention_id("iv-unknown");
  rule->mutable_action()->Clear();
  return policy;
}

class RouterClientTest : public ::testing::Test {
 protected:
  RouterClientTest() {
    options_.project = "shop";
    options_.router_id = "router-1";
  }

  void Open() {
    ASSERT_OK_AND_ASSIGN(client_,
                         RouterClient::Create(options_, server_, &clock_));
  }

  // Without a thread: Poll asks.
  void OpenByHand() {
    options_.mode = Mode::kPoll;
    options_.poll_interval = absl::ZeroDuration();
    Open();
  }

  std::string Strategy() {
    const Decision decision = client_->Decide(v1::Trace(), "key");
    const v1::PromptStrategy* const strategy = decision.prompt_strategy();
    return strategy == nullptr ? "" : strategy->strategy();
  }

  template <typename Done>
  void AdvanceUntil(const Done& done) {
    while (!done()) {
      clock_.Advance(absl::Milliseconds(100));
      std::this_thread::yield();
    }
  }

  RouterClient::Options options_;
  fakes::FakeClock clock_;
  std::shared_ptr<fakes::FakeServer> server_ =
      std::make_shared<fakes::FakeServer>();
  std::unique_ptr<RouterClient> client_;
};

TEST_F(RouterClientTest, BeforeContactTheRouterGoesByItsOwnDefaults) {
  OpenByHand();
  const Decision decision = client_->Decide(v1::Trace(), "key");
  EXPECT_TRUE(decision.stale);
  EXPECT_EQ(decision.policy_version, 0);
  EXPECT_THAT(decision.matches, IsEmpty());
  EXPECT_EQ(decision.exposure.ByteSizeLong(), 0);
  EXPECT_EQ(decision.prompt_strategy(), nullptr);
}

TEST_F(RouterClientTest, APollBringsThePolicyAndItsStamp) {
  server_->SetPolicy(MakePolicy(3));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  const Decision decision = client_->Decide(v1::Trace(), "key");
  EXPECT_FALSE(decision.stale);
  EXPECT_EQ(decision.policy_version, 3);
  ASSERT_NE(decision.prompt_strategy(), nullptr);
  EXPECT_EQ(decision.prompt_strategy()->strategy(), "strategy-3");
  EXPECT_EQ(decision.exposure.policy_version(), 3);
  ASSERT_EQ(decision.exposure.interventions_size(), 1);
  EXPECT_EQ(decision.exposure.interventions(0).intervention_id(), "iv");
  EXPECT_EQ(decision.exposure.interventions(0).assignment_key(), "key");
}

TEST_F(RouterClientTest, PollsNameWhatIsKnown) {
  server_->SetPolicy(MakePolicy(3));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  EXPECT_OK(client_->Poll());
  const auto polls = server_->polls();
  ASSERT_THAT(polls, SizeIs(2));
  EXPECT_EQ(polls[0].parent(), "projects/shop");
  EXPECT_EQ(polls[0].router_id(), "router-1");
  EXPECT_EQ(polls[0].known_version(), 0);
  EXPECT_EQ(polls[1].known_version(), 3);
  EXPECT_EQ(client_->statistics().swaps, 1);
  EXPECT_EQ(client_->statistics().contacts, 2);
}

TEST_F(RouterClientTest, TheLastGoodPolicyHoldsUntilItsTtlAndComesBack) {
  server_->SetPolicy(MakePolicy(1));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  clock_.Advance(absl::Seconds(599));
  server_->FailCalls({absl::UnavailableError("down")});
  EXPECT_THAT(client_->Poll(),
              StatusIs(absl::StatusCode::kUnavailable, "down"));
  EXPECT_EQ(Strategy(), "strategy-1");
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(client_->Decide(v1::Trace(), "key").stale);
  EXPECT_EQ(Strategy(), "");
  EXPECT_EQ(client_->Decide(v1::Trace(), "key").exposure.policy_version(), 0);
  EXPECT_OK(client_->Poll());  // unchanged, but it is contact
  EXPECT_EQ(Strategy(), "strategy-1");
}

TEST_F(RouterClientTest, WallTimeDoesNotMakeAPolicyStale) {
  server_->SetPolicy(MakePolicy(1));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  clock_.SetWallTime(clock_.Now() + absl::Hours(10000));
  EXPECT_EQ(Strategy(), "strategy-1");
}

TEST_F(RouterClientTest, ThePollerAsksAtOnceAndThenEachInterval) {
  server_->SetPolicy(MakePolicy(1));
  options_.mode = Mode::kPoll;
  options_.poll_interval = absl::Seconds(10);
  Open();
  EXPECT_OK(client_->WaitForVersion(1, absl::InfiniteDuration()));
  clock_.WaitForWaiters(1);
  EXPECT_THAT(server_->polls(), SizeIs(1));
  server_->SetPolicy(MakePolicy(2));
  clock_.Advance(absl::Seconds(10));
  EXPECT_OK(client_->WaitForVersion(2, absl::InfiniteDuration()));
  EXPECT_EQ(Strategy(), "strategy-2");
}

TEST_F(RouterClientTest, AFailedPollIsRepeatedSoonerThanTheInterval) {
  server_->FailCalls({absl::UnavailableError("down")});
  options_.mode = Mode::kPoll;
  options_.poll_interval = absl::Hours(1);
  Open();
  server_->WaitForPolls(1);
  clock_.WaitForWaiters(1);
  clock_.Advance(absl::Seconds(1));
  EXPECT_OK(client_->WaitForVersion(0, absl::InfiniteDuration()));
  EXPECT_EQ(client_->statistics().failures, 1);
}

TEST_F(RouterClientTest, AWatcherSubscribesAppliesAndAcknowledges) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  EXPECT_OK(client_->WaitForVersion(1, absl::InfiniteDuration()));
  server_->SetPolicy(MakePolicy(2));
  EXPECT_OK(client_->WaitForVersion(2, absl::InfiniteDuration()));
  EXPECT_EQ(Strategy(), "strategy-2");
  server_->WaitForAnswers(3);
  const auto answers = server_->answers();
  EXPECT_EQ(answers[0].parent(), "projects/shop");
  EXPECT_EQ(answers[0].router_id(), "router-1");
  EXPECT_EQ(answers[0].applied_version(), 0);
  EXPECT_EQ(answers[0].nonce(), "");
  EXPECT_EQ(answers[1].nonce(), "1");
  EXPECT_EQ(answers[1].applied_version(), 1);
  EXPECT_EQ(answers[1].nack_reason(), "");
  EXPECT_EQ(answers[2].nonce(), "2");
  EXPECT_EQ(answers[2].applied_version(), 2);
}

TEST_F(RouterClientTest, AKeepAliveIsContactAndIsAnswered) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  EXPECT_OK(client_->WaitForVersion(1, absl::InfiniteDuration()));
  server_->WaitForAnswers(2);
  clock_.Advance(absl::Seconds(599));
  server_->KeepAlive();
  server_->WaitForAnswers(3);
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Strategy(), "strategy-1");
  EXPECT_EQ(server_->answers()[2].nonce(), "1");
  EXPECT_EQ(server_->answers()[2].applied_version(), 1);
}

TEST_F(RouterClientTest, AnUnknownRuleIsANoOpAndANackWhileTheOthersApply) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  server_->WaitForAnswers(2);
  server_->SetPolicy(MakePartlyUnknownPolicy(2));
  server_->WaitForAnswers(3);
  EXPECT_EQ(Strategy(), "strategy-2");
  EXPECT_THAT(client_->Decide(v1::Trace(), "key").matches, SizeIs(1));
  v1::WatchPolicyRequest answer = server_->answers()[2];
  EXPECT_EQ(answer.applied_version(), 2);
  EXPECT_THAT(answer.nack_reason(),
              HasSubstr("iv-unknown: action is not known"));
  EXPECT_EQ(client_->statistics().nacks, 1);

  // A keep-alive's answer does not take the NACK back.
  server_->KeepAlive();
  server_->WaitForAnswers(4);
  EXPECT_EQ(server_->answers()[3].nack_reason(), answer.nack_reason());

  server_->SetPolicy(MakePolicy(3));
  server_->WaitForAnswers(5);
  EXPECT_EQ(server_->answers()[4].nack_reason(), "");
  EXPECT_EQ(client_->statistics().nack_reason, "");
}

TEST_F(RouterClientTest, APolicyOfAnotherProjectIsRefusedAndTheLastGoodStays) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  server_->WaitForAnswers(2);
  v1::Policy foreign = MakePolicy(2);
  foreign.set_name("projects/bank/policies/2");
  server_->SetPolicy(foreign);
  server_->WaitForAnswers(3);
  EXPECT_EQ(Strategy(), "strategy-1");
  const v1::WatchPolicyRequest answer = server_->answers()[2];
  EXPECT_EQ(answer.applied_version(), 1);
  EXPECT_EQ(answer.nonce(), "2");
  EXPECT_THAT(answer.nack_reason(), HasSubstr("projects/bank/policies/2"));
  EXPECT_THAT(client_->Poll(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("projects/bank/policies/2")));
}

TEST_F(RouterClientTest, APollTellsWhatTheLastPolicyWasRefusedFor) {
  server_->SetPolicy(MakePartlyUnknownPolicy(1));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  EXPECT_OK(client_->Poll());
  server_->SetPolicy(MakePolicy(2));
  EXPECT_OK(client_->Poll());
  EXPECT_OK(client_->Poll());
  const std::vector<v1::GetPolicyRequest> polls = server_->polls();
  ASSERT_THAT(polls, SizeIs(4));
  EXPECT_EQ(polls[0].nack_reason(), "");
  EXPECT_THAT(polls[1].nack_reason(), HasSubstr("iv-unknown"));
  EXPECT_THAT(polls[2].nack_reason(), HasSubstr("iv-unknown"));
  EXPECT_EQ(polls[3].nack_reason(), "");
}

TEST_F(RouterClientTest, ALongNackIsCutToWhatTheServerTakes) {
  v1::Policy policy = MakePolicy(1);
  for (int i = 0; i < 100; ++i) {
    v1::Rule* const rule = policy.add_rules();
    rule->set_intervention_id(absl::StrCat("\xc3\xa9\xc3\xa9\xc3\xa9-", i));
  }
  server_->SetPolicy(policy);
  Open();
  server_->WaitForAnswers(2);
  const std::string reason = server_->answers()[1].nack_reason();
  EXPECT_LE(reason.size(), 1024);
  EXPECT_GT(reason.size(), 1000);
}

TEST_F(RouterClientTest, AVersionThatGoesBackIsTaken) {
  server_->SetPolicy(MakePolicy(5));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  server_->SetPolicy(MakePolicy(4));  // restored from a backup
  EXPECT_OK(client_->Poll());
  EXPECT_EQ(Strategy(), "strategy-4");
}

TEST_F(RouterClientTest, ABrokenWatchComesBackAndSaysWhatItApplies) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  server_->WaitForAnswers(2);
  server_->FailStreams(2, absl::UnavailableError("restarting"));
  server_->BreakStreams(absl::UnavailableError("gone"));
  EXPECT_EQ(Strategy(), "strategy-1");
  AdvanceUntil([&] { return server_->answers().size() >= 4; });
  const auto answers = server_->answers();
  EXPECT_EQ(answers[2].nonce(), "");  // a subscription
  EXPECT_EQ(answers[2].applied_version(), 1);
  EXPECT_EQ(client_->statistics().swaps, 1);
  EXPECT_EQ(client_->statistics().failures, 3);
  server_->SetPolicy(MakePolicy(2));
  EXPECT_OK(client_->WaitForVersion(2, absl::InfiniteDuration()));
}

TEST_F(RouterClientTest, WaitForVersionKeepsItsDeadline) {
  OpenByHand();
  std::atomic<bool> done = false;
  std::thread waiter([&] {
    EXPECT_THAT(
        client_->WaitForVersion(0, absl::Seconds(3)),
        StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("0 contacts")));
    done = true;
  });
  AdvanceUntil([&] { return done.load(); });
  waiter.join();
}

TEST_F(RouterClientTest, AfterShutdownTheLastPolicyHoldsUntilItsTtl) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  EXPECT_OK(client_->WaitForVersion(1, absl::InfiniteDuration()));
  client_->Shutdown();
  client_->Shutdown();
  EXPECT_EQ(Strategy(), "strategy-1");
  clock_.Advance(absl::Seconds(600));
  EXPECT_EQ(Strategy(), "");
}

TEST_F(RouterClientTest, NoDecisionIsLostOrTornWhilePoliciesSwap) {
  server_->SetPolicy(MakePolicy(1));
  Open();
  EXPECT_OK(client_->WaitForVersion(1, absl::InfiniteDuration()));
  std::atomic<bool> stop = false;
  absl::BlockingCounter started(3);
  std::vector<std::thread> routers;
  routers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    routers.emplace_back([&] {
      uint64_t last = 0;
      started.DecrementCount();
      while (!stop) {
        const Decision decision = client_->Decide(v1::Trace(), "key");
        ASSERT_NE(decision.prompt_strategy(), nullptr);
        EXPECT_EQ(decision.prompt_strategy()->strategy(),
                  absl::StrCat("strategy-", decision.policy_version));
        EXPECT_EQ(decision.exposure.policy_version(), decision.policy_version);
        EXPECT_GE(decision.policy_version, last);
        last = decision.policy_version;
      }
    });
  }
  started.Wait();
  for (uint64_t version = 2; version <= 200; ++version) {
    server_->SetPolicy(MakePolicy(version));
  }
  EXPECT_OK(client_->WaitForVersion(200, absl::InfiniteDuration()));
  stop = true;
  for (std::thread& router : routers) router.join();
  EXPECT_EQ(Strategy(), "strategy-200");
}

TEST_F(RouterClientTest, ADecisionOutlivesItsPolicyAndItsClient) {
  server_->SetPolicy(MakePolicy(1));
  OpenByHand();
  EXPECT_OK(client_->Poll());
  const Decision decision = client_->Decide(v1::Trace(), "key");
  server_->SetPolicy(MakePolicy(2));
  EXPECT_OK(client_->Poll());
  client_.reset();
  EXPECT_EQ(decision.prompt_strategy()->strategy(), "strategy-1");
}

TEST_F(RouterClientTest, ActionsAreReadByKindAndOnlyWhereTheyApply) {
  v1::Policy policy = MakePolicy(1);
  policy.clear_rules();
  const auto add = [&policy](const std::string& id) {
    v1::Rule* const rule = policy.add_rules();
    rule->set_intervention_id(id);
    rule->mutable_match()->mutable_all();
    rule->set_treatment_probability(1);
    return rule->mutable_action();
  };
  add("a")->mutable_routing_policy()->add_candidates()->set_name("large");
  add("b")->mutable_bandit_weights();  // the same knob: overruled
  v1::ToolConstraint* const order = add("c")->mutable_tool_constraint();
  order->set_tool("pay");
  order->mutable_order()->set_after_tool("check");
  v1::ToolConstraint* const limit = add("d")->mutable_tool_constraint();
  limit->set_tool("pay");
  limit->mutable_call_limit()->set_max_calls(2);
  v1::Guardrail* const guardrail = add("e")->mutable_guardrail();
  guardrail->set_check(v1::Guardrail::CHECK_MAX_STEPS);
  guardrail->set_fallback(v1::Guardrail::FALLBACK_ABSTAIN);
  add("f")->mutable_memory_schema()->set_record_class("fact");
  server_->SetPolicy(policy);
  OpenByHand();
  EXPECT_OK(client_->Poll());
  const Decision decision = client_->Decide(v1::Trace(), "key");
  EXPECT_THAT(decision.matches, SizeIs(6));
  ASSERT_NE(decision.routing_policy(), nullptr);
  EXPECT_EQ(decision.routing_policy()->candidates(0).name(), "large");
  EXPECT_EQ(decision.bandit_weights(), nullptr);
  EXPECT_EQ(decision.prompt_strategy(), nullptr);
  EXPECT_THAT(decision.tool_constraints(), SizeIs(2));
  EXPECT_THAT(decision.guardrails(), SizeIs(1));
  EXPECT_THAT(decision.memory_schemas(), SizeIs(1));
}

TEST_F(RouterClientTest, CreateNamesTheBadOption) {
  options_.router_id = std::string(129, 'x');
  EXPECT_THAT(
      RouterClient::Create(options_, server_, &clock_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("router_id")));
}

}  // namespace
}  // namespace faultline::sdk
