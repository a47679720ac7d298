#include "lib/slowloop/cluster_decisions.h"

#include <initializer_list>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::slowloop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

using v1::ClusterReview;

ClusterReview Make(ClusterReview::Decision decision, const std::string& id,
                   std::initializer_list<std::string> others = {}) {
  ClusterReview review;
  review.set_decision(decision);
  review.set_cluster_id(id);
  for (const std::string& other : others) {
    if (decision == ClusterReview::DECISION_SPLIT) {
      review.add_new_ids(other);
    } else {
      review.add_other_ids(other);
    }
  }
  return review;
}

TEST(ClusterDecisions, AnAliasLeadsToWhatLivesOnHoweverFar) {
  ClusterDecisions decisions({});
  decisions.AddAlias("a", "b");
  decisions.AddAlias("b", "c");
  EXPECT_EQ(decisions.Root("a"), "c");
  EXPECT_EQ(decisions.Root("c"), "c");
  EXPECT_EQ(decisions.Root("never seen"), "never seen");
  EXPECT_THAT(decisions.AliasesOf("c"), ElementsAre("a", "b"));
  EXPECT_THAT(decisions.AliasesOf("b"), IsEmpty());
}

TEST(ClusterDecisions, TheLatestLabelHoldsAndThatOfTheClusterItselfFirst) {
  ClusterDecisions decisions({});
  ClusterReview label = Make(ClusterReview::DECISION_LABEL, "a");
  label.set_label("one");
  decisions.Add(label);
  label.set_label("two");
  decisions.Add(label);
  EXPECT_EQ(decisions.Label("a"), "two");
  EXPECT_EQ(decisions.Label("b"), "");
  decisions.AddAlias("a", "b");
  EXPECT_EQ(decisions.Label("b"), "two") << "inherited";
  label.set_cluster_id("b");
  label.set_label("three");
  decisions.Add(label);
  EXPECT_EQ(decisions.Label("b"), "three");
}

TEST(ClusterDecisions, MergedAndRejectedClustersAreWholeUntilTheyAreSplit) {
  ClusterDecisions decisions({});
  EXPECT_FALSE(decisions.IsWhole("a"));
  decisions.Add(Make(ClusterReview::DECISION_MERGE, "a", {"b"}));
  decisions.AddAlias("b", "a");
  EXPECT_TRUE(decisions.IsWhole("a"));
  decisions.Add(Make(ClusterReview::DECISION_SPLIT, "a", {"c"}));
  EXPECT_FALSE(decisions.IsWhole("a"));
  decisions.Add(Make(ClusterReview::DECISION_REJECT, "d"));
  EXPECT_TRUE(decisions.IsWhole("d"));
  ASSERT_NE(decisions.Rejection("d"), nullptr);
  EXPECT_EQ(decisions.Rejection("a"), nullptr);
}

TEST(ClusterDecisions, WhatWasSetApartIsApartUnderTheIdsOfToday) {
  ClusterDecisions decisions({});
  decisions.Add(Make(ClusterReview::DECISION_SPLIT, "a", {"b"}));
  decisions.Add(Make(ClusterReview::DECISION_CANNOT_LINK, "a", {"c"}));
  EXPECT_THAT(decisions.ApartPairs(),
              UnorderedElementsAre(Pair("a", "b"), Pair("b", "a"),
                                   Pair("a", "c"), Pair("c", "a")));
  decisions.AddAlias("c", "d");
  decisions.AddAlias("b", "a");  // merged again, by a later decision
  EXPECT_THAT(decisions.ApartPairs(),
              UnorderedElementsAre(Pair("a", "d"), Pair("d", "a")));
}

TEST(ClusterDecisions, WhatCouldNotBeAppliedIsKeptButNotInForce) {
  ClusterDecisions decisions({});
  ClusterReview reject = Make(ClusterReview::DECISION_REJECT, "a");
  reject.set_problem("too late");
  reject.set_request_id("r1");
  decisions.Add(reject);
  EXPECT_EQ(decisions.Rejection("a"), nullptr);
  EXPECT_FALSE(decisions.IsWhole("a"));
  EXPECT_THAT(decisions.ReviewsOf("a"), SizeIs(1));
  EXPECT_TRUE(decisions.Has("r1"));
  EXPECT_FALSE(decisions.Has(""));
}

TEST(ClusterDecisions, OutlivesATick) {
  ClusterDecisions decisions({});
  decisions.AddAlias("b", "a");
  ClusterReview split = Make(ClusterReview::DECISION_SPLIT, "a", {"c"});
  split.add_parts()->add_sequences(5);
  decisions.Add(split);
  v1::TickState state;
  decisions.StoreTo(&state);
  EXPECT_THAT(state.cluster_reviews(), SizeIs(1));
  EXPECT_THAT(state.cluster_reviews(0).parts(), IsEmpty()) << "applied once";
  const ClusterDecisions next(state);
  EXPECT_EQ(next.Root("b"), "a");
  EXPECT_THAT(next.ApartPairs(), SizeIs(2));
}

}  // namespace
}  // namespace faultline::slowloop
