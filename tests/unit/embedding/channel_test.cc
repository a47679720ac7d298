// Every channel of the list keeps the rules of FeatureChannel.

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/embedding/channels/channels.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

std::vector<std::pair<uint64_t, float>> Extract(const FeatureChannel& channel,
                                                const v1::Trace& trace) {
  const TraceView view(trace);
  TokenSink sink(nullptr);
  sink.BeginChannel(channel.channel, channel.name);
  channel.extract(view, &sink);
  std::vector<std::pair<uint64_t, float>> tokens;
  for (const TokenCount& token : sink.Finish()) {
    EXPECT_EQ(token.channel, channel.channel);
    EXPECT_GT(token.count, 0);
    tokens.emplace_back(token.key, token.count);
  }
  return tokens;
}

class ChannelTest : public ::testing::TestWithParam<const FeatureChannel*> {};

TEST_P(ChannelTest, SaysNothingOfAnEmptyTrace) {
  EXPECT_TRUE(Extract(*GetParam(), v1::Trace()).empty());
}

TEST_P(ChannelTest, SaysSomethingOfAFullTrace) {
  EXPECT_FALSE(Extract(*GetParam(), SampleTrace()).empty());
}

TEST_P(ChannelTest, SaysTheSameAgain) {
  EXPECT_EQ(Extract(*GetParam(), SampleTrace()),
            Extract(*GetParam(), SampleTrace()));
}

TEST_P(ChannelTest, DoesNotReadAnswersOrIdentities) {
  v1::Trace trace = SampleTrace();
  trace.set_trace_id("another");
  trace.set_session_id("another");
  trace.mutable_task()->set_id("[mms_issue]break_apn");
  trace.mutable_memory()->set_snapshot_id("another");
  trace.mutable_evaluation()->set_outcome(v1::OUTCOME_PASS);
  trace.mutable_evaluation()->set_score(1);
  trace.mutable_evaluation()->set_cost(9);
  trace.mutable_evaluation()->set_evaluator("another");
  trace.mutable_evaluation()->mutable_latency()->set_seconds(99);
  trace.mutable_exposure()->set_policy_version(9);
  trace.add_annotations()->set_failure_mode("loop");
  EXPECT_EQ(Extract(*GetParam(), trace), Extract(*GetParam(), SampleTrace()));
}

TEST_P(ChannelTest, BehaviorDoesNotReadContext) {
  if (GetParam()->role == Role::kContext) return;
  v1::Trace trace = SampleTrace();
  trace.mutable_task()->set_input("something else");
  trace.mutable_task()->set_type("other");
  trace.mutable_system()->set_model("large");
  trace.mutable_system()->set_prompt_strategy("long");
  trace.mutable_decisions(0)->set_chosen("large");
  trace.mutable_memory()->set_schema_version("3");
  trace.mutable_memory()->set_size(1);
  (*trace.mutable_memory()->mutable_stats())["stale_share"] = 0.9;
  EXPECT_EQ(Extract(*GetParam(), trace), Extract(*GetParam(), SampleTrace()));
}

INSTANTIATE_TEST_SUITE_P(Every, ChannelTest,
                         ::testing::ValuesIn(FeatureChannels()),
                         [](const auto& channel) {
                           return std::string(channel.param->name);
                         });

TEST(ChannelListTest, IsValid) {
  EXPECT_OK(ValidateChannels(FeatureChannels()));
}

TEST(ChannelListTest, RefusesADuplicate) {
  std::vector<const FeatureChannel*> channels(FeatureChannels().begin(),
                                              FeatureChannels().end());
  channels[1] = channels[0];
  EXPECT_THAT(
      ValidateChannels(channels),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("tool is there twice")));
}

TEST(ChannelListTest, RefusesASharedName) {
  std::vector<const FeatureChannel*> channels(FeatureChannels().begin(),
                                              FeatureChannels().end());
  FeatureChannel copy = *channels[1];
  copy.name = channels[0]->name;
  channels[1] = &copy;
  EXPECT_THAT(ValidateChannels(channels),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("two channels are called tool")));
}

TEST(ChannelListTest, RefusesAMissingChannel) {
  EXPECT_THAT(ValidateChannels(FeatureChannels().subspan(1)),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("9 channels")));
}

TEST(NormalizeNameTest, StripsIdsAndNumbers) {
  EXPECT_EQ(NormalizeName("Get_Order_17"), "get_order_#");
  EXPECT_EQ(NormalizeName("task-8f14e45fceea167a"), "task-#");
  EXPECT_EQ(NormalizeName("facade"), "facade");
  EXPECT_EQ(NormalizeName("v2alpha10"), "v#alpha#");
}

TEST(NumberBucketTest, SeparatesSharesFromCounts) {
  EXPECT_EQ(NumberBucket(0), "0");
  EXPECT_EQ(NumberBucket(0.19), "f0");
  EXPECT_EQ(NumberBucket(0.99), "f4");
  EXPECT_EQ(NumberBucket(1), "e0");
  EXPECT_EQ(NumberBucket(-5), "-e2");
}

}  // namespace
}  // namespace faultline::embedding
