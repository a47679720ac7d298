#include "client/lab/question_parser.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

namespace faultline::lab {
namespace {

// Words that fill the same contexts as at least so many others are objects,
// or else verbs and comparatives.
constexpr double kObjectFillers = 12;
constexpr double kRelationFillers = 4;
// A frame seen less often has no meaning.
constexpr int kMinFrameCount = 8;
// Questions that decide about the meaning of one frame.
constexpr size_t kMaxExamples = 300;
constexpr int kRounds = 2;
// Least gain in accuracy that makes two comparatives opposites.
constexpr double kMinGain = .01;

struct RawSentence {
  std::vector<std::string> words;  // as written
  bool question = false;
};

std::vector<RawSentence> Split(absl::string_view text) {
  std::vector<RawSentence> sentences(1);
  std::string word;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      word += c;
      continue;
    }
    if (!word.empty()) sentences.back().words.push_back(word);
    word.clear();
    if (c == '.' || c == '?') {
      sentences.back().question = c == '?';
      sentences.emplace_back();
    }
  }
  if (!word.empty()) sentences.back().words.push_back(word);
  if (sentences.back().words.empty()) sentences.pop_back();
  return sentences;
}

bool IsCapitalised(const std::string& word) {
  return absl::ascii_isupper(static_cast<unsigned char>(word[0]));
}

}  // namespace

QuestionParser QuestionParser::Train(const std::vector<Problem>& problems) {
  QuestionParser parser;
  parser.LearnClasses(problems);
  std::vector<Text> texts;
  std::vector<bool> answers;
  std::map<std::string, int> count;
  for (const Problem& problem : problems) {
    texts.push_back(parser.Parse(problem.question));
    answers.push_back(problem.answer == "yes");
    for (const Sentence& sentence : texts.back()) ++count[sentence.frame];
  }
  for (const auto& [frame, n] : count) {
    if (n >= kMinFrameCount) parser.frames_[frame] = Frame();
  }
  for (int round = 0; round < kRounds; ++round) {
    parser.LearnFrames(texts, answers);
    parser.LearnOpposites(texts, answers);
  }
  return parser;
}

void QuestionParser::LearnClasses(const std::vector<Problem>& problems) {
  absl::flat_hash_set<std::string> lower;
  absl::flat_hash_set<std::string> inner_capitalised;
  std::vector<RawSentence> sentences;
  for (const Problem& problem : problems) {
    for (RawSentence& sentence : Split(problem.question)) {
      for (size_t i = 0; i < sentence.words.size(); ++i) {
        if (!IsCapitalised(sentence.words[i])) {
          lower.insert(sentence.words[i]);
        } else if (i > 0) {
          inner_capitalised.insert(sentence.words[i]);
        }
      }
      sentences.push_back(std::move(sentence));
    }
  }
  for (const std::string& word : inner_capitalised) {
    if (!lower.contains(absl::AsciiStrToLower(word))) names_.insert(word);
  }

  // Context: the word before and the word after, names being alike.
  using Context = std::pair<std::string, std::string>;
  std::map<Context, std::set<std::string>> fillers;
  std::map<std::string, std::vector<Context>> contexts;
  for (const RawSentence& sentence : sentences) {
    std::vector<std::string> words = {"<"};
    for (const std::string& word : sentence.words) {
      words.push_back(names_.contains(word) ? "N"
                                            : absl::AsciiStrToLower(word));
    }
    words.push_back(">");
    for (size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] == "N") continue;
      Context context(words[i - 1], words[i + 1]);
      fillers[context].insert(words[i]);
      contexts[words[i]].push_back(std::move(context));
    }
  }
  absl::flat_hash_set<std::string> relations;
  for (const auto& [word, its_contexts] : contexts) {
    double total = 0;
    for (const Context& context : its_contexts) {
      total += static_cast<double>(fillers[context].size());
    }
    const double mean = total / static_cast<double>(its_contexts.size());
    if (mean >= kObjectFillers) {
      objects_.insert(word);
    } else if (mean >= kRelationFillers) {
      relations.insert(word);
    }
  }
  // A relation that stands before an object is a verb; one between names is a
  // comparative.
  for (const RawSentence& sentence : sentences) {
    for (size_t i = 0; i + 1 < sentence.words.size(); ++i) {
      const std::string word = absl::AsciiStrToLower(sentence.words[i]);
      if (!relations.contains(word)) continue;
      if (objects_.contains(sentence.words[i + 1])) verbs_.insert(word);
    }
  }
  int dimension = 0;
  const std::set<std::string> sorted(relations.begin(), relations.end());
  for (const std::string& word : sorted) {
    if (!verbs_.contains(word)) comparatives_[word].dimension = dimension++;
  }
}

