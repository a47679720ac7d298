#include "client/lab/arithmetic_world.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/lab/calculator.h"

namespace faultline::lab {
namespace {

constexpr const char* kNames[] = {"Ada",  "Ben",  "Cleo", "Emil", "Greta",
                                  "Hugo", "Kira", "Nils", "Rosa", "Tara"};
constexpr const char* kThings[] = {"coins", "books", "apples", "stamps",
                                   "lamps", "pens",  "tickets"};

uint64_t From(uint64_t low, uint64_t high, base::Random* random) {
  return low + random->Below(high - low + 1);
}

template <size_t n>
std::string Pick(const char* const (&items)[n], base::Random* random) {
  return items[random->Below(n)];
}

std::string Ask(absl::string_view expression, base::Random* random) {
  switch (random->Below(4)) {
    case 0:
      return absl::StrCat("Calculate ", expression, ".");
    case 1:
      return absl::StrCat("Work out ", expression, ".");
    case 2:
      return absl::StrCat("How much is ", expression, "?");
    default:
      return absl::StrCat("What is ", expression, "?");
  }
}

// `value` with a comma before every third digit from the right.
std::string Grouped(uint64_t value) {
  std::string text = absl::StrCat(value);
  for (size_t i = 3; i < text.size(); i += 4) text.insert(text.size() - i, ",");
  return text;
}

void SetAnswer(absl::string_view expression, Problem* problem) {
  // The generators write nothing but the calculator's grammar.
  problem->answer = NumberText(Calculate(expression).value());
}

void MakeStory(base::Random* random, Problem* problem) {
  const uint64_t a = From(20, 90, random);
  const uint64_t b = From(2, 19, random);
  const std::string name = Pick(kNames, random);
  const std::string things = Pick(kThings, random);
  const bool gains = random->Bernoulli(.5);
  problem->question =
      absl::StrCat(name, " has ", a, " ", things, " and ",
                   gains ? "buys " : "loses ", b, gains ? " more" : " of them",
                   ". How many ", things, " does ", name, " have now?");
  SetAnswer(absl::StrCat(a, gains ? " + " : " - ", b), problem);
}

void MakePlain(base::Random* random, Problem* problem) {
  if (random->Bernoulli(.35)) return MakeStory(random, problem);
  uint64_t a = From(11, 99, random);
  uint64_t b = From(2, 99, random);
  if (a < b) std::swap(a, b);
  const char* sign = random->Bernoulli(.55) ? " + " : " - ";
  if (random->Bernoulli(.2)) {
    sign = " * ";
    b = From(2, 9, random);
  }
  const std::string expression = absl::StrCat(a, sign, b);
  problem->question = Ask(expression, random);
  SetAnswer(expression, problem);
}

void MakeLong(base::Random* random, Problem* problem) {
  if (random->Bernoulli(.3)) {
    const std::string large =
        absl::StrCat(From(1100, 9900, random), " + ", From(1100, 9900, random));
    problem->question = Ask(large, random);
    return SetAnswer(large, problem);
  }
  std::string expression = absl::StrCat(From(11, 99, random));
  const uint64_t terms = From(3, 7, random);
  for (uint64_t i = 1; i < terms; ++i) {
    const double sign = random->Uniform();
    absl::StrAppend(&expression,
                    sign < .4 ? " + " : (sign < .65 ? " - " : " * "),
                    From(2, 60, random));
  }
  problem->question = Ask(expression, random);
  SetAnswer(expression, problem);
}

void MakeFormat(base::Random* random, Problem* problem) {
  const uint64_t a = From(1100, 9900, random);
  const uint64_t b = From(1100, 9900, random);
  const double form = random->Uniform();
  if (form < .45) {
    const uint64_t c = From(12, 480, random);
    const std::string middle = random->Bernoulli(.6) ? " + " : " - ";
    problem->question =
        Ask(absl::StrCat(Grouped(a + b), middle, Grouped(b), " + ", c), random);
    SetAnswer(absl::StrCat(a + b, middle, b, " + ", c), problem);
  } else if (form < .7) {
    const uint64_t c = From(3, 40, random);
    const std::string expression =
        absl::StrCat(a, " * ", c, random->Bernoulli(.5) ? " - " : " + ", b);
    problem->question =
        Ask(absl::StrReplaceAll(expression, {{"*", "×"}, {"-", "−"}}), random);
    SetAnswer(expression, problem);
  } else if (form < .85) {
    const uint64_t percent = 5 * From(1, 15, random);
    const uint64_t whole = 20 * From(5, 90, random);
    problem->question = Ask(absl::StrCat(percent, "% of ", whole), random);
    SetAnswer(absl::StrCat(percent, " / 100 * ", whole), problem);
  } else {
    const uint64_t c = From(12, 60, random);
    const uint64_t d = From(3, 40, random);
    problem->question =
        Ask(absl::StrCat(c, " plus ", d, " times ", b % 90 + 10), random);
    SetAnswer(absl::StrCat(c, " + ", d, " * ", b % 90 + 10), problem);
  }
}

void MakeWording(base::Random* random, Problem* problem) {
  const uint64_t a = 2 * From(6, 45, random);
  const uint64_t b = From(3, 30, random);
  switch (random->Below(3)) {
    case 0:
      problem->question = Ask(absl::StrCat("half of ", a, " + ", b), random);
      SetAnswer(absl::StrCat(a, " / 2 + ", b), problem);
      break;
    case 1:
      problem->question = Ask(absl::StrCat("twice ", a, " - ", b), random);
      SetAnswer(absl::StrCat("2 * ", a, " - ", b), problem);
      break;
    default:
      problem->question = Ask(absl::StrCat(b, " dozen + ", a), random);
      SetAnswer(absl::StrCat(b, " * 12 + ", a), problem);
      break;
  }
}

}  // namespace

Problem MakeArithmeticProblem(base::Random* random) {
  Problem problem;
  problem.family = Family::kArithmetic;
  const double kind = random->Uniform();
  if (kind < .52) {
    problem.kind = "plain";
    MakePlain(random, &problem);
  } else if (kind < .75) {
    problem.kind = "long";
    MakeLong(random, &problem);
  } else if (kind < .96) {
    problem.kind = "format";
    MakeFormat(random, &problem);
  } else {
    problem.kind = "wording";
    MakeWording(random, &problem);
  }
  return problem;
}

}  // namespace faultline::lab
