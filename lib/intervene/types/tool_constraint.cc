#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/behavior_contrast.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/embedding/feature_channel.h"
#include "lib/intervene/argument_pattern.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "nlohmann/json.hpp"
#include "re2/re2.h"

namespace faultline::intervene {
namespace {

constexpr size_t kMaxPatternBytes = 512;
constexpr int kMaxCalls = 1000;
// Mean of the prior of an action's efficacy, Beta(2, 3) (METHODS 4.3).
constexpr double kPriorEfficacy = 0.4;
// A tool is looked at where its calls fail in at least this share of the
// sampled members.
constexpr double kMinFailingMembers = 0.2;
constexpr size_t kMinFailing = 5;
// A call limit is for members that make one failing call this often.
constexpr int kMinIdentical = 3;
constexpr double kMinRepeating = 0.5;
constexpr double kLimitQuantile = 0.99;
constexpr size_t kMinUsers = 20;
// Users of a tool that share one task type.
constexpr double kSameType = 0.95;

bool IsFailure(const v1::Step& step) {
  return step.status() == v1::Step::STATUS_ERROR || !step.error_type().empty();
}

// What one tool was called with, over the sampled runs.
struct Calls {
  // Values of each argument, by key; `` is the whole input.
  std::map<std::string, std::vector<std::string>> good;
  std::map<std::string, std::vector<std::string>> bad;
  size_t good_calls = 0;
  size_t bad_calls = 0;
  std::set<const v1::Trace*> failing_members;
};

// Arguments of a call as texts: the keys of a JSON object, or the whole input.
std::map<std::string, std::string> Arguments(const std::string& input) {
  const nlohmann::json object =
      nlohmann::json::parse(input, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return {{"", input}};
  std::map<std::string, std::string> arguments;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) {
      arguments[key] = value.get<std::string>();
    } else if (value.is_primitive()) {
      arguments[key] =
          value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
  }
  return arguments;
}

void CollectCalls(const v1::Trace& trace, bool member,
                  std::map<std::string, Calls>* tools) {
  for (const v1::Step& step : trace.steps()) {
    if (step.kind() != v1::Step::KIND_TOOL || step.name().empty()) continue;
    Calls& calls = (*tools)[step.name()];
    const bool failed = IsFailure(step);
    (failed ? calls.bad_calls : calls.good_calls)++;
    if (failed && member) calls.failing_members.insert(&trace);
    for (auto& [key, value] : Arguments(step.input())) {
      (failed ? calls.bad : calls.good)[key].push_back(std::move(value));
    }
  }
}

// Calls of `tool` in the run, and the most equal ones that failed.
struct Repetition {
  int calls = 0;
  int identical_failures = 0;
};

Repetition CountCalls(const v1::Trace& trace, const std::string& tool) {
  Repetition repetition;
  std::map<std::string, int> failures;
  for (const v1::Step& step : trace.steps()) {
    if (step.kind() != v1::Step::KIND_TOOL || step.name() != tool) continue;
    ++repetition.calls;
    if (IsFailure(step)) {
      repetition.identical_failures =
          std::max(repetition.identical_failures, ++failures[step.input()]);
    }
  }
  return repetition;
}

// Refuses calls in a form that has always failed, or too many of them.
class ToolConstraintType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_TOOL_CONSTRAINT;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_TOOL_MISUSE;
  }

