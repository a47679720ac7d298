#ifndef FAULTLINE_LIB_EMBEDDING_FEATURE_CHANNEL_H_
#define FAULTLINE_LIB_EMBEDDING_FEATURE_CHANNEL_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/run.h"

namespace faultline::embedding {

// Role of a channel in the analysis (METHODS 0.1); it decides which maps read
// it.
enum class Role : uint8_t {
  kBehavior,  // every map
  kSignal,    // trajectory map and failure map
  kContext,   // trajectory map
};

// One step, read once for all channels.
struct StepView {
  const v1::Step* step;
  // What transitions call it: the normalised name of a tool; `llm`; `user`;
  // else the kind, with the normalised name after a colon where it has one.
  std::string label;
  // Normalised error type, or the first words of the message, or `unknown`.
  // Empty where the step did not fail.
  std::string error;

  bool failed() const { return !error.empty(); }
  // Neither a model's nor the user's turn: what the run did to the world.
  bool action() const {
    return step->kind() != v1::Step::KIND_LLM &&
           step->kind() != v1::Step::KIND_USER;
  }
};

// A trace as channels see it. Holds pointers into `source`, which must
// outlive it.
struct TraceView {
  explicit TraceView(const v1::Trace& source);

  // Answers are out of bounds: channels may read no evaluation but
  // `evaluation.signals`, and no annotation.
  const v1::Trace& trace;
  std::vector<StepView> steps;
};

// Longest run of equal labels among the actions; model and user turns between
// them do not break it. 0 where there is no action.
int LongestRepetition(const TraceView& view);

// Receives the tokens of one run, channel by channel. Not thread-safe.
class TokenSink {
 public:
  // `names` may be null; it must outlive the sink. `scratch` lends its memory.
  explicit TokenSink(FeatureNames* names, std::vector<TokenCount> scratch = {})
      : names_(names), tokens_(std::move(scratch)) {
    tokens_.clear();
  }

  // Channel of the tokens that follow. Channels come ascending.
  void BeginChannel(Channel channel, absl::string_view name);

  // Adds `count` > 0 of the token whose text is the pieces put together.
  void Add(std::initializer_list<absl::string_view> pieces, float count = 1);

  // The tokens, merged, ascending by (channel, key).
  std::vector<TokenCount> Finish();

 private:
  // Sorts and merges the tokens of the current channel.
  void EndChannel();
  void AddText(absl::string_view text, float count);

  FeatureNames* const names_;
  Channel channel_{};
  absl::string_view channel_name_;
  std::vector<TokenCount> tokens_;
  size_t channel_begin_ = 0;  // in tokens_
};

// A part of the behaviour embedding. Stateless; one constant in
// channels/NAME_channel.cc and one line in channel_list.cc each. A new channel
// also takes a value of Channel and a weight in Embedder::Options.
struct FeatureChannel {
  Channel channel;
  absl::string_view name;  // [a-z]+
  Role role;
  // Dimensions of its block, relative to the other channels of a map.
  int share;
  // Adds the tokens of a run. Pure.
  void (*extract)(const TraceView& view, TokenSink* sink);
};

// Every channel, ascending by Channel.
absl::Span<const FeatureChannel* const> FeatureChannels();

// INTERNAL where a channel or a name is there twice, a channel is missing or
// out of order, or a share is not positive.
absl::Status ValidateChannels(absl::Span<const FeatureChannel* const> channels);

// Lower case; runs of digits and long hexadecimal ids become `#`, so that
// `get_order_17` and `get_order_18` are one name.
std::string NormalizeName(absl::string_view name);

// Bucket of a number, for tokens: 0, the fifth of (0, 1), or the power of two.
std::string NumberBucket(double value);

// Bucket of a count: 0, 1, 2, 3-4, 5-8, more.
absl::string_view CountBucket(size_t count);

}  // namespace faultline::embedding

#endif  // FAULTLINE_LIB_EMBEDDING_FEATURE_CHANNEL_H_
