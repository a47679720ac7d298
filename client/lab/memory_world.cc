#include "client/lab/memory_world.h"

#include <re2/re2.h>

#include <cmath>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace faultline::lab {
namespace {

constexpr const char* kSubjects[] = {
    "Ada",  "Ben",   "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo",
    "Iris", "Jonas", "Kira", "Leo",  "Mara", "Nils", "Olga",  "Paul"};
constexpr const char* kSources[] = {"Rosa", "Sven", "Tara", "Uwe"};
constexpr const char* kPlaces[] = {"Lisbon", "Oslo",   "Turin", "Gdansk",
                                   "Porto",  "Malmo",  "Graz",  "Bergen",
                                   "Lyon",   "Dublin", "Split", "Kaunas"};
constexpr const char* kProjects[] = {"bridges", "sails",  "engines", "gardens",
                                     "mills",   "organs", "pumps",   "locks",
                                     "kilns",   "looms",  "clocks",  "ferries"};

// A sort of fact: how often it changes and how it is put.
struct FactClass {
  const char* name;
  const char* verb;      // SUBJECT verb VALUE
  const char* question;  // with $0 for the subject
  double days;           // mean time between changes; 0: never
  double share;          // of the questions
  bool place;            // its values are places
};
constexpr FactClass kClasses[] = {
    {"place", "is in", "Where is $0?", 5, .45, true},
    {"project", "works on", "What does $0 work on?", 8, .35, false},
    {"origin", "was born in", "Where was $0 born?", 0, .2, true}};

constexpr double kHistoryDays = 60;
constexpr double kDirectoryLagDays = 30;  // in World::kHarmful
constexpr double kWrongRumours = .7;
constexpr double kFreshByNote = .4;
constexpr double kBeside = .3;

struct Scenario {
  const char* kind;
  double share;
};
constexpr Scenario kScenarios[] = {{"fresh", .25},
                                   {"aged", .35},
                                   {"conflict", .15},
                                   {"rumour", .12},
                                   {"absent", .13}};

// Index drawn by the member `share`.
template <typename T, size_t n>
size_t DrawByShare(const T (&items)[n], base::Random* random) {
  double u = random->Uniform();
  for (size_t i = 0; i + 1 < n; ++i) {
    u -= items[i].share;
    if (u < 0) return i;
  }
  return n - 1;
}

std::string DrawValue(const FactClass& fact, base::Random* random) {
  return fact.place ? kPlaces[random->Below(std::size(kPlaces))]
                    : kProjects[random->Below(std::size(kProjects))];
}

std::string DrawOtherValue(const FactClass& fact, const std::string& than,
                           base::Random* random) {
  while (true) {
    std::string value = DrawValue(fact, random);
    if (value != than) return value;
  }
}

// The values of one fact, from now back.
class History {
 public:
  History(const FactClass& fact, base::Random* random) {
    values_.push_back(DrawValue(fact, random));
    double days = 0;
    while (fact.days > 0) {
      days -= fact.days * std::log(1 - random->Uniform());
      if (days > kHistoryDays) break;
      changes_.push_back(days);
      values_.push_back(DrawOtherValue(fact, values_.back(), random));
    }
  }

  const std::string& At(double days_ago) const {
    size_t i = 0;
    while (i < changes_.size() && changes_[i] <= days_ago) ++i;
    return values_[i];
  }

 private:
  std::vector<double> changes_;  // days ago, ascending
  std::vector<std::string> values_;
};

double Between(double least, double most, base::Random* random) {
  return least + (most - least) * random->Uniform();
}

std::string RecordId(absl::string_view subject, absl::string_view name) {
  return absl::StrCat(absl::AsciiStrToLower(subject), "/", name);
}

MemoryRecord Seen(const std::string& id, const FactClass& fact,
                  const History& history, double days_ago,
                  base::Random* random) {
  MemoryRecord record;
  record.id = id;
  record.record_class = fact.name;
  record.value = history.At(days_ago);
  // To the minute: that is what a notebook keeps.
  record.age = absl::Minutes(static_cast<int64_t>(days_ago * 24 * 60));
  record.fields["source"] = kSources[random->Below(std::size(kSources))];
  return record;
}

std::string NoteText(absl::string_view subject, const FactClass& fact,
                     int days_ago, absl::string_view value,
                     base::Random* random) {
  return absl::StrCat(
      "Note of ", kSources[random->Below(std::size(kSources))], ", ",
      days_ago == 0 ? "today" : absl::StrCat(days_ago, " days ago"), ": ",
      subject, " ", fact.verb, " ", value, ". ");
}

const FactClass* ClassOfVerb(absl::string_view verb) {
  for (const FactClass& fact : kClasses) {
    if (fact.verb == verb) return &fact;
  }
  return nullptr;
}

}  // namespace