  std::vector<Proposal> Propose(
      const ProposalContext& context,
      const diagnose::ContextTable& table) const override {
    std::map<std::string, Calls> tools;
    for (const v1::Trace* trace : context.member_traces) {
      CollectCalls(*trace, /*member=*/true, &tools);
    }
    for (const v1::Trace* trace : context.success_traces) {
      CollectCalls(*trace, /*member=*/false, &tools);
    }
    std::vector<Proposal> proposals;
    for (const auto& [tool, calls] : tools) {
      const size_t failing = calls.failing_members.size();
      const double share = static_cast<double>(failing) /
                           static_cast<double>(context.member_traces.size());
      if (failing < kMinFailing || share < kMinFailingMembers) continue;
      Proposal proposal;
      if (!ProposeArgumentRule(tool, calls, &proposal) &&
          !ProposeCallLimit(context, tool, &proposal)) {
        continue;
      }
      proposal.scope = ScopeOf(context, tool);
      proposal.expected_reduction =
          kPriorEfficacy * FailingRate(context, table, tool, proposal.scope);
      absl::StrAppend(&proposal.summary,
                      absl::StrFormat(" Its calls fail in %.0f %% of the "
                                      "cluster's runs.",
                                      100 * share));
      proposals.push_back(std::move(proposal));
    }
    std::stable_sort(proposals.begin(), proposals.end(),
                     [](const Proposal& a, const Proposal& b) {
                       return a.expected_reduction > b.expected_reduction;
                     });
    return proposals;
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(CheckArm(action, v1::Action::kToolConstraint,
                                       "action.tool_constraint"));
    const v1::ToolConstraint& constraint = action.tool_constraint();
    FAULTLINE_RETURN_IF_ERROR(
        CheckName("action.tool_constraint.tool", constraint.tool()));
    switch (constraint.rule_case()) {
      case v1::ToolConstraint::kArgument:
        return ValidateArgument(constraint.argument());
      case v1::ToolConstraint::kCallLimit:
        return CheckRange("action.tool_constraint.call_limit.max_calls",
                          constraint.call_limit().max_calls(), 1, kMaxCalls);
      case v1::ToolConstraint::kOrder:
        return CheckName("action.tool_constraint.order.after_tool",
                         constraint.order().after_tool());
      case v1::ToolConstraint::kDisable:
        return absl::OkStatus();
      case v1::ToolConstraint::RULE_NOT_SET:
        break;
    }
    return Invalid(v1::ErrorDetail::REASON_REQUIRED,
                   "action.tool_constraint.rule",
                   "one of argument, call_limit, order, disable", "is not set");
  }

 private:
  static absl::Status ValidateArgument(
      const v1::ToolConstraint::ArgumentRule& rule) {
    constexpr char kPattern[] = "action.tool_constraint.argument.pattern";
    FAULTLINE_RETURN_IF_ERROR(CheckOptionalName(
        "action.tool_constraint.argument.argument", rule.argument()));
    if (rule.pattern().empty()) {
      return Invalid(v1::ErrorDetail::REASON_REQUIRED, kPattern,
                     "1 to 512 bytes", "is empty");
    }
    if (rule.pattern().size() > kMaxPatternBytes) {
      return Invalid(v1::ErrorDetail::REASON_TOO_LONG, kPattern,
                     "at most 512 bytes",
                     absl::StrCat("has ", rule.pattern().size(), " bytes"));
    }
    RE2::Options options;
    options.set_log_errors(false);
    const RE2 pattern(rule.pattern(), options);
    if (!pattern.ok()) {
      return Invalid(v1::ErrorDetail::REASON_MALFORMED, kPattern, "RE2 syntax",
                     pattern.error());
    }
    return absl::OkStatus();
  }

  // The argument whose form tells most failing calls from good ones.
  static bool ProposeArgumentRule(const std::string& tool, const Calls& calls,
                                  Proposal* proposal) {
    size_t most_refused = 0;
    for (const auto& [key, bad] : calls.bad) {
      const auto good = calls.good.find(key);
      // An optional argument cannot be demanded of every call.
      if (good == calls.good.end() ||
          good->second.size() < 0.98 * calls.good_calls) {
        continue;
      }
      const auto pattern = DerivePattern(good->second, bad);
      if (!pattern) continue;
      const RE2 compiled(*pattern);
      const auto refused = static_cast<size_t>(
          std::count_if(bad.begin(), bad.end(), [&](const std::string& text) {
            return !RE2::FullMatch(text, compiled);
          }));
      if (refused <= most_refused) continue;
      most_refused = refused;
      v1::ToolConstraint& constraint =
          *proposal->action.mutable_tool_constraint();
      constraint.set_tool(tool);
      constraint.mutable_argument()->set_argument(key);
      constraint.mutable_argument()->set_pattern(*pattern);
      proposal->summary = absl::StrFormat(
          "Repair %s of %s before a call unless it matches `%s`: %d of %d "
          "sampled calls that failed do not, %d that worked do.",
          key.empty() ? "the input" : absl::StrCat("`", key, "`"), tool,
          *pattern, refused, calls.bad_calls, good->second.size());
    }
    return most_refused > 0;
  }

