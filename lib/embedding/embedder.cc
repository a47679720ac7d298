#include "lib/embedding/embedder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/feature_channel.h"

namespace faultline::embedding {
namespace {

// Part of the fingerprint. Raise it with every change of tokens or formula.
constexpr uint32_t kCodeVersion = 1;

constexpr int kMapCount = 3;
// Coordinates that each token is hashed to, one in each part of its block. One
// alone would let two models of three share a coordinate by chance.
constexpr int kHashes = 4;
// Share of the caller's embedding, as FeatureChannel::share.
constexpr int kCallerShare = 6;
constexpr float kMaxWeight = 100;
constexpr float kMaxZ = 3;
// Contrast weight of log-odds 0 (METHODS 1.2).
const float kNeutralContrast = std::sqrt(0.1f);

absl::Status InvalidOption(absl::string_view field, absl::string_view limit,
                           absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, field, limit,
                            message));
}

absl::Status CheckWeight(absl::string_view field, float weight) {
  if (weight >= 0 && weight <= kMaxWeight) return absl::OkStatus();
  return InvalidOption(field, "0 to 100",
                       absl::StrCat("is ", weight, "; 0 leaves it out"));
}

absl::Status CheckOptions(const Embedder::Options& options) {
  if (options.dimension != 128 && options.dimension != 256 &&
      options.dimension != 512) {
    return InvalidOption("dimension", "128, 256 or 512",
                         absl::StrCat("is ", options.dimension));
  }
  for (const FeatureChannel* channel : FeatureChannels()) {
    FAULTLINE_RETURN_IF_ERROR(CheckWeight(
        absl::StrCat("channel_weight.", channel->name),
        options.channel_weight[static_cast<size_t>(channel->channel)]));
  }
  FAULTLINE_RETURN_IF_ERROR(
      CheckWeight("numeric_weight", options.numeric_weight));
  return CheckWeight("caller_weight", options.caller_weight);
}

template <typename Numbers>
bool AllFinite(const Numbers& numbers) {
  return std::all_of(numbers.begin(), numbers.end(),
                     [](double x) { return std::isfinite(x); });
}

absl::Status CheckCorpus(const v1::CorpusSnapshot& corpus) {
  if (!(corpus.runs() >= 0) || !std::isfinite(corpus.runs())) {
    return InvalidOption("corpus.runs", ">= 0, finite",
                         absl::StrCat("is ", corpus.runs()));
  }
  if (corpus.token_keys_size() != corpus.document_frequency_size()) {
    return InvalidOption(
        "corpus.document_frequency",
        absl::StrCat(corpus.token_keys_size(), " as token_keys"),
        absl::StrCat("has ", corpus.document_frequency_size(), " numbers"));
  }
  const auto& keys = corpus.token_keys();
  if (std::adjacent_find(keys.begin(), keys.end(),
                         std::greater_equal<uint64_t>()) != keys.end()) {
    return InvalidOption("corpus.token_keys", "ascending", "is out of order");
  }
  const auto& frequencies = corpus.document_frequency();
  if (!AllFinite(frequencies) ||
      std::any_of(frequencies.begin(), frequencies.end(),
                  [](float df) { return df < 0; })) {
    return InvalidOption("corpus.document_frequency", ">= 0, finite",
                         "has another number");
  }
  for (const auto* numbers :
       {&corpus.numeric_location(), &corpus.numeric_scale()}) {
    if ((!numbers->empty() && numbers->size() != kNumericCount) ||
        numbers->size() != corpus.numeric_scale_size() ||
        !AllFinite(*numbers)) {
      return InvalidOption(
          "corpus.numeric_location and numeric_scale",
          absl::StrCat("0 or ", kNumericCount, " finite numbers each"),
          "is something else");
    }
  }
  if (!AllFinite(corpus.caller_embedding_mean())) {
    return InvalidOption("corpus.caller_embedding_mean", "finite",
                         "has another number");
  }
  return absl::OkStatus();
}

bool Reads(Map map, Role role) {
  switch (map) {
    case Map::kTrajectory:
      return true;
    case Map::kBehavior:
      return role == Role::kBehavior;
    case Map::kFailure:
      return role != Role::kContext;
  }
  return false;
}

// Dimensions [offset, offset + size) of a vector; size 0: left out.
struct Block {
  int offset = 0;
  int size = 0;
};

