#include "lib/slowloop/project_config.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::slowloop {
namespace {

using ::google::protobuf::Duration;
using ::google::protobuf::util::TimeUtil;

v1::ProjectConfig BuiltInDefaults() {
  v1::ProjectConfig config;
  *config.mutable_tick_interval() = TimeUtil::SecondsToDuration(60);
  config.set_max_failures(50000);
  config.set_max_successes(50000);
  config.set_seed(1);
  config.set_discovery_share(0.6);
  config.set_false_discovery_rate(0.05);
  config.set_min_odds_ratio(1.5);
  config.set_treatment_probability(0.5);
  config.set_global_holdout(0.05);
  config.set_max_trials(6);
  config.set_trial_false_discovery_rate(0.1);
  config.set_max_trial_events(300);
  config.set_max_trial_ticks(12);
  config.set_trial_cooldown_ticks(10);
  config.set_confirmed_probability(0.9);
  config.set_max_cost_increase(0.1);
  config.set_max_latency_increase(0.1);
  *config.mutable_policy_ttl() = TimeUtil::SecondsToDuration(600);
  *config.mutable_intervention_ttl() = TimeUtil::HoursToDuration(30 * 24);
  config.set_content(v1::CONTENT_POLICY_FULL);
  config.mutable_retention();
  config.mutable_quota();
  config.mutable_assembly();
  config.set_cluster_engine(v1::CLUSTER_ENGINE_LEIDEN);
  return config;
}

absl::Status OutOfRange(absl::string_view field, absl::string_view limit,
                        absl::string_view seen) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE,
                            absl::StrCat("config.", field), limit,
                            absl::StrCat("is ", seen)));
}

absl::Status CheckRange(absl::string_view field, double value, double low,
                        double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat("must be from ", low, " to ", high),
                    absl::StrCat(value));
}

absl::Status CheckDuration(absl::string_view field, const Duration& duration,
                           bool zero_allowed) {
  const bool valid = duration.seconds() >= 0 && duration.nanos() >= 0 &&
                     duration.nanos() < 1'000'000'000 &&
                     duration.seconds() <= 315'576'000'000;
  const bool zero = duration.seconds() == 0 && duration.nanos() == 0;
  if (valid && (zero_allowed || !zero)) return absl::OkStatus();
  return OutOfRange(
      field, zero_allowed ? "must not be negative" : "must be positive",
      absl::StrCat(duration.seconds(), " s ", duration.nanos(), " ns"));
}

// Of the parts that are set whole; a zero is the default.
void SetDefault(const Duration& value, Duration* duration) {
  if (duration->seconds() == 0 && duration->nanos() == 0) *duration = value;
}

void FillRetention(v1::RetentionConfig* retention) {
  if (!retention->has_max_age()) return;
  SetDefault(retention->max_age() * 4, retention->mutable_failure_max_age());
}

void FillAssembly(v1::AssemblyConfig* assembly) {
  SetDefault(TimeUtil::SecondsToDuration(5), assembly->mutable_quiet_period());
  SetDefault(TimeUtil::SecondsToDuration(600),
             assembly->mutable_idle_timeout());
  SetDefault(TimeUtil::SecondsToDuration(3600),
             assembly->mutable_amend_window());
  if (assembly->max_open_runs() == 0) assembly->set_max_open_runs(100'000);
}

absl::Status CheckContent(int content) {
  if (v1::ContentPolicy_IsValid(content)) return absl::OkStatus();
  return OutOfRange("content", "must be full, digest or none",
                    absl::StrCat(content));
}

absl::Status CheckEngine(int engine) {
  if (v1::ClusterEngine_IsValid(engine)) return absl::OkStatus();
  return OutOfRange("cluster_engine", "must be leiden or hdbscan",
                    absl::StrCat(engine));
}

absl::Status CheckRetention(const v1::RetentionConfig& retention) {
  FAULTLINE_RETURN_IF_ERROR(
      CheckDuration("retention.max_age", retention.max_age(), true));
  FAULTLINE_RETURN_IF_ERROR(CheckDuration("retention.failure_max_age",
                                          retention.failure_max_age(), true));
  const bool limited = retention.failure_max_age() > Duration();
  if (limited && (retention.failure_max_age() < retention.max_age() ||
                  retention.max_age() == Duration())) {
    return OutOfRange("retention.failure_max_age",
                      "needs retention.max_age, and must not be less",
                      TimeUtil::ToString(retention.failure_max_age()));
  }
  return absl::OkStatus();
}

absl::Status CheckQuota(const v1::QuotaConfig& quota) {
  constexpr double kMost = 1e12;
  FAULTLINE_RETURN_IF_ERROR(CheckRange("quota.records_per_second",
                                       quota.records_per_second(), 0, kMost));
  return CheckRange("quota.bytes_per_second", quota.bytes_per_second(), 0,
                    kMost);
}

absl::Status CheckWithin(absl::string_view field, const Duration& duration,
                         const Duration& least, const Duration& most) {
  FAULTLINE_RETURN_IF_ERROR(CheckDuration(field, duration, false));
  if (!(duration < least) && !(duration > most)) return absl::OkStatus();
  return OutOfRange(field,
                    absl::StrCat("must be from ", TimeUtil::ToString(least),
                                 " to ", TimeUtil::ToString(most)),
                    TimeUtil::ToString(duration));
}

absl::Status CheckAssembly(const v1::AssemblyConfig& assembly) {
  const Duration month = TimeUtil::HoursToDuration(30 * 24);
  FAULTLINE_RETURN_IF_ERROR(CheckWithin("assembly.quiet_period",
                                        assembly.quiet_period(), Duration(),
                                        TimeUtil::HoursToDuration(1)));
  FAULTLINE_RETURN_IF_ERROR(CheckWithin("assembly.idle_timeout",
                                        assembly.idle_timeout(),
                                        assembly.quiet_period(), month));
  FAULTLINE_RETURN_IF_ERROR(CheckWithin(
      "assembly.amend_window", assembly.amend_window(), Duration(), month));
  return CheckRange("assembly.max_open_runs", assembly.max_open_runs(), 1, 1e6);
}

}  // namespace

