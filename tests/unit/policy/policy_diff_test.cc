#include "lib/policy/policy_diff.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace faultline::policy {
namespace {

v1::Policy Parse(const std::string& text) {
  v1::Policy policy;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &policy));
  return policy;
}

v1::Policy Before() {
  return Parse(R"pb(
    version: 3
    tick: 7
    digest: "a"
    ttl { seconds: 600 }
    rules { intervention_id: "gone" priority: 3 }
    rules {
      intervention_id: "moved"
      priority: 2
      treatment_probability: 0.5
      match { all {} }
      action { prompt_strategy { strategy: "short" } }
    }
    rules { intervention_id: "same" priority: 1 }
  )pb");
}

TEST(DiffPolicies, NamesWhatIsAddedRemovedAndChanged) {
  v1::Policy after = Before();
  after.set_version(4);
  after.set_tick(8);
  after.set_digest("b");
  after.mutable_ttl()->set_seconds(300);
  v1::Rule& moved = *after.mutable_rules(1);
  moved.set_treatment_probability(0.9);
  moved.mutable_action()->mutable_prompt_strategy()->set_strategy("long");
  v1::Comparison& comparison = *moved.mutable_match()->mutable_comparison();
  comparison.set_field("task.type");
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text("qa");
  moved.mutable_expire_time()->set_seconds(0);
  after.mutable_rules(0)->set_intervention_id("new");

  const v1::DiffPoliciesResponse diff = DiffPolicies(Before(), after);
  EXPECT_EQ(diff.from_version(), 3);
  EXPECT_EQ(diff.to_version(), 4);
  ASSERT_EQ(diff.added_size(), 1);
  EXPECT_EQ(diff.added(0).intervention_id(), "new");
  ASSERT_EQ(diff.removed_size(), 1);
  EXPECT_EQ(diff.removed(0).intervention_id(), "gone");
  EXPECT_EQ(diff.unchanged(), 1);
  ASSERT_EQ(diff.changed_size(), 1);
  const v1::RuleChange& change = diff.changed(0);
  EXPECT_EQ(change.intervention_id(), "moved");
  EXPECT_EQ(change.before().treatment_probability(), 0.5);
  ASSERT_EQ(change.fields_size(), 4);
  EXPECT_EQ(change.fields(0).field(), "match");
  EXPECT_EQ(change.fields(0).before(), "everything");
  EXPECT_EQ(change.fields(0).after(), "task.type = \"qa\"");
  EXPECT_EQ(change.fields(1).field(), "action");
  EXPECT_EQ(change.fields(1).after(), "prompt_strategy { strategy: \"long\" }");
  EXPECT_EQ(change.fields(2).field(), "treatment_probability");
  EXPECT_EQ(change.fields(2).before(), "0.5");
  EXPECT_EQ(change.fields(2).after(), "0.9");
  EXPECT_EQ(change.fields(3).before(), "");  // absent, and then the epoch
  EXPECT_EQ(change.fields(3).after(), "1970-01-01T00:00:00Z");
  ASSERT_EQ(diff.settings_size(), 1);
  EXPECT_EQ(diff.settings(0).field(), "ttl");
  EXPECT_EQ(diff.settings(0).after(), "300s");
}

TEST(DiffPolicies, TheWayBackIsTheMirror) {
  const v1::DiffPoliciesResponse diff = DiffPolicies(Before(), v1::Policy());
  EXPECT_EQ(diff.removed_size(), 3);
  EXPECT_EQ(diff.added_size(), 0);
  EXPECT_EQ(DiffPolicies(v1::Policy(), Before()).added_size(), 3);
}

TEST(DiffPolicies, EqualVersionsDifferInNothing) {
  const v1::DiffPoliciesResponse diff = DiffPolicies(Before(), Before());
  EXPECT_EQ(diff.unchanged(), 3);
  EXPECT_EQ(diff.settings_size() + diff.changed_size(), 0);
}

}  // namespace
}  // namespace faultline::policy
