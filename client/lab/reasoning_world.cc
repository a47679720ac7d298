#include "client/lab/reasoning_world.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace faultline::lab {
namespace {

constexpr const char* kNames[] = {
    "Ada",  "Ben",   "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo",
    "Iris", "Jonas", "Kira", "Leo",  "Mara", "Nils", "Olga",  "Paul",
    "Rosa", "Sven",  "Tara", "Uwe",  "Vera", "Wim",  "Yara",  "Zeno"};
constexpr const char* kObjects[] = {
    "tea",    "milk",  "coffee", "bread",  "honey",  "maps",  "books", "coins",
    "boats",  "lamps", "chairs", "shoes",  "apples", "pears", "rice",  "salt",
    "clocks", "drums", "kites",  "stamps", "ropes",  "wool",  "paper", "bikes"};
constexpr const char* kVerbs[] = {"like", "own",  "need",
                                  "sell", "want", "make"};
// Word and opposite.
constexpr std::pair<const char*, const char*> kComparatives[] = {
    {"taller", "shorter"}, {"older", "younger"}, {"faster", "slower"}};

// Share of asked questions that use a phrasing never taught.
constexpr double kNovelShare = .09;

struct Fact {
  std::string name;
  std::string verb;  // infinitive
  std::string object;
  bool holds = true;
};

template <typename T, size_t n>
std::vector<T> Draw(const T (&items)[n], size_t count, base::Random* random) {
  std::vector<T> drawn(items, items + n);
  random->Shuffle(&drawn);
  drawn.resize(count);
  return drawn;
}

std::string Clause(const Fact& fact) {
  return absl::StrCat(fact.name, " ", fact.verb, "s ", fact.object);
}

std::string Statement(const Fact& fact, base::Random* random) {
  if (fact.holds) return absl::StrCat(Clause(fact), ".");
  if (random->Bernoulli(.3)) {
    return absl::StrCat(fact.name, " never ", fact.verb, "s ", fact.object,
                        ".");
  }
  return absl::StrCat(fact.name, " does not ", fact.verb, " ", fact.object,
                      ".");
}

// The facts' statements in random order, then the question.
std::string Text(std::vector<std::string> statements,
                 absl::string_view question, base::Random* random) {
  random->Shuffle(&statements);
  return absl::StrCat(absl::StrJoin(statements, " "), " ", question);
}

// Facts about different people and different objects.
std::vector<Fact> MakeFacts(size_t count, base::Random* random) {
  const auto names = Draw(kNames, count, random);
  const auto objects = Draw(kObjects, count, random);
  std::vector<Fact> facts;
  for (size_t i = 0; i < count; ++i) {
    facts.push_back(
        {names[i], kVerbs[random->Below(std::size(kVerbs))], objects[i]});
  }
  return facts;
}

std::vector<std::string> Statements(const std::vector<Fact>& facts,
                                    base::Random* random) {
  std::vector<std::string> statements;
  statements.reserve(facts.size());
  for (const Fact& fact : facts) statements.push_back(Statement(fact, random));
  return statements;
}

// `facts[i]` with an object that makes it false: another one's object
// (`swapped`), or one that no fact mentions.
Fact Falsify(const std::vector<Fact>& facts, size_t i, bool swapped,
             base::Random* random) {
  Fact fact = facts[i];
  if (swapped) {
    fact.object =
        facts[(i + 1 + random->Below(facts.size() - 1)) % facts.size()].object;
    return fact;
  }
  while (true) {
    fact.object = kObjects[random->Below(std::size(kObjects))];
    bool mentioned = false;
    for (const Fact& other : facts) mentioned |= other.object == fact.object;
    if (!mentioned) return fact;
  }
}

std::string Ask(const Fact& fact, bool novel, base::Random* random) {
  if (novel) {
    return random->Bernoulli(.5)
               ? absl::StrCat("Can we say that ", Clause(fact), "?")
               : absl::StrCat("Would ", fact.name, " be someone who ",
                              fact.verb, "s ", fact.object, "?");
  }
  switch (random->Below(3)) {
    case 0:
      return absl::StrCat("Is it true that ", Clause(fact), "?");
    case 1:
      return absl::StrCat("Tell me, does ", fact.name, " ", fact.verb, " ",
                          fact.object, "?");
    default:
      return absl::StrCat("Does ", fact.name, " ", fact.verb, " ", fact.object,
                          "?");
  }
}

std::string AskNegated(const Fact& fact, bool novel, base::Random* random) {
  if (novel) {
    return absl::StrCat("Does ", fact.name, " fail to ", fact.verb, " ",
                        fact.object, "?");
  }
  switch (random->Below(3)) {
    case 0:
      return absl::StrCat("Is it false that ", Clause(fact), "?");
    case 1:
      return absl::StrCat("Is it not so that ", Clause(fact), "?");
    default:
      return absl::StrCat("Does ", fact.name, " not ", fact.verb, " ",
                          fact.object, "?");
  }
}

void MakeSimple(bool yes, bool novel, base::Random* random, Problem* problem) {
  const auto facts = MakeFacts(2 + random->Below(2), random);
  const size_t i = random->Below(facts.size());
  const Fact asked =
      yes ? facts[i] : Falsify(facts, i, random->Bernoulli(.12), random);
  problem->question =
      Text(Statements(facts, random), Ask(asked, novel, random), random);
}

void MakeNegation(bool yes, bool novel, base::Random* random,
                  Problem* problem) {
  auto facts = MakeFacts(2 + random->Below(2), random);
  if (random->Bernoulli(.4)) {
    // Only the question is negated.
    const size_t i = random->Below(facts.size());
    const Fact asked =
        yes ? Falsify(facts, i, random->Bernoulli(.5), random) : facts[i];
    problem->question = Text(Statements(facts, random),
                             AskNegated(asked, novel, random), random);
    return;
  }
  // One of two people does what the other does not.
  facts[1].verb = facts[0].verb;
  facts[1].object = facts[0].object;
  facts[1].holds = false;
  const bool negated = random->Bernoulli(.4);
  const Fact& asked = facts[yes == negated ? 1 : 0];
  problem->question = Text(
      Statements(facts, random),
      negated ? AskNegated(asked, novel, random) : Ask(asked, novel, random),
      random);
}

void MakeCompositional(bool yes, bool novel, base::Random* random,
                       Problem* problem) {
  const auto facts = MakeFacts(3, random);
  const bool both = random->Bernoulli(.5);  // `and`, else `or`
  // Of the two parts, which hold. One part decides, the other is free where
  // the answer permits.
  std::array<bool, 2> holds;
  holds[0] = yes;
  holds[1] = both == yes ? yes : random->Bernoulli(.5);
  if (random->Bernoulli(.5)) std::swap(holds[0], holds[1]);
  std::array<Fact, 2> parts;
  for (size_t i = 0; i < 2; ++i) {
    parts[i] =
        holds[i] ? facts[i] : Falsify(facts, i, random->Bernoulli(.75), random);
  }
  const char* word = both ? "and" : "or";
  std::string question;
  if (novel) {
    question =
        absl::StrCat("Given this, would you agree that ", Clause(parts[0]), " ",
                     word, " that ", Clause(parts[1]), "?");
  } else if (random->Bernoulli(.5)) {
    question = absl::StrCat("Is it true that ", Clause(parts[0]), " ", word,
                            " ", Clause(parts[1]), "?");
  } else {
    question = absl::StrCat("Does ", parts[0].name, " ", parts[0].verb, " ",
                            parts[0].object, " ", word, " does ", parts[1].name,
                            " ", parts[1].verb, " ", parts[1].object, "?");
  }
  problem->question = Text(Statements(facts, random), question, random);
}

void MakeTransitive(bool yes, bool novel, base::Random* random,
                    Problem* problem) {
  const size_t length = 3 + random->Below(2);
  const auto chain = Draw(kNames, length, random);  // falling
  const auto& [more, less] =
      kComparatives[random->Below(std::size(kComparatives))];
  std::vector<std::string> statements;
  for (size_t i = 0; i + 1 < length; ++i) {
    statements.push_back(
        random->Bernoulli(.5)
            ? absl::StrCat(chain[i], " is ", more, " than ", chain[i + 1], ".")
            : absl::StrCat(chain[i + 1], " is ", less, " than ", chain[i],
                           "."));
  }
  const size_t high = random->Below(length - 2);
  const size_t low = high + 2 + random->Below(length - high - 2);
  const bool rising = random->Bernoulli(.5);
  const char* word = rising ? less : more;
  const char* first = chain[rising == yes ? low : high];
  const char* second = chain[rising == yes ? high : low];
  std::string question;
  if (novel) {
    question =
        absl::StrCat("Must ", first, " be ", word, " than ", second, "?");
  } else if (random->Bernoulli(.5)) {
    question = absl::StrCat("Is it true that ", first, " is ", word, " than ",
                            second, "?");
  } else {
    question = absl::StrCat("Is ", first, " ", word, " than ", second, "?");
  }
  problem->question = Text(std::move(statements), question, random);
}

}  // namespace

Problem MakeReasoningProblem(Phrasing phrasing, base::Random* random) {
  Problem problem;
  problem.family = Family::kReasoning;
  const bool yes = random->Bernoulli(.5);
  const bool novel =
      random->Bernoulli(kNovelShare) && phrasing == Phrasing::kAsked;
  problem.answer = yes ? "yes" : "no";
  const double kind = random->Uniform();
  if (kind < .34) {
    problem.kind = "simple";
    MakeSimple(yes, novel, random, &problem);
  } else if (kind < .56) {
    problem.kind = "negation";
    MakeNegation(yes, novel, random, &problem);
  } else if (kind < .78) {
    problem.kind = "compositional";
    MakeCompositional(yes, novel, random, &problem);
  } else {
    problem.kind = "transitive";
    MakeTransitive(yes, novel, random, &problem);
  }
  return problem;
}

}  // namespace faultline::lab