absl::StatusOr<v1::ProjectConfig> ResolveConfig(
    const v1::ProjectConfig& config, const v1::ProjectConfig& defaults) {
  v1::ProjectConfig resolved = BuiltInDefaults();
  for (const v1::ProjectConfig* layer : {&defaults, &config}) {
    if (layer->auto_approve_size() > 0) resolved.clear_auto_approve();
    // Durations merge field by field, which would mix two layers.
    if (layer->has_tick_interval()) resolved.clear_tick_interval();
    if (layer->has_policy_ttl()) resolved.clear_policy_ttl();
    if (layer->has_intervention_ttl()) resolved.clear_intervention_ttl();
    if (layer->has_retention()) resolved.clear_retention();
    if (layer->has_quota()) resolved.clear_quota();
    if (layer->has_assembly()) resolved.clear_assembly();
    resolved.MergeFrom(*layer);
  }
  FillRetention(resolved.mutable_retention());
  FillAssembly(resolved.mutable_assembly());
  FAULTLINE_RETURN_IF_ERROR(
      CheckDuration("tick_interval", resolved.tick_interval(), true));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_failures", resolved.max_failures(), 100, 200000));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_successes", resolved.max_successes(), 100, 200000));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("discovery_share", resolved.discovery_share(), 0.3, 0.9));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "false_discovery_rate", resolved.false_discovery_rate(), 1e-6, 0.5));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("min_odds_ratio", resolved.min_odds_ratio(), 1, 1000));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "treatment_probability", resolved.treatment_probability(), 0.05, 0.95));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("global_holdout", resolved.global_holdout(), 0, 0.5));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_trials", resolved.max_trials(), 0, 64));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("trial_false_discovery_rate",
                                       resolved.trial_false_discovery_rate(),
                                       1e-6, 0.5));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_trial_events", resolved.max_trial_events(), 20, 100000));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_trial_ticks", resolved.max_trial_ticks(), 1, 100000));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "trial_cooldown_ticks", resolved.trial_cooldown_ticks(), 0, 100000));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "confirmed_probability", resolved.confirmed_probability(), 0.5, 0.95));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "max_cost_increase", resolved.max_cost_increase(), 1e-6, 1000));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "max_latency_increase", resolved.max_latency_increase(), 1e-6, 1000));
  FAULTLINE_RETURN_IF_ERROR(
      CheckDuration("policy_ttl", resolved.policy_ttl(), false));
  FAULTLINE_RETURN_IF_ERROR(
      CheckDuration("intervention_ttl", resolved.intervention_ttl(), false));
  for (int i = 0; i < resolved.auto_approve_size(); ++i) {
    const int kind = resolved.auto_approve(i);
    if (!v1::InterventionKind_IsValid(kind) ||
        kind == v1::INTERVENTION_KIND_UNSPECIFIED) {
      return OutOfRange(absl::StrCat("auto_approve[", i, "]"),
                        "must be a kind of intervention", absl::StrCat(kind));
    }
  }
  FAULTLINE_RETURN_IF_ERROR(CheckContent(resolved.content()));
  FAULTLINE_RETURN_IF_ERROR(CheckEngine(resolved.cluster_engine()));
  FAULTLINE_RETURN_IF_ERROR(CheckRetention(resolved.retention()));
  FAULTLINE_RETURN_IF_ERROR(CheckQuota(resolved.quota()));
  FAULTLINE_RETURN_IF_ERROR(CheckAssembly(resolved.assembly()));
  return resolved;
}

}  // namespace faultline::slowloop
