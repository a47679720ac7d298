#include "client/importers/error_class.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace faultline::importers {
namespace {

constexpr size_t kMaxWords = 6;
constexpr size_t kMaxWordBytes = 32;

bool IsWordEnd(char c) {
  return absl::ascii_isspace(static_cast<unsigned char>(c));
}

bool IsExceptionName(absl::string_view word) {
  return absl::ascii_isupper(static_cast<unsigned char>(word[0])) &&
         ((absl::EndsWith(word, "Error") && word.size() > 5) ||
          (absl::EndsWith(word, "Exception") && word.size() > 9));
}

bool IsAllLetters(absl::string_view word) {
  for (const char c : word) {
    if (!absl::ascii_isalpha(static_cast<unsigned char>(c)) && c != '-') {
      return false;
    }
  }
  return !word.empty();
}

absl::string_view StripAround(absl::string_view word,
                              absl::string_view symbols) {
  while (!word.empty() && absl::StrContains(symbols, word.front())) {
    word.remove_prefix(1);
  }
  while (!word.empty() && absl::StrContains(symbols, word.back())) {
    word.remove_suffix(1);
  }
  return word;
}

}  // namespace

std::string ErrorClass(absl::string_view text) {
  std::vector<std::string> words;
  bool seen_error = false;
  bool complete = false;  // only an exception's name is still looked for
  char quote = 0;         // set inside a quoted part
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !IsWordEnd(text[end])) ++end;
    const absl::string_view token = text.substr(begin, end - begin);
    begin = end + 1;
    if (token.empty()) continue;
    const absl::string_view bare = StripAround(token, "\"'`[](){}<>,;:.!?");
    if (!bare.empty() && IsExceptionName(bare)) return absl::StrCat(bare);
    if (!seen_error && absl::EqualsIgnoreCase(bare, "error")) {
      seen_error = true;
      complete = false;
      words.clear();
      quote = 0;
      // `Error executing ...` keeps its first word, `Error: ...` does not.
      if (token.size() == bare.size()) words.push_back("error");
      continue;
    }
    if (complete) continue;
    if (quote == 0 && (token[0] == '\'' || token[0] == '`')) quote = token[0];
    const bool quoted = quote != 0;
    if (quoted && absl::StrContains(token.substr(token[0] == quote), quote)) {
      quote = 0;
    }
    if (quoted || !IsAllLetters(bare) || bare.size() > kMaxWordBytes) continue;
    words.push_back(absl::AsciiStrToLower(bare));
    const bool clause_ends = absl::StrContains(".,;:)", token.back());
    complete = words.size() >= kMaxWords || (clause_ends && words.size() >= 2);
  }
  return absl::StrJoin(words, "_");
}

}  // namespace faultline::importers