std::string QuestionParser::Lemma(const std::string& verb) const {
  if (absl::EndsWith(verb, "s")) {
    std::string stem = verb.substr(0, verb.size() - 1);
    if (verbs_.contains(stem)) return stem;
  }
  return verb;
}

QuestionParser::Text QuestionParser::Parse(absl::string_view text) const {
  Text parsed;
  for (const RawSentence& raw : Split(text)) {
    Sentence sentence;
    sentence.question = raw.question;
    std::vector<std::string> frame;
    Atom atom;
    for (const std::string& word : raw.words) {
      const std::string lower = absl::AsciiStrToLower(word);
      if (names_.contains(word)) {
        frame.push_back("N");
        if (atom.comparison) {
          atom.object = word;
          sentence.atoms.push_back(atom);
          atom = Atom();
        } else {
          atom.subject = word;
        }
      } else if (objects_.contains(lower)) {
        frame.push_back("O");
        atom.object = lower;
        sentence.atoms.push_back(atom);
        atom = Atom();
      } else if (verbs_.contains(lower)) {
        frame.push_back("V");
        atom.relation = Lemma(lower);
      } else if (comparatives_.contains(lower)) {
        frame.push_back("C");
        atom.relation = lower;
        atom.comparison = true;
      } else {
        frame.push_back(lower);
      }
    }
    sentence.frame =
        absl::StrJoin(frame, " ") + (sentence.question ? " ?" : " .");
    parsed.push_back(std::move(sentence));
  }
  return parsed;
}

bool QuestionParser::Holds(const Text& text, const Atom& atom) const {
  if (!atom.comparison) {
    for (const Sentence& sentence : text) {
      if (sentence.question) continue;
      const auto frame = frames_.find(sentence.frame);
      if (frame == frames_.end() || frame->second.meaning != Meaning::kPlain) {
        continue;
      }
      for (const Atom& fact : sentence.atoms) {
        if (!fact.comparison && fact.subject == atom.subject &&
            fact.relation == atom.relation && fact.object == atom.object) {
          return true;
        }
      }
    }
    return false;
  }
  // Everything that is below the atom's upper end, by way of others.
  const auto upper_first = [](const Atom& it, const Orientation& of) {
    return of.reversed ? std::make_pair(it.object, it.subject)
                       : std::make_pair(it.subject, it.object);
  };
  const auto asked = comparatives_.find(atom.relation);
  if (asked == comparatives_.end()) return false;
  const auto [upper, lower] = upper_first(atom, asked->second);
  std::set<std::string> below = {upper};
  for (bool grew = true; grew;) {
    grew = false;
    for (const Sentence& sentence : text) {
      if (sentence.question) continue;
      for (const Atom& fact : sentence.atoms) {
        const auto said = comparatives_.find(fact.relation);
        if (!fact.comparison || said == comparatives_.end() ||
            said->second.dimension != asked->second.dimension) {
          continue;
        }
        const auto [high, low] = upper_first(fact, said->second);
        if (below.contains(high)) grew |= below.insert(low).second;
      }
    }
  }
  return below.contains(lower);
}