std::vector<Problem> MakeMemorySession(World world, int count,
                                       base::Random* random) {
  std::vector<std::string> subjects(std::begin(kSubjects), std::end(kSubjects));
  random->Shuffle(&subjects);
  Notebook notebook;
  notebook.name = absl::StrCat("notes-", absl::Hex(random->Next()));
  std::map<std::string, History> histories;
  const double lag = world == World::kHarmful ? kDirectoryLagDays : 0;
  for (const std::string& subject : subjects) {
    for (const FactClass& fact : kClasses) {
      const std::string id = RecordId(subject, fact.name);
      const History& history =
          histories.try_emplace(id, fact, random).first->second;
      notebook.directory[id] = history.At(lag);
    }
  }

  // Each run asks about a subject of its own; others are there, too.
  std::vector<Problem> problems;
  for (int i = 0; i < count; ++i) {
    const std::string& subject = subjects[i];
    const FactClass& fact = kClasses[DrawByShare(kClasses, random)];
    const std::string id = RecordId(subject, fact.name);
    const History& history = histories.at(id);
    Problem& problem = problems.emplace_back();
    problem.family = Family::kMemory;
    problem.kind = kScenarios[DrawByShare(kScenarios, random)].kind;
    if (world == World::kNull && problem.kind == "conflict") {
      problem.kind = "aged";
    }
    problem.answer = history.At(0);
    const bool by_note =
        problem.kind == "fresh" && random->Bernoulli(kFreshByNote);
    if (problem.kind != "absent") {
      const double days = problem.kind == "aged" || by_note
                              ? Between(2, 20, random)
                              : Between(0, 1, random);
      notebook.held.push_back(Seen(id, fact, history, days, random));
    }
    if (by_note) {
      problem.question = NoteText(subject, fact, 0, history.At(0), random);
    } else if (problem.kind == "conflict") {
      const int days = 4 + static_cast<int>(random->Below(16));
      problem.question =
          NoteText(subject, fact, days, history.At(days), random);
    } else if (problem.kind == "rumour") {
      const std::string value =
          random->Bernoulli(kWrongRumours)
              ? DrawOtherValue(fact, problem.answer, random)
              : problem.answer;
      problem.question =
          absl::StrCat("Rumour: ", subject, " ", fact.verb, " ", value, ". ");
    }
    const std::string& other = subjects[count + i];
    const FactClass& about = kClasses[random->Below(std::size(kClasses))];
    if (random->Bernoulli(.5)) {
      problem.question +=
          NoteText(other, about, 0,
                   histories.at(RecordId(other, about.name)).At(0), random);
    } else {
      const std::string other_id = RecordId(other, about.name);
      notebook.held.push_back(Seen(other_id, about, histories.at(other_id),
                                   Between(0, 20, random), random));
    }
    // Something else that is known of the subject.
    const FactClass& beside = kClasses[random->Below(std::size(kClasses))];
    if (beside.name != fact.name && random->Bernoulli(kBeside)) {
      const std::string beside_id = RecordId(subject, beside.name);
      notebook.held.push_back(Seen(beside_id, beside, histories.at(beside_id),
                                   Between(0, 20, random), random));
    }
    std::string question = fact.question;
    RE2::Replace(&question, R"(\$0)", subject);
    problem.question += question;
  }
  for (Problem& problem : problems) {
    problem.notebook = std::make_shared<const Notebook>(notebook);
    notebook.earlier.push_back(problem.question);
  }
  return problems;
}

MemoryTask ReadMemoryTask(absl::string_view question) {
  static const auto& note = *new RE2(
      R"((?:Note of (\w+), (?:today|(\d+) days ago)|Rumour): (\w+) (is in|works on|was born in) (\w+)\. )");
  static const auto& where = *new RE2(R"(Where is (\w+)\?)");
  static const auto& what = *new RE2(R"(What does (\w+) work on\?)");
  static const auto& born = *new RE2(R"(Where was (\w+) born\?)");
  MemoryTask task;
  re2::StringPiece rest(question.data(), question.size());
  std::string source;
  std::string days;
  std::string subject;
  std::string verb;
  std::string value;
  while (RE2::Consume(&rest, note, &source, &days, &subject, &verb, &value)) {
    const FactClass* fact = ClassOfVerb(verb);
    if (fact == nullptr) continue;
    int64_t age = 0;
    if (!days.empty() && !absl::SimpleAtoi(days, &age)) continue;
    MemoryRecord& record = task.notes.emplace_back();
    record.id = RecordId(subject, fact->name);
    record.record_class = fact->name;
    record.value = value;
    record.age = absl::Hours(24 * age);
    if (!source.empty()) record.fields["source"] = source;
  }
  if (RE2::FullMatch(rest, where, &subject)) {
    task.record_class = kClasses[0].name;
  } else if (RE2::FullMatch(rest, what, &subject)) {
    task.record_class = kClasses[1].name;
  } else if (RE2::FullMatch(rest, born, &subject)) {
    task.record_class = kClasses[2].name;
  } else {
    return task;
  }
  task.subject = absl::AsciiStrToLower(subject);
  return task;
}

}  // namespace faultline::lab