struct Layout {
  std::array<Block, kChannelCount> channels;
  Block numeric;
  Block caller;
};

// The scalars get a dimension each; the rest goes by share.
Layout MakeLayout(const Embedder::Options& options, Map map, bool caller) {
  Layout layout;
  std::array<int, kChannelCount> share{};
  int shares = 0;
  for (const FeatureChannel* channel : FeatureChannels()) {
    const auto c = static_cast<size_t>(channel->channel);
    if (!Reads(map, channel->role) || options.channel_weight[c] == 0) continue;
    share[c] = channel->share;
    shares += channel->share;
  }
  // It describes the task, so it is context.
  caller &= map == Map::kTrajectory && options.caller_weight > 0;
  if (caller) shares += kCallerShare;

  int offset = 0;
  if (options.numeric_weight > 0) {
    layout.numeric = {0, kNumericCount};
    offset = kNumericCount;
  }
  const int rest = options.dimension - offset;
  for (size_t c = 0; c < share.size(); ++c) {
    if (share[c] == 0) continue;
    layout.channels[c] = {offset, rest * share[c] / shares};
    offset += layout.channels[c].size;
  }
  if (caller) layout.caller = {offset, rest * kCallerShare / shares};
  return layout;
}

// Adds `amount` of a token to a block of `size` >= kHashes numbers, by signed
// hashing: inner products of blocks are those of the tokens, in the mean.
// `hash` is of the token's key.
void AddHashed(uint64_t hash, float amount, float* block, int size) {
  for (int part = 0; part < kHashes; ++part, hash >>= 16) {
    const int begin = part * size / kHashes;
    const int length = (part + 1) * size / kHashes - begin;
    const int at = begin + static_cast<int>(((hash & 0x7fff) * length) >> 15);
    block[at] += (hash & 0x8000) ? amount : -amount;
  }
}

