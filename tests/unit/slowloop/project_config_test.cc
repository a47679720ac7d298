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
  EXPECT_EQ(config.content(), v1::CONTENT_POLICY_FULL);
  EXPECT_FALSE(config.retention().has_max_age());
  EXPECT_TRUE(config.has_quota());
  EXPECT_EQ(config.assembly().quiet_period().seconds(), 5);
  EXPECT_EQ(config.assembly().max_open_runs(), 100'000);
}

TEST(ResolveConfigTest, WhatIsSetWholeReplacesTheDefaultWhole) {
  v1::ProjectConfig defaults;
  defaults.mutable_quota()->set_stored_bytes(1000);
  defaults.mutable_quota()->set_records_per_second(5);
  defaults.mutable_retention()->set_max_traces(100);
  v1::ProjectConfig own;
  own.mutable_quota()->set_records_per_second(7);
  ASSERT_OK_AND_ASSIGN(const v1::ProjectConfig config,
                       ResolveConfig(own, defaults));
  EXPECT_EQ(config.quota().records_per_second(), 7);
  EXPECT_EQ(config.quota().stored_bytes(), 0);
  EXPECT_EQ(config.retention().max_traces(), 100);
}

TEST(ResolveConfigTest, FailuresAreKeptFourTimesAsLong) {
  v1::ProjectConfig own;
  own.mutable_retention()->mutable_max_age()->set_seconds(100);
  ASSERT_OK_AND_ASSIGN(const v1::ProjectConfig config, ResolveConfig(own, {}));
  EXPECT_EQ(config.retention().failure_max_age().seconds(), 400);
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
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->set_content(static_cast<v1::ContentPolicy>(99));
            }),
            "config.content");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->set_cluster_engine(static_cast<v1::ClusterEngine>(9));
            }),
            "config.cluster_engine");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_retention()->mutable_max_age()->set_seconds(-1);
            }),
            "config.retention.max_age");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_retention()->mutable_max_age()->set_seconds(5);
              c->mutable_retention()->mutable_failure_max_age()->set_seconds(4);
            }),
            "config.retention.failure_max_age");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_retention()->mutable_failure_max_age()->set_seconds(4);
            }),
            "config.retention.failure_max_age");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_quota()->set_records_per_second(-1);
            }),
            "config.quota.records_per_second");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_assembly()->mutable_quiet_period()->set_seconds(-1);
            }),
            "config.assembly.quiet_period");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_assembly()->mutable_quiet_period()->set_seconds(3601);
            }),
            "config.assembly.quiet_period");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_assembly()->mutable_idle_timeout()->set_seconds(4);
            }),
            "config.assembly.idle_timeout");
  EXPECT_EQ(field_at_fault([](auto* c) {
              c->mutable_assembly()->set_max_open_runs(2'000'000);
            }),
            "config.assembly.max_open_runs");
}

}  // namespace
}  // namespace faultline::slowloop
