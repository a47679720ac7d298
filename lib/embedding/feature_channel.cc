#include "lib/embedding/feature_channel.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/trace/trace_field.h"

namespace faultline::embedding {
namespace {

// Shortest segment with a digit that is taken for a hexadecimal id.
constexpr size_t kMinHexId = 8;
// Words of an error message that stand for its type.
constexpr int kMessageWords = 4;
// Length up to which a token's text is put together on the stack.
constexpr size_t kShortToken = 256;

bool IsHexId(absl::string_view segment) {
  if (segment.size() < kMinHexId) return false;
  bool digit = false;
  for (const char c : segment) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
    digit |= absl::ascii_isdigit(static_cast<unsigned char>(c));
  }
  return digit;
}

std::string ErrorOf(const v1::Step& step) {
  if (step.status() != v1::Step::STATUS_ERROR && step.error_type().empty()) {
    return "";
  }
  if (!step.error_type().empty()) return NormalizeName(step.error_type());
  std::string type;
  int words = 0;
  // Later words of a message tend to name the instance, not the class.
  trace::VisitWords(step.error_message(), [&](absl::string_view word) {
    if (words == kMessageWords || word == "error" ||
        std::any_of(word.begin(), word.end(),
                    [](unsigned char c) { return absl::ascii_isdigit(c); })) {
      return;
    }
    absl::StrAppend(&type, words++ == 0 ? "" : " ", word);
  });
  return type.empty() ? "unknown" : type;
}

std::string WithName(absl::string_view kind, absl::string_view name) {
  if (name.empty()) return std::string(kind);
  return absl::StrCat(kind, ":", NormalizeName(name));
}

std::string LabelOf(const v1::Step& step) {
  switch (step.kind()) {
    case v1::Step::KIND_LLM:
      return "llm";
    case v1::Step::KIND_USER:
      return "user";
    case v1::Step::KIND_TOOL:
      return step.name().empty() ? "tool" : NormalizeName(step.name());
    case v1::Step::KIND_RETRIEVAL:
      return WithName("retrieval", step.name());
    case v1::Step::KIND_MEMORY:
      return WithName("memory", step.name());
    case v1::Step::KIND_HANDOFF:
      return WithName("handoff", step.name());
    case v1::Step::KIND_GUARDRAIL:
      return WithName("guardrail", step.name());
    default:  // unset, or a kind of a later release
      return "step";
  }
}

}  // namespace

TraceView::TraceView(const v1::Trace& source) : trace(source) {
  steps.reserve(trace.steps_size());
  for (const v1::Step& step : trace.steps()) {
    steps.push_back({&step, LabelOf(step), ErrorOf(step)});
  }
}

int LongestRepetition(const TraceView& view) {
  int longest = 0;
  int current = 0;
  const StepView* previous = nullptr;
  for (const StepView& step : view.steps) {
    if (!step.action()) continue;
    current = previous && previous->label == step.label ? current + 1 : 1;
    longest = std::max(longest, current);
    previous = &step;
  }
  return longest;
}

void TokenSink::BeginChannel(Channel channel, absl::string_view name) {
  EndChannel();
  channel_ = channel;
  channel_name_ = name;
}

void TokenSink::Add(std::initializer_list<absl::string_view> pieces,
                    float count) {
  size_t size = 0;
  for (const absl::string_view piece : pieces) size += piece.size();
  std::array<char, kShortToken> buffer;
  if (size > buffer.size()) {
    std::string text;
    for (const absl::string_view piece : pieces) absl::StrAppend(&text, piece);
    return AddText(text, count);
  }
  char* end = buffer.data();
  for (const absl::string_view piece : pieces) {
    end = std::copy(piece.begin(), piece.end(), end);
  }
  AddText(absl::string_view(buffer.data(), size), count);
}

void TokenSink::AddText(absl::string_view text, float count) {
  const uint64_t key = base::Hash64(text, 1 + static_cast<uint64_t>(channel_));
  tokens_.push_back({key, count, channel_});
  if (names_) {
    names_->tokens.try_emplace(key, absl::StrCat(channel_name_, " ", text));
  }
}

void TokenSink::EndChannel() {
  const auto begin = tokens_.begin() + channel_begin_;
  std::sort(begin, tokens_.end(), [](const TokenCount& a, const TokenCount& b) {
    return a.key < b.key;
  });
  auto kept = begin;
  for (auto token = begin; token != tokens_.end(); ++token) {
    if (kept != begin && (kept - 1)->key == token->key) {
      (kept - 1)->count += token->count;
    } else {
      *kept++ = *token;
    }
  }
  tokens_.erase(kept, tokens_.end());
  channel_begin_ = tokens_.size();
}

std::vector<TokenCount> TokenSink::Finish() {
  EndChannel();
  return std::move(tokens_);
}

std::string NormalizeName(absl::string_view name) {
  const auto is_word = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           static_cast<unsigned char>(c) >= 0x80;
  };
  const auto is_digit = [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  };
  std::string result;
  result.reserve(name.size());
  for (size_t i = 0; i < name.size();) {
    if (!is_word(name[i])) {
      result.push_back(name[i++]);
      continue;
    }
    size_t end = i;
    while (end < name.size() && is_word(name[end])) ++end;
    if (IsHexId(name.substr(i, end - i))) {
      result.push_back('#');
      i = end;
      continue;
    }
    while (i < end) {
      if (is_digit(name[i])) {
        result.push_back('#');
        while (i < end && is_digit(name[i])) ++i;
      } else {
        result.push_back(
            absl::ascii_tolower(static_cast<unsigned char>(name[i++])));
      }
    }
  }
  return result;
}

std::string NumberBucket(double value) {
  if (!std::isfinite(value)) return "nan";
  const absl::string_view sign = value < 0 ? "-" : "";
  const double magnitude = std::abs(value);
  if (magnitude == 0) return "0";
  if (magnitude < 1) {
    return absl::StrCat(sign, "f", static_cast<int>(magnitude * 5));
  }
  return absl::StrCat(sign, "e", std::ilogb(magnitude));
}

absl::string_view CountBucket(size_t count) {
  static constexpr std::array<absl::string_view, 3> kSmall = {"0", "1", "2"};
  if (count < kSmall.size()) return kSmall[count];
  if (count <= 4) return "3-4";
  return count <= 8 ? "5-8" : "9+";
}

absl::Status ValidateChannels(
    absl::Span<const FeatureChannel* const> channels) {
  if (channels.size() != kChannelCount) {
    return absl::InternalError(absl::StrCat("channel list has ",
                                            channels.size(), " channels, not ",
                                            kChannelCount));
  }
  for (size_t i = 0; i < channels.size(); ++i) {
    const FeatureChannel& channel = *channels[i];
    if (static_cast<size_t>(channel.channel) != i) {
      return absl::InternalError(absl::StrCat("channel ", channel.name,
                                              " is there twice or out of ",
                                              "order at position ", i));
    }
    for (size_t j = 0; j < i; ++j) {
      if (channels[j]->name == channel.name) {
        return absl::InternalError(
            absl::StrCat("two channels are called ", channel.name));
      }
    }
    if (channel.share < 1) {
      return absl::InternalError(
          absl::StrCat("channel ", channel.name, " has no share"));
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline::embedding
