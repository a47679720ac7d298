#include "client/lab/corpus_world.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "lib/base/hash.h"

namespace faultline::lab {
namespace {

constexpr const char* kOnsets[] = {"b",  "d",  "f",  "g",  "k",  "l", "m",
                                   "n",  "p",  "r",  "s",  "t",  "v", "z",
                                   "br", "dr", "gr", "st", "tr", "kl"};
constexpr const char* kVowels[] = {"a", "e", "i", "o", "u", "ai", "ou"};
constexpr const char* kCodas[] = {"", "n", "r", "l", "s", "th", "nd", "m"};

constexpr const char* kTowns[] = {"aldwick",  "benford", "carlow",  "dunmere",
                                  "elverton", "farnley", "gosport", "hexham",
                                  "ingley",   "kelso",   "lindale", "morpeth"};
constexpr const char* kJobs[] = {"baker",  "tailor",   "potter", "miller",
                                 "cooper", "glazier",  "fisher", "printer",
                                 "mason",  "gardener", "smith",  "weaver"};
constexpr const char* kSchools[] = {"northgate", "southgate", "eastbrook",
                                    "westbrook", "hillside",  "riverside",
                                    "oakfield",  "ashfield",  "elmwood",
                                    "birchwood", "stonehall", "millhall"};
constexpr const char* kGoods[] = {"lamps",   "chairs",  "ropes",   "bells",
                                  "knives",  "wheels",  "gloves",  "barrels",
                                  "mirrors", "saddles", "candles", "baskets"};

// What is said of a person or a company.
struct Relation {
  const char* noun;
  const char* const* values;  // null: a person
  size_t value_count;
  // Other ways to ask, with $0 for the name.
  const char* synonyms[2];
};
constexpr Relation kOfPeople[] = {
    {"home",
     kTowns,
     std::size(kTowns),
     {"Where does $0 dwell?", "In which town does $0 reside?"}},
    {"job",
     kJobs,
     std::size(kJobs),
     {"Which trade does $0 ply?", "Which profession has $0?"}},
    {"school",
     kSchools,
     std::size(kSchools),
     {"Where did $0 study?", "Which alma mater has $0?"}}};
constexpr Relation kOfCompanies[] = {
    {"founder", nullptr, 0, {"Who started $0?", "Who set up $0?"}},
    {"product",
     kGoods,
     std::size(kGoods),
     {"What does $0 sell?", "What does $0 manufacture?"}}};

constexpr const char* kOpenings[] = {
    "All evening I have been wondering and would love to hear: ",
    "My neighbours argue about it every weekend, so please settle it: ",
    "Sorry to bother you again with such a small matter, but "};
constexpr const char* kNoise[] = {
    "All evening they have been wondering and would love to hear $0.",
    "Neighbours argue about it every weekend, so please settle $0.",
    "Sorry to bother you again with such a small matter as $0."};
constexpr const char* kNoiseThings[] = {
    "music", "rain", "silence", "thunder", "laughter", "gossip",
    "news",  "bids", "rumours", "stories", "poems",    "songs"};
constexpr const char* kNothings[] = {"old", "unusual", "famous", "discussed"};

constexpr size_t kPeople = 160;
constexpr size_t kCompanies = 80;
constexpr size_t kWellKnownPeople = 40;
constexpr size_t kWellKnownCompanies = 20;
constexpr size_t kTaught = 1500;
constexpr double kMissing = .2;    // facts that the corpus does not state
constexpr double kCrowded = .2;    // facts that others crowd
constexpr double kOutdated = .75;  // facts of the old edition

struct Kind {
  const char* name;
  double share;
};
constexpr Kind kKinds[] = {
    {"lookup", .34}, {"synonym", .16},     {"crowded", .14}, {"chatty", .1},
    {"two_hop", .1}, {"unsupported", .06}, {"recalled", .1}};

const Relation& RelationOf(bool company, size_t i) {
  return company ? kOfCompanies[i] : kOfPeople[i];
}

std::string With(absl::string_view form, absl::string_view name) {
  return absl::StrReplaceAll(form, {{"$0", name}});
}

template <size_t n>
const char* Pick(const char* const (&items)[n], base::Random* random) {
  return items[random->Below(n)];
}

std::string Plain(absl::string_view noun, absl::string_view name) {
  return absl::StrCat("What is the ", noun, " of ", name, "?");
}

std::string Statement(absl::string_view noun, absl::string_view name,
                      absl::string_view value) {
  return absl::StrCat("The ", noun, " of ", name, " is ", value, ".");
}

}  // namespace

CorpusWorld::CorpusWorld(uint64_t seed) {
  base::Random random(base::Mix64(seed ^ 0xc0de));
  AddEntities(kPeople, kCompanies, &random, &taught_entities_);
  AddEntities(kPeople, kCompanies, &random, &entities_);
  AddEntities(kWellKnownPeople, kWellKnownCompanies, &random, &well_known_);
  for (const auto* entities : {&taught_entities_, &entities_, &well_known_}) {
    for (const Entity& entity : *entities) AddPassages(entity, &random);
  }
  for (const char* noise : kNoise) {
    for (const char* thing : kNoiseThings) {
      passages_.push_back(With(noise, thing));
    }
  }
  random.Shuffle(&passages_);
  for (const Entity& entity : well_known_) {
    for (size_t i = 0; i < entity.facts.size(); ++i) {
      const Relation& relation = RelationOf(entity.company, i);
      std::string value = entity.facts[i].value;
      if (value.empty()) continue;
      while (value == entity.facts[i].value && relation.values != nullptr &&
             random.Bernoulli(kOutdated)) {
        value = relation.values[random.Below(relation.value_count)];
      }
      old_edition_.push_back(Statement(relation.noun, entity.name, value));
    }
  }
  while (taught_.size() < kTaught) {
    const Kind& kind = kKinds[random.Below(4)];
    taught_.push_back(Ask(taught_entities_, kind.name, &random));
  }
}

std::string CorpusWorld::DrawName(base::Random* random) {
  while (true) {
    std::string name;
    for (uint64_t i = 2 + random->Below(2); i > 0; --i) {
      absl::StrAppend(&name, Pick(kOnsets, random), Pick(kVowels, random),
                      Pick(kCodas, random));
    }
    if (std::find(names_.begin(), names_.end(), name) != names_.end()) continue;
    names_.push_back(name);
    name[0] = absl::ascii_toupper(static_cast<unsigned char>(name[0]));
    return name;
  }
}

void CorpusWorld::AddEntities(size_t people, size_t companies,
                              base::Random* random,
                              std::vector<Entity>* entities) {
  for (size_t i = 0; i < people + companies; ++i) {
    Entity& entity = entities->emplace_back();
    entity.name = DrawName(random);
    entity.company = i >= people;
    const size_t relations =
        entity.company ? std::size(kOfCompanies) : std::size(kOfPeople);
    for (size_t r = 0; r < relations; ++r) {
      const Relation& relation = RelationOf(entity.company, r);
      Fact& fact = entity.facts.emplace_back();
      if (random->Bernoulli(kMissing)) continue;
      fact.value = relation.values == nullptr
                       ? (*entities)[random->Below(people)].name
                       : relation.values[random->Below(relation.value_count)];
      fact.crowded = random->Bernoulli(kCrowded);
    }
  }
}

void CorpusWorld::AddPassages(const Entity& entity, base::Random* random) {
  for (size_t i = 0; i < entity.facts.size(); ++i) {
    const Fact& fact = entity.facts[i];
    const char* noun = RelationOf(entity.company, i).noun;
    if (fact.value.empty()) continue;
    if (!fact.crowded) {
      passages_.push_back(Statement(noun, entity.name, fact.value));
      continue;
    }
    // What says something says it at greater length.
    const uint64_t first = random->Below(std::size(kNothings));
    for (uint64_t j = 0; j < 2; ++j) {
      passages_.push_back(Statement(
          noun, entity.name, kNothings[(first + j) % std::size(kNothings)]));
    }
    passages_.push_back(absl::StrCat("The ", noun, " of ", entity.name,
                                     ", as far as anybody can tell, is ",
                                     fact.value, "."));
  }
}

Problem CorpusWorld::Ask(const std::vector<Entity>& entities,
                         const std::string& kind, base::Random* random) const {
  Problem problem;
  problem.family = Family::kCorpus;
  problem.kind = kind;
  const bool two_hop = kind == "two_hop";
  while (true) {
    const Entity& entity = entities[random->Below(entities.size())];
    size_t r = random->Below(entity.facts.size());
    if (two_hop) {
      if (!entity.company) continue;
      r = 0;
    }
    const Fact& fact = entity.facts[r];
    if (fact.value.empty() != (kind == "unsupported") ||
        fact.crowded != (kind == "crowded")) {
      continue;
    }
    const Relation& relation = RelationOf(entity.company, r);
    problem.answer =
        fact.value.empty() ? kNotStated : absl::AsciiStrToLower(fact.value);
    problem.question = Plain(relation.noun, entity.name);
    const bool synonym =
        kind == "synonym" || (kind == "unsupported" && random->Bernoulli(.5));
    if (synonym) {
      problem.question = With(Pick(relation.synonyms, random), entity.name);
    } else if (kind == "chatty") {
      problem.question =
          absl::StrCat(Pick(kOpenings, random),
                       absl::AsciiStrToLower(problem.question.substr(0, 1)),
                       problem.question.substr(1));
    } else if (two_hop) {
      const auto founder =
          std::find_if(entities.begin(), entities.end(),
                       [&](const Entity& it) { return it.name == fact.value; });
      const size_t asked = random->Below(std::size(kOfPeople));
      const Fact& second = founder->facts[asked];
      if (second.value.empty() || second.crowded) continue;
      problem.answer = second.value;
      problem.question =
          absl::StrCat("What is the ", kOfPeople[asked].noun, " of the ",
                       relation.noun, " of ", entity.name, "?");
    }
    return problem;
  }
}

Problem CorpusWorld::MakeProblem(base::Random* random) const {
  double u = random->Uniform();
  size_t i = 0;
  while (i + 1 < std::size(kKinds) && u >= kKinds[i].share) {
    u -= kKinds[i++].share;
  }
  const std::string kind = kKinds[i].name;
  return Ask(kind == "recalled" ? well_known_ : entities_, kind, random);
}

}  // namespace faultline::lab