  static bool ProposeCallLimit(const ProposalContext& context,
                               const std::string& tool, Proposal* proposal) {
    std::vector<int> usual;
    for (const v1::Trace* trace : context.success_traces) {
      const int calls = CountCalls(*trace, tool).calls;
      if (calls > 0) usual.push_back(calls);
    }
    if (usual.size() < kMinUsers) return false;
    std::sort(usual.begin(), usual.end());
    const int limit = std::min(
        kMaxCalls,
        usual[static_cast<size_t>(kLimitQuantile * (usual.size() - 1))]);
    int users = 0;
    int repeating = 0;
    for (const v1::Trace* trace : context.member_traces) {
      const Repetition repetition = CountCalls(*trace, tool);
      users += repetition.calls > 0 ? 1 : 0;
      repeating += repetition.calls > limit &&
                           repetition.identical_failures >= kMinIdentical
                       ? 1
                       : 0;
    }
    if (users == 0 || repeating < kMinRepeating * users) return false;
    v1::ToolConstraint& constraint =
        *proposal->action.mutable_tool_constraint();
    constraint.set_tool(tool);
    constraint.mutable_call_limit()->set_max_calls(limit);
    proposal->summary = absl::StrFormat(
        "Allow at most %d calls of %s in a run: %d of %d sampled failures "
        "repeat one failing call beyond that, 99 %% of the successes do not "
        "need more.",
        limit, tool, repeating, users);
    return true;
  }

  // Share of the held-out runs that are in scope, have a failing call of the
  // tool and fail.
  static double FailingRate(const ProposalContext& context,
                            const diagnose::ContextTable& table,
                            const std::string& tool,
                            const v1::Predicate& scope) {
    const std::string token =
        absl::StrCat("error te:", embedding::NormalizeName(tool), ":");
    const diagnose::Window window{context.runs, context.discovery,
                                  context.names};
    const diagnose::RunSet failing =
        RunsWithToken(window, [&token](absl::string_view text) {
          return absl::StartsWith(text, token);
        });
    return diagnose::HeldOutShare(
        table, failing & table.failed() & MatchingRuns(window, scope));
  }

  // The task type that the tool's users share, or the cluster's scope: a rule
  // about a tool does nothing to runs that do not call it.
  static v1::Predicate ScopeOf(const ProposalContext& context,
                               const std::string& tool) {
    std::map<std::string, size_t> users;
    size_t all = 0;
    for (const auto* traces :
         {&context.member_traces, &context.success_traces}) {
      for (const v1::Trace* trace : *traces) {
        if (CountCalls(*trace, tool).calls == 0) continue;
        ++users[trace->task().type()];
        ++all;
      }
    }
    for (const auto& [type, count] : users) {
      if (type.empty() || count < kSameType * all) continue;
      v1::Predicate scope;
      scope.mutable_comparison()->set_field("task.type");
      scope.mutable_comparison()->set_op(v1::Comparison::OPERATOR_EQUAL);
      scope.mutable_comparison()->set_text(type);
      return scope;
    }
    return context.cluster->scope();
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeToolConstraint() {
  return std::make_unique<ToolConstraintType>();
}

}  // namespace faultline::intervene
