#include "lib/intervene/argument_pattern.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "re2/re2.h"

namespace faultline::intervene {
namespace {

constexpr size_t kMinGood = 20;
constexpr size_t kMinBad = 8;
constexpr size_t kMaxPatternBytes = 512;
constexpr size_t kMaxSegments = 12;
// A character in fewer good texts than this share is an exception.
constexpr double kRare = 0.015;

// What a pattern must do on the texts that it was made of, and on others.
struct Demand {
  double good_matched;
  double bad_refused;
};
constexpr Demand kOnSample = {0.98, 0.7};
constexpr Demand kAcrossHalves = {0.95, 0.6};

enum class Class { kDigit, kLower, kUpper, kOther };

Class ClassOf(char c) {
  if (c >= '0' && c <= '9') return Class::kDigit;
  if (c >= 'a' && c <= 'z') return Class::kLower;
  if (c >= 'A' && c <= 'Z') return Class::kUpper;
  return Class::kOther;
}

absl::string_view RangeOf(Class type) {
  switch (type) {
    case Class::kDigit:
      return "0-9";
    case Class::kLower:
      return "a-z";
    case Class::kUpper:
      return "A-Z";
    case Class::kOther:
      break;
  }
  return "";
}

// The text as a pattern; RE2::QuoteMeta would escape more than a reader likes.
std::string Quote(absl::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (absl::StrContains(R"(\.+*?()|[]{}^$)", c)) quoted += '\\';
    quoted += c;
  }
  return quoted;
}

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// `[0-9+. \-]+`: the characters of the texts, but for rare ones. Empty where
// every text is.
std::string CharacterClass(const std::vector<absl::string_view>& texts,
                           absl::string_view also = "") {
  std::array<size_t, 256> texts_with{};
  bool has_empty = false;
  for (const absl::string_view text : texts) {
    has_empty |= text.empty();
    std::array<bool, 256> seen{};
    for (const char c : text) seen[static_cast<unsigned char>(c)] = true;
    for (int c = 0; c < 256; ++c) texts_with[c] += seen[c] ? 1 : 0;
  }
  for (const char c : also) {
    texts_with[static_cast<unsigned char>(c)] = texts.size();
  }
  std::array<bool, 3> ranges{};
  std::string others;
  bool beyond_ascii = false;
  for (int c = 0; c < 256; ++c) {
    if (texts_with[c] == 0 || texts_with[c] < kRare * texts.size()) continue;
    const Class type = ClassOf(static_cast<char>(c));
    if (type != Class::kOther) {
      ranges[static_cast<int>(type)] = true;
    } else if (c >= 0x80) {
      beyond_ascii = true;
    } else {
      if (c == '\\' || c == ']' || c == '[' || c == '^' || c == '-') {
        others += '\\';
      }
      others += static_cast<char>(c);
    }
  }
  std::string members;
  for (const Class type : {Class::kDigit, Class::kLower, Class::kUpper}) {
    if (ranges[static_cast<int>(type)])
      absl::StrAppend(&members, RangeOf(type));
  }
  absl::StrAppend(&members, others);
  if (beyond_ascii) absl::StrAppend(&members, R"(\x{80}-\x{10FFFF})");
  if (members.empty()) return "";
  return absl::StrCat("[", members, "]", has_empty ? "*" : "+");
}

std::string ClassPattern(const std::vector<std::string>& good) {
  return CharacterClass({good.begin(), good.end()});
}

// Where the good texts use two signs of arithmetic, the others are as good.
std::string ArithmeticPattern(const std::vector<std::string>& good) {
  constexpr absl::string_view kSigns = "+-*/().";
  const auto used = std::count_if(kSigns.begin(), kSigns.end(), [&](char c) {
    return std::any_of(good.begin(), good.end(), [c](const std::string& text) {
      return absl::StrContains(text, c);
    });
  });
  if (used < 2) return "";
  return CharacterClass({good.begin(), good.end()}, kSigns);
}

// Common prefix, cut back to where the kind of character changes: `#W` of
// `#W1` and `#W2`, but nothing of `red` and `rent`.
std::string PrefixPattern(const std::vector<std::string>& good) {
  const auto extremes = std::minmax_element(good.begin(), good.end());
  const std::string& least = *extremes.first;
  const std::string& most = *extremes.second;
  size_t length =
      std::mismatch(least.begin(),
                    least.begin() + std::min(least.size(), most.size()),
                    most.begin())
          .first -
      least.begin();
  const auto splits_a_word = [&](size_t at) {
    const char last = least[at - 1];
    if (!IsAscii(last)) return true;
    if (ClassOf(last) == Class::kOther) return false;
    return std::any_of(good.begin(), good.end(), [&](const std::string& text) {
      return text.size() > at && ClassOf(text[at]) == ClassOf(last);
    });
  };
  while (length > 0 && splits_a_word(length)) --length;
  if (length == 0) return "";
  std::vector<absl::string_view> rest;
  rest.reserve(good.size());
  for (const std::string& text : good) {
    rest.push_back(absl::string_view(text).substr(length));
  }
  return absl::StrCat(Quote(absl::string_view(least).substr(0, length)),
                      CharacterClass(rest));
}

// The most frequent sequence of runs of one class, other characters as they
// are: `[a-z]+_[0-9]+`.
std::string ShapePattern(const std::vector<std::string>& good) {
  std::map<std::string, size_t> shapes;
  for (const std::string& text : good) {
    std::string shape;
    size_t segments = 0;
    for (size_t i = 0; i < text.size();) {
      const Class type = ClassOf(text[i]);
      size_t end = i + 1;
      if (type == Class::kOther) {
        while (end < text.size() && !IsAscii(text[i]) && !IsAscii(text[end])) {
          ++end;
        }
        absl::StrAppend(&shape,
                        Quote(absl::string_view(text).substr(i, end - i)));
      } else {
        while (end < text.size() && ClassOf(text[end]) == type) ++end;
        absl::StrAppend(&shape, "[", RangeOf(type), "]+");
      }
      i = end;
      ++segments;
    }
    if (segments > 0 && segments <= kMaxSegments) ++shapes[shape];
  }
  const auto most = std::max_element(
      shapes.begin(), shapes.end(),
      [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == shapes.end() ? "" : most->first;
}

bool Meets(const std::string& pattern, const std::vector<std::string>& good,
           const std::vector<std::string>& bad, const Demand& demand) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) return false;
  RE2::Options options;
  options.set_log_errors(false);
  const RE2 compiled(pattern, options);
  if (!compiled.ok()) return false;
  const auto matched = [&](const std::vector<std::string>& texts) {
    return static_cast<double>(
        std::count_if(texts.begin(), texts.end(), [&](const std::string& text) {
          return RE2::FullMatch(text, compiled);
        }));
  };
  return matched(good) >= demand.good_matched * good.size() &&
         matched(bad) <= (1 - demand.bad_refused) * bad.size();
}

std::string Derive(const std::vector<std::string>& good,
                   const std::vector<std::string>& bad) {
  for (const auto make :
       {ArithmeticPattern, ClassPattern, PrefixPattern, ShapePattern}) {
    std::string pattern = make(good);
    if (Meets(pattern, good, bad, kOnSample)) return pattern;
  }
  return "";
}

std::vector<std::string> Half(const std::vector<std::string>& texts,
                              size_t parity) {
  std::vector<std::string> half;
  for (size_t i = parity; i < texts.size(); i += 2) half.push_back(texts[i]);
  return half;
}

}  // namespace

std::optional<std::string> DerivePattern(const std::vector<std::string>& good,
                                         const std::vector<std::string>& bad) {
  if (good.size() < kMinGood || bad.size() < kMinBad) return std::nullopt;
  std::string pattern = Derive(good, bad);
  if (pattern.empty()) return std::nullopt;
  for (const size_t parity : {0, 1}) {
    const std::string half = Derive(Half(good, parity), Half(bad, parity));
    if (!Meets(half, Half(good, 1 - parity), Half(bad, 1 - parity),
               kAcrossHalves)) {
      return std::nullopt;
    }
  }
  return pattern;
}

}  // namespace faultline::intervene
