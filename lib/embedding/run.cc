#include "lib/embedding/run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_set.h"
#include "lib/base/hash.h"
#include "lib/embedding/feature_channel.h"
#include "lib/trace/trace_field.h"

namespace faultline::embedding {
namespace {

constexpr absl::string_view kInputField = "task.input";
constexpr absl::string_view kRouteField = "decisions.route.chosen";
constexpr absl::string_view kMemoryClassField = "memory.reads.record_class";
// Distinct words of the input that are context features.
constexpr size_t kMaxContextWords = 256;

// Keys of text, words and numbers never meet.
enum KeySeed : uint64_t { kTextSeed = 0x11, kWordSeed, kNumberSeed };

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

// Evaluation.latency is not read: it comes with the answer.
float LogLatency(const v1::Trace& trace) {
  if (trace.has_end_time()) {
    return static_cast<float>(std::log1p(absl::ToDoubleSeconds(
        ToTime(trace.end_time()) - ToTime(trace.start_time()))));
  }
  double seconds = 0;
  bool known = false;
  for (const v1::Step& step : trace.steps()) {
    known |= step.has_duration();
    seconds += ToSeconds(step.duration());
  }
  return known ? static_cast<float>(std::log1p(seconds)) : kUnknown;
}

std::array<float, kNumericCount> Scalars(const TraceView& view) {
  size_t errors = 0;
  double tokens = 0;
  std::vector<absl::string_view> actions;
  for (const StepView& step : view.steps) {
    errors += step.failed() ? 1 : 0;
    tokens += static_cast<double>(step.step->input_tokens()) +
              static_cast<double>(step.step->output_tokens());
    if (step.action()) actions.push_back(step.label);
  }
  const auto share = [](size_t part, size_t whole) {
    return whole == 0 ? kUnknown
                      : static_cast<float>(part) / static_cast<float>(whole);
  };
  const size_t used = actions.size();
  std::sort(actions.begin(), actions.end());
  const size_t distinct =
      std::unique(actions.begin(), actions.end()) - actions.begin();
  return {std::log1p(static_cast<float>(view.steps.size())),
          share(errors, view.steps.size()),
          share(distinct, used),
          used == 0 ? kUnknown
                    : std::log(static_cast<float>(LongestRepetition(view))),
          LogLatency(view.trace),
          tokens == 0 ? kUnknown : static_cast<float>(std::log1p(tokens))};
}

void ExtractContext(const v1::Trace& trace, FeatureNames* names, Run* run) {
  trace::VisitContext(trace, [&](absl::string_view path,
                                 const trace::FieldValue& value) {
    if (const auto* text = std::get_if<absl::string_view>(&value)) {
      const uint64_t key = ContextKey(path, *text);
      run->context.push_back(key);
      if (names) {
        names->context.try_emplace(
            key, ContextFeature{std::string(path), std::string(*text), false});
      }
    } else if (const auto* number = std::get_if<double>(&value)) {
      const uint64_t key = NumberKey(path);
      run->context_numbers.emplace_back(key, static_cast<float>(*number));
      if (names) names->numbers.try_emplace(key, path);
    }
  });

  absl::flat_hash_set<uint64_t> words;
  trace::VisitWords(trace.task().input(), [&](absl::string_view word) {
    if (words.size() == kMaxContextWords) return;
    const uint64_t key = ContextKey(kInputField, word, /*word=*/true);
    if (!words.insert(key).second) return;
    run->context.push_back(key);
    if (names) {
      names->context.try_emplace(key, ContextFeature{std::string(kInputField),
                                                     std::string(word), true});
    }
  });
  std::sort(run->context.begin(), run->context.end());
  std::sort(run->context_numbers.begin(), run->context_numbers.end());
}

void ExtractFeatures(const v1::Trace& trace, FeatureNames* names, Run* run) {
  const TraceView view(trace);
  TokenSink sink(names, std::move(run->tokens));
  for (const FeatureChannel* channel : FeatureChannels()) {
    sink.BeginChannel(channel->channel, channel->name);
    channel->extract(view, &sink);
  }
  run->tokens = sink.Finish();
  run->numeric = Scalars(view);
  run->caller_embedding.assign(trace.task().embedding().begin(),
                               trace.task().embedding().end());
}

RouteChoice RouteOf(const v1::Trace& trace, FeatureNames* names) {
  RouteChoice route;
  const v1::Decision* last = nullptr;
  for (const v1::Decision& decision : trace.decisions()) {
    if (decision.kind() != v1::Decision::KIND_ROUTE) continue;
    ++route.decisions;
    last = &decision;
  }
  if (last == nullptr) return route;
  const auto key_of = [names](const std::string& name) {
    const uint64_t key = RouteKey(name);
    if (names) {
      names->context.try_emplace(
          key, ContextFeature{std::string(kRouteField), name, false});
    }
    return key;
  };
  route.chosen = key_of(last->chosen());
  route.propensity = last->propensity();
  route.candidates.reserve(static_cast<size_t>(last->candidates_size()));
  for (const v1::Decision::Candidate& candidate : last->candidates()) {
    route.candidates.push_back(key_of(candidate.name()));
  }
  std::sort(route.candidates.begin(), route.candidates.end());
  route.candidates.erase(
      std::unique(route.candidates.begin(), route.candidates.end()),
      route.candidates.end());
  return route;
}

std::vector<ClassReads> ReadsOf(const v1::Trace& trace, FeatureNames* names) {
  std::vector<ClassReads> reads;
  for (const v1::MemoryState::Read& read : trace.memory().reads()) {
    const uint64_t key = MemoryClassKey(read.record_class());
    if (names) {
      names->context.try_emplace(key,
                                 ContextFeature{std::string(kMemoryClassField),
                                                read.record_class(), false});
    }
    const float age =
        read.has_age() ? static_cast<float>(ToSeconds(read.age())) : -1;
    const auto known = std::find_if(
        reads.begin(), reads.end(),
        [key](const ClassReads& other) { return other.record_class == key; });
    if (known == reads.end()) {
      reads.push_back({key, age});
    } else {
      known->oldest = std::max(known->oldest, age);
    }
  }
  std::sort(reads.begin(), reads.end(),
            [](const ClassReads& a, const ClassReads& b) {
              return a.record_class < b.record_class;
            });
  return reads;
}

double CostOf(const v1::Trace& trace) {
  if (trace.evaluation().has_cost()) return trace.evaluation().cost();
  double cost = 0;
  for (const v1::Step& step : trace.steps()) cost += step.cost();
  return cost;
}

double ConfidenceOf(const v1::Evaluation& evaluation) {
  const auto it = evaluation.signals().find("confidence");
  return it == evaluation.signals().end() ? -1 : it->second;
}

}  // namespace

uint64_t ContextKey(absl::string_view field, absl::string_view value,
                    bool word) {
  return base::Hash64(value, base::Hash64(field, word ? kWordSeed : kTextSeed));
}

uint64_t RouteKey(absl::string_view name) {
  return ContextKey(kRouteField, name);
}

uint64_t MemoryClassKey(absl::string_view name) {
  return ContextKey(kMemoryClassField, name);
}

uint64_t NumberKey(absl::string_view field) {
  return base::Hash64(field, kNumberSeed);
}

Run ExtractRun(const v1::Trace& trace, FeatureNames* names) {
  Run run;
  run.trace_id = trace.trace_id();
  run.start_time = ToTime(trace.start_time());
  run.outcome = trace.evaluation().outcome();
  run.confidence = ConfidenceOf(trace.evaluation());
  run.cost = CostOf(trace);
  run.policy_version = trace.exposure().policy_version();

  ExtractFeatures(trace, names, &run);
  ExtractContext(trace, names, &run);
  for (const auto& exposure : trace.exposure().interventions()) {
    run.exposures.push_back({exposure.intervention_id(), exposure.arm(),
                             exposure.treatment_probability(),
                             exposure.assignment_key()});
  }
  run.route = RouteOf(trace, names);
  run.reads = ReadsOf(trace, names);
  return run;
}

void ExtractFeatures(const v1::Trace& trace, Run* run) {
  ExtractFeatures(trace, nullptr, run);
}

void ApplyOutcome(const v1::Evaluation& evaluation, Run* run) {
  run->outcome = evaluation.outcome();
  if (evaluation.has_cost()) run->cost = evaluation.cost();
  if (evaluation.signals().empty()) return;
  run->confidence = ConfidenceOf(evaluation);

  v1::Trace judged;
  *judged.mutable_evaluation()->mutable_signals() = evaluation.signals();
  const TraceView view(judged);
  TokenSink sink(nullptr);
  const FeatureChannel& channel =
      *FeatureChannels()[static_cast<size_t>(Channel::kSignal)];
  sink.BeginChannel(channel.channel, channel.name);
  channel.extract(view, &sink);
  const auto [first, last] =
      std::equal_range(run->tokens.begin(), run->tokens.end(),
                       TokenCount{0, 0, Channel::kSignal},
                       [](const TokenCount& a, const TokenCount& b) {
                         return a.channel < b.channel;
                       });
  const auto place = run->tokens.erase(first, last);
  const std::vector<TokenCount> tokens = sink.Finish();
  run->tokens.insert(place, tokens.begin(), tokens.end());
}

}  // namespace faultline::embedding
