#include "lib/slowloop/project_config.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::slowloop {
namespace {

using ::google::protobuf::util::TimeUtil;
using ::testing::ElementsAre;

TEST(ResolveConfigTest, FillsInEveryField) {
  ASSERT_OK_AND_ASSIGN(const v1::ProjectConfig config, ResolveConfig({}, {}));
  EXPECT_EQ(config.tick_interval().seconds(), 60);
  EXPECT_EQ(config.max_failures(), 50000);
  EXPECT_EQ(config.discovery_share(), 0.6);
  EXPECT_EQ(config.global_holdout(), 0.05);
  EXPECT_EQ(config.auto_approve_size(), 0);
}

TEST(ResolveConfigTest, OwnSettingsWinOverDefaults) {
  v1::ProjectConfig defaults;
  defaults.set_max_trials(3);
  defaults.set_seed(7);
  *defaults.mutable_tick_interval() = TimeUtil::NanosecondsToDuration(500);
  defaults.add_auto_approve(v1::INTERVENTION_KIND_GUARDRAIL);
  v1::ProjectConfig own;
  own.set_max_trials(0);
  *own.mutable_tick_interval() = TimeUtil::SecondsToDuration(5);
  own.add_auto_approve(v1::INTERVENTION_KIND_ROUTING_POLICY);
  ASSERT_OK_AND_ASSIGN(const v1::ProjectConfig config,
                       ResolveConfig(own, defaults));
  EXPECT_EQ(config.max_trials(), 0);
  EXPECT_EQ(config.seed(), 7);
  EXPECT_EQ(config.tick_interval().seconds(), 5);
  EXPECT_EQ(config.tick_interval().nanos(), 0);
  EXPECT_THAT(config.auto_approve(),
              ElementsAre(v1::INTERVENTION_KIND_ROUTING_POLICY));
}

TEST(ResolveConfigTest, NamesTheFieldAtFault) {
  const auto field_at_fault = [](auto change) {
    v1::ProjectConfig config;
    change(&config);
    const auto resolved = ResolveConfig(config, {});
    EXPECT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument);
    const auto detail = base::GetErrorDetail(resolved.status());
    return detail.has_value() ? detail->field() : std::string();
  };
  EXPECT_EQ(field_at_fault([](auto* c) { c->set_max_failures(99); }),
            "config.max_failures");
  EXPECT_EQ(field_at_fault([](auto* c) { c->set_discovery_share(0.95); }),
            "config.discovery_share");
  EXPECT_EQ(field_at_fault([](auto* c) { c->set_false_discovery_rate(0); }),
            "config.false_discovery_rate");
  EXPECT_EQ(
      field_at_fault([](auto* c) {
        c->set_treatment_probability(std::numeric_limits<double>::quiet_NaN());
      }),
      "config.treatment_probability");
  EXPECT_EQ(field_at_fault([](auto* c) { c->mutable_policy_ttl(); }),
            "config.policy_ttl");
  EXPECT_EQ(field_at_fault(
                [](auto* c) { c->mutable_tick_interval()->set_seconds(-1); }),
            "config.tick_interval");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->add_auto_approve(static_cast<v1::InterventionKind>(99));
            }),
            "config.auto_approve[0]");
}

}  // namespace
}  // namespace faultline::slowloop
