#ifndef FAULTLINE_LIB_INTERVENE_ARGUMENT_PATTERN_H_
#define FAULTLINE_LIB_INTERVENE_ARGUMENT_PATTERN_H_

#include <optional>
#include <string>
#include <vector>

namespace faultline::intervene {

// An RE2 pattern, to be anchored at both ends, that at least 98 % of `good`
// match and at least 70 % of `bad` do not. Tried from general to special, so
// that it does not learn the sample by heart: a class of characters, with all
// signs of arithmetic where some are used; a common prefix and a class; a shape
// such as `[a-z]+_[0-9]+`. Digits, lower-case and
// upper-case letters are taken as whole classes, other characters one by one.
// None where there are fewer than 20 good or 8 bad texts, where no such pattern
// has at most 512 bytes, or where a pattern made of one half of the texts does
// not tell apart the other half.
std::optional<std::string> DerivePattern(const std::vector<std::string>& good,
                                         const std::vector<std::string>& bad);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_ARGUMENT_PATTERN_H_