double SquaredNorm(const float* x, int size) {
  double sum = 0;
  for (int i = 0; i < size; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

// Scales to Euclidean norm `norm`; zero stays zero. Returns whether it is not.
bool Normalize(double norm, float* x, int size) {
  const double squared = SquaredNorm(x, size);
  if (squared == 0) return false;
  const auto factor = static_cast<float>(norm / std::sqrt(squared));
  for (int i = 0; i < size; ++i) x[i] *= factor;
  return true;
}

void AppendBytes(const void* data, size_t size, std::string* out) {
  out->append(static_cast<const char*>(data), size);
}

template <typename Number>
void AppendNumber(Number number, std::string* out) {
  AppendBytes(&number, sizeof(number), out);
}

template <typename Numbers>
void AppendNumbers(const Numbers& numbers, std::string* out) {
  AppendNumber(static_cast<uint64_t>(numbers.size()), out);
  for (const auto number : numbers) AppendNumber(number, out);
}

// Of what vectors depend on: an epoch with equal counts gives equal vectors.
std::string Fingerprint(const Embedder::Options& options,
                        const v1::CorpusSnapshot& corpus) {
  std::string bytes;
  AppendNumber(kCodeVersion, &bytes);
  AppendNumber(options.dimension, &bytes);
  AppendNumbers(options.channel_weight, &bytes);
  AppendNumber(options.numeric_weight, &bytes);
  AppendNumber(options.caller_weight, &bytes);
  AppendNumber(corpus.runs(), &bytes);
  AppendNumbers(corpus.token_keys(), &bytes);
  AppendNumbers(corpus.document_frequency(), &bytes);
  AppendNumbers(corpus.numeric_location(), &bytes);
  AppendNumbers(corpus.numeric_scale(), &bytes);
  AppendNumbers(corpus.caller_embedding_mean(), &bytes);
  return absl::StrFormat("%016x", base::Hash64(bytes));
}

// Weights of a token by how many of the runs have it.
struct TokenWeight {
  float behavior;  // inverse document frequency plus 1 (METHODS 1.2)
  float context;   // twice the standard deviation of presence (ADR 0003)
};

TokenWeight WeighToken(double runs, double frequency) {
  const double share = std::min(1.0, (1 + frequency) / (2 + runs));
  return {static_cast<float>(std::log((1 + runs) / (1 + frequency)) + 1),
          static_cast<float>(2 * std::sqrt(share * (1 - share)))};
}

class HashingEmbedder final : public Embedder {
 public:
  HashingEmbedder(const Options& options, const v1::CorpusSnapshot& corpus)
      : options_(options),
        epoch_(corpus.epoch()),
        fingerprint_(Fingerprint(options, corpus)),
        caller_mean_(corpus.caller_embedding_mean().begin(),
                     corpus.caller_embedding_mean().end()),
        absent_(WeighToken(corpus.runs(), 0)) {
    for (int map = 0; map < kMapCount; ++map) {
      layouts_[map] =
          MakeLayout(options, static_cast<Map>(map), !caller_mean_.empty());
    }
    for (const FeatureChannel* channel : FeatureChannels()) {
      is_context_[static_cast<size_t>(channel->channel)] =
          channel->role == Role::kContext;
    }
    weights_.reserve(corpus.token_keys_size());
    for (int i = 0; i < corpus.token_keys_size(); ++i) {
      // Decay rounds, so a frequency may pass the number of runs by a hair.
      const double frequency =
          std::min<double>(corpus.document_frequency(i), corpus.runs());
      weights_.emplace(corpus.token_keys(i),
                       WeighToken(corpus.runs(), frequency));
    }
    std::copy(corpus.numeric_location().begin(),
              corpus.numeric_location().end(), location_.begin());
    std::copy(corpus.numeric_scale().begin(), corpus.numeric_scale().end(),
              scale_.begin());
  }

  void Embed(const Run& run, Map map, const ContrastWeights* contrast,
             absl::Span<float> out) const override;
  void EmbedViews(const Run& run, absl::Span<float> trajectory,
                  absl::Span<float> behavior) const override;

  std::vector<ColumnRange> Blocks(
      Map map, absl::Span<const Channel> without) const override;
  ColumnRange Columns(Map map, Channel channel) const override;
  int dimension() const override { return options_.dimension; }
  uint64_t epoch() const override { return epoch_; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  // How much of a token a vector holds, contrast aside.
  float Amount(const TokenCount& token) const;
  // Scales the channels, adds the rest and scales the whole. `out` holds the
  // tokens.
  void Finish(const Run& run, const Layout& layout,
              absl::Span<float> out) const;
  // Returns whether it wrote something other than 0.
  bool EmbedCaller(const Run& run, const Block& block, float* out) const;
  void EmbedNumeric(const Run& run, float* block) const;

  const Options options_;
  const uint64_t epoch_;
  const std::string fingerprint_;
  const std::vector<float> caller_mean_;
  const TokenWeight absent_;
  std::array<Layout, kMapCount> layouts_;
  std::array<bool, kChannelCount> is_context_{};
  absl::flat_hash_map<uint64_t, TokenWeight> weights_;
  std::array<float, kNumericCount> location_{};
  std::array<float, kNumericCount> scale_{};  // 0: the scalar is left out
};

void HashingEmbedder::Embed(const Run& run, Map map,
                            const ContrastWeights* contrast,
                            absl::Span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0f);
  const Layout& layout = layouts_[static_cast<size_t>(map)];
  if (map != Map::kFailure) contrast = nullptr;
  for (const TokenCount& token : run.tokens) {
    const Block& block = layout.channels[static_cast<size_t>(token.channel)];
    if (block.size == 0) continue;
    float amount = Amount(token);
    if (contrast) {
      const auto entry = contrast->find(token.key);
      amount *= entry == contrast->end() ? kNeutralContrast : entry->second;
    }
    AddHashed(base::Mix64(token.key), amount, out.data() + block.offset,
              block.size);
  }
  Finish(run, layout, out);
}

void HashingEmbedder::EmbedViews(const Run& run, absl::Span<float> trajectory,
                                 absl::Span<float> behavior) const {
  std::fill(trajectory.begin(), trajectory.end(), 0.0f);
  std::fill(behavior.begin(), behavior.end(), 0.0f);
  const Layout& whole = layouts_[static_cast<size_t>(Map::kTrajectory)];
  const Layout& part = layouts_[static_cast<size_t>(Map::kBehavior)];
  for (const TokenCount& token : run.tokens) {
    const auto channel = static_cast<size_t>(token.channel);
    const Block& in_whole = whole.channels[channel];
    if (in_whole.size == 0) continue;
    const float amount = Amount(token);
    const uint64_t hash = base::Mix64(token.key);
    AddHashed(hash, amount, trajectory.data() + in_whole.offset, in_whole.size);
    const Block& in_part = part.channels[channel];
    if (in_part.size == 0) continue;
    AddHashed(hash, amount, behavior.data() + in_part.offset, in_part.size);
  }
  Finish(run, whole, trajectory);
  Finish(run, part, behavior);
}

std::vector<ColumnRange> HashingEmbedder::Blocks(
    Map map, absl::Span<const Channel> without) const {
  const Layout& layout = layouts_[static_cast<size_t>(map)];
  std::vector<ColumnRange> ranges;
  const auto add = [&ranges](const Block& block) {
    if (block.size > 0) ranges.push_back({block.offset, block.size});
  };
  for (size_t c = 0; c < layout.channels.size(); ++c) {
    if (!absl::c_linear_search(without, static_cast<Channel>(c))) {
      add(layout.channels[c]);
    }
  }
  add(layout.numeric);
  add(layout.caller);
  return ranges;
}

ColumnRange HashingEmbedder::Columns(Map map, Channel channel) const {
  const Block& block =
      layouts_[static_cast<size_t>(map)].channels[static_cast<size_t>(channel)];
  return {block.offset, block.size};
}

float HashingEmbedder::Amount(const TokenCount& token) const {
  const auto found = weights_.find(token.key);
  const TokenWeight& weight = found == weights_.end() ? absent_ : found->second;
  if (is_context_[static_cast<size_t>(token.channel)]) {
    return weight.context * token.count;
  }
  // Nearly every token of a behaviour channel is there once or twice.
  static const float kLogOfTwo = std::log1p(1.0f);
  return weight.behavior *
         (token.count == 1 ? kLogOfTwo : std::log1p(token.count));
}

void HashingEmbedder::Finish(const Run& run, const Layout& layout,
                             absl::Span<float> out) const {
  bool any = false;
  for (size_t c = 0; c < layout.channels.size(); ++c) {
    const Block& block = layout.channels[c];
    any |= Normalize(std::sqrt(options_.channel_weight[c]),
                     out.data() + block.offset, block.size);
  }
  any |= EmbedCaller(run, layout.caller, out.data());
  if (!any) return;
  if (layout.numeric.size > 0) {
    EmbedNumeric(run, out.data() + layout.numeric.offset);
  }
  Normalize(1, out.data(), static_cast<int>(out.size()));
}

bool HashingEmbedder::EmbedCaller(const Run& run, const Block& block,
                                  float* out) const {
  if (block.size == 0 || run.caller_embedding.size() != caller_mean_.size()) {
    return false;
  }
  const auto length = static_cast<float>(
      std::sqrt(SquaredNorm(run.caller_embedding.data(),
                            static_cast<int>(run.caller_embedding.size()))));
  if (length == 0) return false;
  for (size_t i = 0; i < caller_mean_.size(); ++i) {
    AddHashed(base::Mix64(i),
              run.caller_embedding[i] / length - caller_mean_[i],
              out + block.offset, block.size);
  }
  return Normalize(std::sqrt(options_.caller_weight), out + block.offset,
                   block.size);
}

void HashingEmbedder::EmbedNumeric(const Run& run, float* block) const {
  const float factor = std::sqrt(options_.numeric_weight / kNumericCount);
  for (int i = 0; i < kNumericCount; ++i) {
    if (std::isnan(run.numeric[i]) || scale_[i] <= 0) continue;
    const float z = (run.numeric[i] - location_[i]) / scale_[i];
    block[i] = factor * std::clamp(z, -kMaxZ, kMaxZ) / kMaxZ;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Embedder>> Embedder::Create(
    const Options& options, const v1::CorpusSnapshot& corpus) {
  FAULTLINE_RETURN_IF_ERROR(ValidateChannels(FeatureChannels()));
  FAULTLINE_RETURN_IF_ERROR(CheckOptions(options));
  FAULTLINE_RETURN_IF_ERROR(CheckCorpus(corpus));
  return std::make_unique<const HashingEmbedder>(options, corpus);
}

std::vector<float> EmbedInView(const Embedder& embedder, const Run& run,
                               v1::View view) {
  std::vector<float> vector(embedder.dimension());
  embedder.Embed(run,
                 view == v1::VIEW_BEHAVIOR ? Map::kBehavior : Map::kTrajectory,
                 nullptr, absl::MakeSpan(vector));
  return vector;
}

double Distance(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

}  // namespace faultline::embedding
