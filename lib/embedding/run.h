#ifndef FAULTLINE_LIB_EMBEDDING_RUN_H_
#define FAULTLINE_LIB_EMBEDDING_RUN_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::embedding {

// Channels of the embedding (METHODS 1.1, 1.5). The order is the order of the
// blocks in a vector; it is part of the fingerprint.
enum class Channel : uint8_t {
  // BEHAVIOUR: both views.
  kTool,
  kTransition,
  kError,
  kRetrieval,
  // Signals visible before the outcome: the failure embedding E_f and the
  // trajectory view.
  kSignal,
  // CONTEXT: trajectory view only.
  kTask,
  kSystem,
  kRoute,
  kMemory,
  kPrompt,
};
inline constexpr int kChannelCount = 10;

// Dense scalars of a run, in this order: log steps, error share, distinct-tool
// share, log longest repetition, log latency, log tokens. NaN where unknown.
inline constexpr int kNumericCount = 6;

// A token and how often the run has it (words of a task share one count out).
// The key is xxh64 of channel and text.
struct TokenCount {
  uint64_t key;
  float count;
  Channel channel;
};

// One exposure of a run.
struct RunExposure {
  std::string intervention_id;
  v1::Arm arm;
  double treatment_probability;  // 0: not given
  std::string assignment_key{};  // empty: the trace id
};

// The last `route` decision of a run, the one that led to its answer. Keys are
// those of the context feature `decisions.route.chosen = name`.
struct RouteChoice {
  uint32_t decisions = 0;  // route decisions of the run; 0: the rest is empty
  uint64_t chosen = 0;
  std::vector<uint64_t> candidates;  // ascending, each once; empty: not told
  double propensity = 0;             // 0: not given
};

// What a run read of memory, of one class of records.
struct ClassReads {
  uint64_t record_class;  // MemoryClassKey
  float oldest;           // age in seconds; -1: not told
};

// What the analysis keeps of one trace: sparse tokens, scalars and context.
// Answers are here for labels and tests only; no embedding reads them.
struct Run {
  uint64_t sequence = 0;
  std::string trace_id;
  absl::Time start_time;
  v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED;
  // Log sequence of the record that first told the outcome; 0: not known, or
  // the run is not from a log.
  uint64_t known_sequence = 0;
  double confidence = -1;  // signals.confidence; -1: none
  double cost = 0;         // US dollars
  uint64_t policy_version = 0;

  std::vector<TokenCount> tokens;  // ascending by (channel, key)
  std::array<float, kNumericCount> numeric{};
  std::vector<float> caller_embedding;  // empty or the project's dimension

  // Keys of ContextFeature (field = text value, or task.input has word),
  // ascending. See FeatureNames.
  std::vector<uint64_t> context;
  // (key of the field path, value) of numeric context fields, ascending.
  std::vector<std::pair<uint64_t, float>> context_numbers;

  std::vector<RunExposure> exposures;
  RouteChoice route;
  std::vector<ClassReads> reads;  // ascending by class

  bool known() const { return outcome != v1::OUTCOME_UNSPECIFIED; }
  bool failed() const {
    return outcome == v1::OUTCOME_FAIL || outcome == v1::OUTCOME_ERROR;
  }
};

// A categorical context feature.
struct ContextFeature {
  std::string field;  // path of trace::TraceField
  std::string value;  // the text, or the word
  bool word = false;  // `field` has the word, rather than equals the value
};

// What hashed keys stand for; filled while runs are extracted. Not
// thread-safe.
struct FeatureNames {
  absl::flat_hash_map<uint64_t, std::string> tokens;  // `channel text`
  absl::flat_hash_map<uint64_t, ContextFeature> context;
  absl::flat_hash_map<uint64_t, std::string> numbers;  // field path
};

// Key of the context feature `field = value` (or `field` has word `value`).
uint64_t ContextKey(absl::string_view field, absl::string_view value,
                    bool word = false);
// Key of a candidate of a route decision: of `decisions.route.chosen = name`.
uint64_t RouteKey(absl::string_view name);
// Key of a class of memory records, `memory.reads.record_class = name`; the
// name is empty where the runtime has no classes.
uint64_t MemoryClassKey(absl::string_view name);
// Key of a numeric context field.
uint64_t NumberKey(absl::string_view field);

// Extracts a run. `names` may be null (the fast path needs only keys).
// Pure; the result depends on `trace` alone. Sequence is left 0.
Run ExtractRun(const v1::Trace& trace, FeatureNames* names);

// Fills in what embedders read of a trace: tokens, scalars and the caller's
// embedding, as ExtractRun does; leaves the rest as it is. Cheaper where `run`
// has served for another trace.
void ExtractFeatures(const v1::Trace& trace, Run* run);

// Applies a later judgement, as ExtractRun would have seen it; what it leaves
// out stays. Tokens of signals that come late get no name.
void ApplyOutcome(const v1::Evaluation& evaluation, Run* run);

}  // namespace faultline::embedding

#endif  // FAULTLINE_LIB_EMBEDDING_RUN_H_