bool QuestionParser::Evaluate(const Text& text) const {
  if (text.empty() || !text.back().question) return false;
  const Sentence& question = text.back();
  const auto frame = frames_.find(question.frame);
  if (frame == frames_.end() || question.atoms.empty()) return false;
  const bool first = Holds(text, question.atoms[0]);
  const bool second =
      question.atoms.size() > 1 ? Holds(text, question.atoms[1]) : first;
  switch (frame->second.meaning) {
    case Meaning::kPlain:
      return first;
    case Meaning::kNegated:
      return !first;
    case Meaning::kAnd:
      return first && second;
    case Meaning::kOr:
      return first || second;
    case Meaning::kButNot:
      return first && !second;
    case Meaning::kNeither:
      return !first && !second;
  }
  return false;
}

double QuestionParser::Accuracy(const std::vector<Text>& texts,
                                const std::vector<bool>& answers,
                                const std::vector<size_t>& which) const {
  size_t right = 0;
  for (const size_t i : which) right += Evaluate(texts[i]) == answers[i];
  return (static_cast<double>(right) + 1) /
         (static_cast<double>(which.size()) + 2);
}

void QuestionParser::LearnFrames(const std::vector<Text>& texts,
                                 const std::vector<bool>& answers) {
  std::map<std::string, std::vector<size_t>> examples;
  std::map<std::string, bool> is_question;
  for (size_t i = 0; i < texts.size(); ++i) {
    std::set<std::string> seen;
    for (const Sentence& sentence : texts[i]) {
      is_question[sentence.frame] = sentence.question;
      if (!frames_.contains(sentence.frame)) continue;
      std::vector<size_t>& list = examples[sentence.frame];
      if (list.size() < kMaxExamples && seen.insert(sentence.frame).second) {
        list.push_back(i);
      }
    }
  }
  // Statements first: questions are judged by what they say.
  for (const bool question : {false, true}) {
    for (auto& [name, frame] : frames_) {
      if (is_question[name] != question) continue;
      Meaning best = frame.meaning;
      double best_accuracy = -1;
      for (const Meaning meaning :
           {Meaning::kPlain, Meaning::kNegated, Meaning::kAnd, Meaning::kOr,
            Meaning::kButNot, Meaning::kNeither}) {
        if (!question && meaning > Meaning::kNegated) break;
        frame.meaning = meaning;
        const double accuracy = Accuracy(texts, answers, examples[name]);
        if (accuracy > best_accuracy) {
          best_accuracy = accuracy;
          best = meaning;
        }
      }
      frame.meaning = best;
      frame.accuracy = best_accuracy;
    }
  }
}

void QuestionParser::LearnOpposites(const std::vector<Text>& texts,
                                    const std::vector<bool>& answers) {
  std::vector<size_t> which;
  for (size_t i = 0; i < texts.size() && which.size() < 2 * kMaxExamples; ++i) {
    if (texts[i].empty() || texts[i].back().atoms.empty()) continue;
    if (texts[i].back().atoms[0].comparison) which.push_back(i);
  }
  for (auto first = comparatives_.begin(); first != comparatives_.end();
       ++first) {
    const double before = Accuracy(texts, answers, which);
    double best = before + kMinGain;
    Orientation best_orientation = first->second;
    const Orientation own = first->second;
    for (const auto& [word, other] : comparatives_) {
      if (word == first->first) continue;
      for (const bool reversed : {true, false}) {
        first->second = {other.dimension, other.reversed != reversed};
        const double accuracy = Accuracy(texts, answers, which);
        if (accuracy > best) {
          best = accuracy;
          best_orientation = first->second;
        }
      }
      first->second = own;
    }
    first->second = best_orientation;
  }
}

QuestionParser::Answer QuestionParser::Solve(absl::string_view text) const {
  const Text parsed = Parse(text);
  Answer answer;
  answer.yes = Evaluate(parsed);
  if (parsed.empty()) return answer;
  answer.frame = parsed.back().frame;
  answer.confidence = 1;
  for (const Sentence& sentence : parsed) {
    const auto frame = frames_.find(sentence.frame);
    const bool known = frame != frames_.end();
    answer.unknown_sentences += known ? 0 : 1;
    if (!known || sentence.question) {
      answer.confidence *= known ? frame->second.accuracy : .5;
    }
  }
  return answer;
}

}  // namespace faultline::lab
