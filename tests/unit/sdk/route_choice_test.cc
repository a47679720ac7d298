#include "client/sdk/route_choice.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace faultline::sdk {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<std::string> kCandidates = {"a", "b", "c", "d"};

v1::Action Parse(const std::string& text) {
  v1::Action action;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &action));
  return action;
}

auto Near(double value) { return DoubleNear(value, 1e-12); }

TEST(RouteChoiceTest, EachCandidateGetsTheFloorAndTheNamedOnesTheRest) {
  const v1::Action action = Parse(R"pb(
    routing_policy {
      candidates { name: "b" weight: 0.75 }
      candidates { name: "d" weight: 0.25 }
      exploration_floor: 0.05
    })pb");
  EXPECT_TRUE(IsRouting(action));
  EXPECT_THAT(RouteProbabilities(kCandidates, action),
              ElementsAre(Near(0.05), Near(0.65), Near(0.05), Near(0.25)));
}

TEST(RouteChoiceTest, BanditWeightsThatTheRouterDoesNotHaveGoToTheOthers) {
  const v1::Action action = Parse(R"pb(
    bandit_weights {
      arms { name: "a" probability: 0.3 }
      arms { name: "c" probability: 0.3 }
      arms { name: "gone" probability: 0.4 }
      floor: 0.01
    })pb");
  EXPECT_THAT(RouteProbabilities(kCandidates, action),
              ElementsAre(Near(0.49), Near(0.01), Near(0.49), Near(0.01)));
}

TEST(RouteChoiceTest, AFloorBeyondAnEqualShareMeansEqualShares) {
  const v1::Action action = Parse(R"pb(
    routing_policy {
      candidates { name: "a" weight: 1 }
      exploration_floor: 0.5
    })pb");
  EXPECT_THAT(RouteProbabilities(kCandidates, action),
              ElementsAre(Near(0.25), Near(0.25), Near(0.25), Near(0.25)));
}

TEST(RouteChoiceTest, AnActionThatNamesNoCandidateChangesNothing) {
  EXPECT_THAT(RouteProbabilities(kCandidates, Parse(R"pb(
                                   routing_policy {
                                     candidates { name: "gone" weight: 1 }
                                   })pb")),
              IsEmpty());
  const v1::Action other = Parse("prompt_strategy { strategy: 's' }");
  EXPECT_FALSE(IsRouting(other));
  EXPECT_THAT(RouteProbabilities(kCandidates, other), IsEmpty());
}

TEST(RouteChoiceTest, DrawsByTheProbabilities) {
  const std::vector<double> probabilities = {0.2, 0, 0.8};
  EXPECT_EQ(DrawIndex(probabilities, 0), 0u);
  EXPECT_EQ(DrawIndex(probabilities, 0.19), 0u);
  EXPECT_EQ(DrawIndex(probabilities, 0.21), 2u);
  EXPECT_EQ(DrawIndex(probabilities, 0.999999), 2u);
}

}  // namespace
}  // namespace faultline::sdk
