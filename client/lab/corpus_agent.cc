#include "client/lab/corpus_agent.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/lab/text_classifier.h"

namespace faultline::lab {
namespace {

// A word of this share of the passages is a common one.
constexpr double kCommonShare = .02;
// Times that a word must have been seen to be judged.
constexpr int kMinSeen = 5;
// How much likelier a word of the corpus must be with a word of a question to
// be taken for it, and least for the question's word to tell anything.
constexpr double kInsteadLift = 3;
constexpr double kTellingLift = 1.5;
constexpr double kTypeInfluence = 3;
constexpr double kMaxType = 2;
constexpr int kEpochs = 60;
constexpr double kStep = .05;

std::vector<std::vector<std::string>> WordsOf(
    const std::vector<std::string>& texts) {
  std::vector<std::vector<std::string>> words;
  words.reserve(texts.size());
  for (const std::string& text : texts) words.push_back(Words(text));
  return words;
}

bool Has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

double Logistic(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

CorpusAgent::CorpusAgent(const CorpusWorld& world)
    : passages_(world.passages()), words_(WordsOf(passages_)), index_(words_) {
  std::map<std::string, int> frequency;
  for (const auto& words : words_) {
    for (const std::string& word :
         std::set<std::string>(words.begin(), words.end())) {
      ++frequency[word];
    }
  }
  for (const auto& [word, count] : frequency) {
    vocabulary_.insert(word);
    if (count >= kCommonShare * static_cast<double>(words_.size())) {
      common_.insert(word);
    }
  }
  LearnWords(world.taught());
  LearnConfidence(world.taught());
  for (const std::string& statement : world.old_edition()) {
    const std::vector<std::string> words = Telling(statement);
    // The noun, the name, what it is.
    if (words.size() == 3) old_edition_[words[1] + "/" + words[0]] = words[2];
  }
}

void CorpusAgent::LearnWords(const std::vector<Problem>& taught) {
  std::map<std::string, int> asked;     // questions that have the word
  std::map<std::string, int> said;      // whose passage has the common word
  std::map<std::string, int> answered;  // whose answer is the word
  std::map<std::pair<std::string, std::string>, int> asked_said;
  std::map<std::pair<std::string, std::string>, int> asked_answered;
  int all = 0;
  for (const Problem& problem : taught) {
    const std::vector<std::string> list = Words(problem.question);
    const std::set<std::string> question(list.begin(), list.end());
    // The passage that must have been meant: it has a rare word of the question
    // and the answer.
    const std::vector<std::string>* meant = nullptr;
    for (const Bm25::Hit& hit : index_.Search(list, 50)) {
      const auto& words = words_[hit.passage];
      if (words.back() == problem.answer) {
        meant = &words;
        break;
      }
    }
    if (meant == nullptr) continue;
    ++all;
    std::set<std::string> common;
    for (const std::string& word : *meant) {
      if (common_.count(word) > 0) common.insert(word);
    }
    for (const std::string& word : common) ++said[word];
    ++answered[problem.answer];
    for (const std::string& word : question) {
      ++asked[word];
      ++asked_answered[{word, problem.answer}];
      for (const std::string& other : common) ++asked_said[{word, other}];
    }
  }
  std::map<std::string, double> best;
  for (const auto& [pair, count] : asked_said) {
    const auto& [word, other] = pair;
    if (asked[word] < kMinSeen) continue;
    const double lift = static_cast<double>(count) * all /
                        (static_cast<double>(asked[word]) * said[other]);
    if (lift <= best[word]) continue;
    best[word] = lift;
    if (lift >= kInsteadLift && vocabulary_.count(word) == 0) {
      instead_[word] = other;
    }
  }
  for (const auto& [word, lift] : best) {
    if (lift < kTellingLift) telling_not_.insert(word);
  }
  for (const auto& [pair, count] : asked_answered) {
    const auto& [word, answer] = pair;
    if (telling_not_.count(word) > 0 || asked[word] < kMinSeen) continue;
    const double expected =
        static_cast<double>(asked[word]) * answered[answer] / all;
    types_[pair] = std::log((count + .5) / (expected + .5));
  }
}

void CorpusAgent::LearnConfidence(const std::vector<Problem>& taught) {
  struct Example {
    Features features;
    double right;
  };
  std::vector<Example> examples;
  for (const Problem& problem : taught) {
    for (const Search& search : {Search{1, false}, Search{8, true}}) {
      Example& example = examples.emplace_back();
      const Reading reading =
          Choose(problem.question, Retrieve(problem.question, search).passages,
                 &example.features);
      example.right = reading.answer == problem.answer ? 1 : 0;
    }
  }
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    for (const Example& example : examples) {
      const double error =
          example.right -
          Logistic(bias_ + coverage_weight_ * example.features.coverage +
                   type_weight_ * example.features.type);
      bias_ += kStep * error;
      coverage_weight_ += kStep * error * example.features.coverage;
      type_weight_ += kStep * error * example.features.type;
    }
  }
}

std::vector<std::string> CorpusAgent::Telling(
    absl::string_view question) const {
  std::vector<std::string> telling;
  for (const std::string& word : Words(question)) {
    if (telling_not_.count(word) == 0 && !Has(telling, word)) {
      telling.push_back(word);
    }
  }
  return telling;
}

const std::string& CorpusAgent::InCorpus(const std::string& word) const {
  const auto other = instead_.find(word);
  return other == instead_.end() ? word : other->second;
}

std::optional<std::string> CorpusAgent::Recall(
    absl::string_view question) const {
  std::vector<std::string> words;
  for (const std::string& word : Telling(question)) {
    words.push_back(InCorpus(word));
  }
  for (const std::string& name : words) {
    for (const std::string& noun : words) {
      const auto known = old_edition_.find(name + "/" + noun);
      if (known != old_edition_.end()) return known->second;
    }
  }
  return std::nullopt;
}

CorpusAgent::Found CorpusAgent::Retrieve(absl::string_view question,
                                         const Search& search) const {
  Found found;
  if (search.tuned) {
    for (const std::string& word : Telling(question)) {
      found.query.push_back(InCorpus(word));
    }
  } else {
    found.query = Words(question);
  }
  double most = 0;  // score of a passage that has them all, again and again
  for (const std::string& word :
       std::set<std::string>(found.query.begin(), found.query.end())) {
    most += Bm25::kMaxFactor * index_.Weight(word);
  }
  const std::vector<std::string> telling = Telling(question);
  for (const Bm25::Hit& hit : index_.Search(found.query, search.passages)) {
    found.passages.push_back(hit.passage);
    const auto& words = words_[hit.passage];
    found.full_match |=
        std::all_of(telling.begin(), telling.end(), [&](const auto& word) {
          return Has(words, search.tuned ? InCorpus(word) : word);
        });
    found.score = std::max(found.score, most == 0 ? 0 : hit.score / most);
  }
  return found;
}

double CorpusAgent::TypeOf(const std::vector<std::string>& question,
                           const std::string& answer) const {
  double best = 0;
  bool known = false;
  for (const std::string& word : question) {
    const auto type = types_.find({word, answer});
    if (type == types_.end()) continue;
    best = known ? std::max(best, type->second) : type->second;
    known = true;
  }
  return std::clamp(best, -kMaxType, kMaxType);
}

CorpusAgent::Reading CorpusAgent::Choose(absl::string_view question,
                                         const std::vector<size_t>& passages,
                                         Features* features) const {
  Reading reading;
  reading.answer = kNotStated;
  const std::vector<std::string> telling = Telling(question);
  double most = 0;
  for (const std::string& word : telling) most += index_.Weight(InCorpus(word));
  double best = 0;
  for (const size_t passage : passages) {
    const auto& words = words_[passage];
    double said = 0;
    for (const std::string& word : telling) {
      if (Has(words, InCorpus(word))) said += index_.Weight(InCorpus(word));
    }
    const double type = TypeOf(telling, words.back());
    const double score = said + kTypeInfluence * type;
    if (reading.passage.has_value() && score <= best) continue;
    best = score;
    reading.passage = passage;
    reading.answer = words.back();
    features->coverage = most == 0 ? 0 : said / most;
    features->type = type;
  }
  reading.ungrounded = 1 - features->coverage;
  return reading;
}

CorpusAgent::Reading CorpusAgent::Read(
    absl::string_view question, const std::vector<size_t>& passages) const {
  Features features;
  Reading reading = Choose(question, passages, &features);
  reading.confidence = Logistic(bias_ + coverage_weight_ * features.coverage +
                                type_weight_ * features.type);
  return reading;
}

bool CorpusAgent::Supports(size_t passage, absl::string_view question) const {
  const auto& words = words_[passage];
  const std::vector<std::string> telling = Telling(question);
  return std::all_of(telling.begin(), telling.end(), [&](const auto& word) {
    return Has(words, InCorpus(word));
  });
}

std::optional<std::pair<std::string, std::string>> Decompose(
    absl::string_view question) {
  static const auto& nested =
      *new RE2(R"((?i)(.*)the (\w+) of the (\w+) of (\w+)\?)");
  std::string opening;
  std::string outer;
  std::string inner;
  std::string name;
  if (!RE2::FullMatch(re2::StringPiece(question.data(), question.size()),
                      nested, &opening, &outer, &inner, &name)) {
    return std::nullopt;
  }
  return std::make_pair(absl::StrCat(opening, "the ", inner, " of ", name, "?"),
                        absl::StrCat(opening, "the ", outer, " of $0?"));
}

}  // namespace faultline::lab
