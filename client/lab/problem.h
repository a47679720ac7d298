#ifndef FAULTLINE_CLIENT_LAB_PROBLEM_H_
#define FAULTLINE_CLIENT_LAB_PROBLEM_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace faultline::lab {

// A family of tasks; also Task.type of its traces.
enum class Family : uint8_t {
  kReasoning,   // `binary_reasoning`: yes or no
  kArithmetic,  // `arithmetic`: a number
  kCorpus,      // `corpus_question`: a word of a small corpus, or `not stated`
  kMemory,      // `changing_facts`: a word, of what notes and a directory say
};

inline constexpr std::array<Family, 4> kFamilies = {
    Family::kReasoning, Family::kArithmetic, Family::kCorpus, Family::kMemory};

constexpr const char* FamilyName(Family family) {
  switch (family) {
    case Family::kReasoning:
      return "binary_reasoning";
    case Family::kArithmetic:
      return "arithmetic";
    case Family::kCorpus:
      return "corpus_question";
    case Family::kMemory:
      return "changing_facts";
  }
  return "";
}

struct Notebook;

// One question with what only the examiner knows. An agent sees `question`
// and, with Family::kMemory, its notebook; `kind` and `answer` reach the side
// file of labels, never a trace.
struct Problem {
  std::string id;
  Family family = Family::kReasoning;
  std::string kind;      // hidden cause, such as `negation` or `format`
  std::string question;  // all that is needed to answer
  std::string answer;    // `yes`, `no`, a decimal number, a word
  uint64_t seed = 0;     // of every random choice of a run of it
  // With Family::kMemory, else null.
  std::shared_ptr<const Notebook> notebook;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_PROBLEM_H_
