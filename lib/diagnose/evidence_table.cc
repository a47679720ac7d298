#include "lib/diagnose/evidence_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "re2/re2.h"

namespace faultline::diagnose {
namespace {

using v1::FailureMode;

// Where a rule looks.
enum class Source {
  kToken,        // a token that members have more often
  kMissing,      // a token that members have less often
  kShare,        // a token that most members have, whoever else has it
  kRetry,        // after a failed step, the same step again
  kOscillation,  // a, b, a
  kLongRun,      // many steps, few errors
  kCause,        // a tested cause, by its field
  kScopeField,   // a field of the scope
  kRegret,       // another candidate does better in scope
};

struct Rule {
  FailureMode mode;
  Source source;
  const char* pattern;  // of the token or field, whole; RE2
  double weight;
  const char* text;
};

// Tokens are as lib/embedding/channels/ write them. What members do weighs more
// than who did it: a weak model that loops is read as a loop.
constexpr Rule kRules[] = {
    {v1::FAILURE_MODE_RETRIEVAL_FAILURE, Source::kToken,
     R"(retrieval empty:(mid|high))", 4, "retrievals came back empty"},
    {v1::FAILURE_MODE_RETRIEVAL_FAILURE, Source::kToken,
     R"(retrieval a:.*(hit|result|document|match|found|recall).*=(0|f0|false))",
     4, "retrievals had no or few hits"},
    {v1::FAILURE_MODE_RETRIEVAL_FAILURE, Source::kToken,
     R"(error te:retrieval.*)", 3, "retrieval failed"},
    {v1::FAILURE_MODE_RETRIEVAL_FAILURE, Source::kToken,
     R"(error e:.*(not.?found|no.?result|no.?match|no.?hit|empty).*)", 2,
     "what was asked for was not found"},
    {v1::FAILURE_MODE_RETRIEVAL_FAILURE, Source::kToken,
     R"(signal retriev.*=(0|f0|f1))", 2, "the retrieval score was low"},

    {v1::FAILURE_MODE_HALLUCINATION, Source::kShare, R"(signal hiconf)", 2,
     "wrong with high confidence"},
    {v1::FAILURE_MODE_HALLUCINATION, Source::kToken,
     R"((signal|error) .*(unsupported|ungrounded|hallucinat|fabricat).*)", 3,
     "the answer had no support"},
    {v1::FAILURE_MODE_HALLUCINATION, Source::kMissing, R"(tool t:.*)", 2,
     "answered without a step that successes in scope take"},

    {v1::FAILURE_MODE_TOOL_MISUSE, Source::kToken,
     R"(error (te:[^:]*|e):.*(arg|param|schema|valid|format|type|syntax|parse|malformed|denied|permission|unauthori|forbidden).*)",
     4, "the tool refused its arguments"},
    {v1::FAILURE_MODE_TOOL_MISUSE, Source::kToken, R"(error te:[^:]*:.*)", 1.5,
     "a tool failed"},
    {v1::FAILURE_MODE_TOOL_MISUSE, Source::kRetry, "", 1,
     "the failing call was repeated"},

    {v1::FAILURE_MODE_MEMORY_MISALIGNMENT, Source::kToken,
     R"((retrieval|error|signal) .*(stale|conflict|outdated|expired).*)", 4,
     "memory was stale or conflicting"},
    {v1::FAILURE_MODE_MEMORY_MISALIGNMENT, Source::kToken,
     R"(error te:memory.*)", 3, "memory failed"},
    {v1::FAILURE_MODE_MEMORY_MISALIGNMENT, Source::kToken,
     R"(retrieval (skip.*|used:low))", 1.5,
     "memory that mattered was not used"},
    {v1::FAILURE_MODE_MEMORY_MISALIGNMENT, Source::kCause,
     R"(memory\..*|decisions\.memory_read\.chosen)", 3,
     "the state of memory makes it more likely"},
    {v1::FAILURE_MODE_MEMORY_MISALIGNMENT, Source::kScopeField, R"(memory\..*)",
     2, "it happens in one state of memory"},

    {v1::FAILURE_MODE_REASONING_BREAKDOWN, Source::kToken,
     R"(transition rep[3-9])", 4, "the same step again and again"},
    {v1::FAILURE_MODE_REASONING_BREAKDOWN, Source::kOscillation, "", 2,
     "back and forth between two steps"},
    {v1::FAILURE_MODE_REASONING_BREAKDOWN, Source::kToken,
     R"(error e:.*(max.?steps|step.?limit|too.many.(steps|turns)|recursion|loop).*)",
     3, "the run hit its step limit"},
    {v1::FAILURE_MODE_REASONING_BREAKDOWN, Source::kLongRun, "", 1.5,
     "long runs with few errors"},

    {v1::FAILURE_MODE_ROUTING_FAILURE, Source::kCause,
     R"(system\.model|decisions\.route\.chosen)", 3,
     "who answered makes it more likely"},
    {v1::FAILURE_MODE_ROUTING_FAILURE, Source::kRegret, "", 2,
     "another candidate does clearly better in scope"},
};

constexpr double kMaxZ = 6;
constexpr double kTemperature = 0.5;
constexpr double kMinPosterior = 0.5;
constexpr double kMinMargin = 0.15;
// Least share of the second group that makes a missing token telling.
constexpr double kMinUsualShare = 0.5;
constexpr double kMinEffect = 0.5;
constexpr double kFullOddsRatio = 3;
constexpr double kFullAttributableShare = 0.5;
constexpr double kFullRegret = 0.2;

double Clip(double z) { return std::clamp(z, 0.0, kMaxZ) / kMaxZ; }

bool IsRetry(absl::string_view token) {
  if (!absl::StartsWith(token, "error ")) return false;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(token.substr(6), absl::MaxSplits("!>", 1));
  return parts.size() == 2 && parts[0] == parts[1];
}

bool IsOscillation(absl::string_view token) {
  constexpr absl::string_view kChannel = "transition ";
  if (!absl::StartsWith(token, kChannel)) return false;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(token.substr(kChannel.size()), '>');
  // Model and user turns alternate with everything.
  const auto is_turn = [](absl::string_view label) {
    return label == "llm" || label == "user";
  };
  return parts.size() == 3 && parts[0] == parts[2] && parts[0] != parts[1] &&
         !is_turn(parts[0]) && !is_turn(parts[1]);
}

void CollectFields(const v1::Predicate& predicate,
                   std::vector<std::string>* fields) {
  if (predicate.has_comparison()) {
    fields->push_back(predicate.comparison().field());
  }
  for (const v1::Predicate& part : predicate.all().predicates()) {
    CollectFields(part, fields);
  }
}

template <typename Matches>
double StrongestToken(const Evidence& evidence, const Matches& matches) {
  double strongest = 0;
  for (const TokenContrast& token : evidence.tokens) {
    const double strength = Clip(token.z) * token.first_share;
    if (strength > strongest && matches(*token.text)) strongest = strength;
  }
  return strongest;
}

// How far the rule holds, in [0, 1].
double Strength(const Rule& rule, const RE2& pattern,
                const Evidence& evidence) {
  const auto matches = [&pattern](const std::string& text) {
    return RE2::FullMatch(text, pattern);
  };
  double strength = 0;
  switch (rule.source) {
    case Source::kToken:
      return StrongestToken(evidence, matches);
    case Source::kRetry:
      return StrongestToken(evidence, IsRetry);
    case Source::kOscillation:
      return StrongestToken(evidence, IsOscillation);
    case Source::kMissing:
      for (const TokenContrast& token : evidence.tokens) {
        if (token.second_share < kMinUsualShare) continue;
        const double missing = Clip(-token.z) * (1 - token.first_share);
        if (missing > strength && matches(*token.text)) strength = missing;
      }
      return strength;
    case Source::kShare:
      for (const TokenContrast& token : evidence.tokens) {
        const double most = 2 * token.first_share - 1;
        if (most > strength && matches(*token.text)) strength = most;
      }
      return strength;
    case Source::kLongRun:
      if (evidence.steps_effect < kMinEffect ||
          evidence.errors_effect > kMinEffect) {
        return 0;
      }
      return std::min(1.0, evidence.steps_effect / (3 * kMinEffect));
    case Source::kCause:
      for (const CauseTest* cause : evidence.causes) {
        if (!matches(cause->feature->comparison.field())) continue;
        const double size =
            std::min(1.0, std::log(cause->lower()) / std::log(kFullOddsRatio)) *
            std::min(1.0, cause->attributable_share / kFullAttributableShare);
        strength = std::max(strength, size);
      }
      return strength;
    case Source::kScopeField: {
      std::vector<std::string> fields;
      CollectFields(evidence.scope, &fields);
      return std::any_of(fields.begin(), fields.end(), matches) ? 1 : 0;
    }
    case Source::kRegret:
      if (!evidence.routes || !evidence.routes->arms.Holds()) return 0;
      return std::clamp(evidence.routes->arms.difference_lower / kFullRegret,
                        0.0, 1.0);
  }
  return strength;
}

struct CompiledRule {
  const Rule* rule;
  std::unique_ptr<const RE2> pattern;
};

const std::vector<CompiledRule>& CompiledRules() {
  static const auto* const rules = [] {
    auto* compiled = new std::vector<CompiledRule>;
    for (const Rule& rule : kRules) {
      compiled->push_back({&rule, std::make_unique<RE2>(rule.pattern)});
    }
    return compiled;
  }();
  return *rules;
}

}  // namespace

Reading ReadFailureMode(const Evidence& evidence) {
  Reading reading;
  std::array<double, v1::FAILURE_MODE_UNKNOWN> scores{};  // by mode; 0 unused
  for (const auto& [rule, pattern] : CompiledRules()) {
    const double contribution =
        rule->weight * Strength(*rule, *pattern, evidence);
    if (contribution <= 0) continue;
    scores[rule->mode] += contribution;
    v1::ModeEvidence& entry = reading.evidence.emplace_back();
    entry.set_failure_mode(rule->mode);
    entry.set_rule(rule->text);
    entry.set_contribution(contribution);
  }
  std::stable_sort(reading.evidence.begin(), reading.evidence.end(),
                   [](const v1::ModeEvidence& a, const v1::ModeEvidence& b) {
                     return a.contribution() > b.contribution();
                   });

  std::array<double, v1::FAILURE_MODE_UNKNOWN> posterior{};
  double sum = 0;
  for (size_t mode = 1; mode < scores.size(); ++mode) {
    sum += posterior[mode] = std::exp(scores[mode] / kTemperature);
  }
  size_t best = 1;
  for (size_t mode = 1; mode < posterior.size(); ++mode) {
    posterior[mode] /= sum;
    if (posterior[mode] > posterior[best]) best = mode;
  }
  double second = 0;
  for (size_t mode = 1; mode < posterior.size(); ++mode) {
    if (mode != best) second = std::max(second, posterior[mode]);
  }
  reading.posterior = posterior[best];
  if (posterior[best] >= kMinPosterior &&
      posterior[best] - second >= kMinMargin) {
    reading.mode = static_cast<FailureMode>(best);
  }
  return reading;
}

}  // namespace faultline::diagnose
