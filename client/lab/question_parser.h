#ifndef FAULTLINE_CLIENT_LAB_QUESTION_PARSER_H_
#define FAULTLINE_CLIENT_LAB_QUESTION_PARSER_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "client/lab/problem.h"

namespace faultline::lab {

// The strong answerer: learns from questions and answers what words and
// sentence frames mean, then reads the facts and works the answer out. It is
// lost where a question has a frame that training never had.
//
// What is learned, in this order:
//   names         words that are always capitalised
//   objects, verbs, comparatives
//                 word classes, by how many words fill the same context
//   frames        sentences with those words replaced by their class, such as
//                 `does N not V O`; each gets the meaning (assert or deny; is
//                 it so or not; and, or, ...) that answers most of training
//   opposites     pairs of comparatives, by whether joining them helps
//
// Immutable once trained, so thread-safe. Deterministic.
class QuestionParser {
 public:
  struct Answer {
    bool yes = false;
    // Share of training questions of that frame that were answered well; 1/2
    // where the frame is not known, less where a statement is not understood.
    double confidence = .5;
    // Sentences whose frame training never had.
    int unknown_sentences = 0;
    // Frame of the question.
    std::string frame;
  };

  static QuestionParser Train(const std::vector<Problem>& problems);

  Answer Solve(absl::string_view text) const;

 private:
  // Meanings of a frame. Statements are asserted or denied; questions combine
  // the truth of their one or two atoms.
  enum class Meaning { kPlain, kNegated, kAnd, kOr, kButNot, kNeither };

  // Something said about words: subject, verb, object; or subject, comparative,
  // subject.
  struct Atom {
    std::string subject;
    std::string relation;
    std::string object;
    bool comparison = false;
  };

  struct Sentence {
    std::string frame;
    std::vector<Atom> atoms;
    bool question = false;
  };

  // How a comparative stands to the others of its dimension.
  struct Orientation {
    int dimension = 0;
    bool reversed = false;
  };

  struct Frame {
    Meaning meaning = Meaning::kPlain;
    double accuracy = .5;
  };

  using Text = std::vector<Sentence>;

  void LearnClasses(const std::vector<Problem>& problems);
  void LearnFrames(const std::vector<Text>& texts,
                   const std::vector<bool>& answers);
  void LearnOpposites(const std::vector<Text>& texts,
                      const std::vector<bool>& answers);

  Text Parse(absl::string_view text) const;
  std::string Lemma(const std::string& verb) const;
  bool Holds(const Text& text, const Atom& atom) const;
  bool Evaluate(const Text& text) const;
  double Accuracy(const std::vector<Text>& texts,
                  const std::vector<bool>& answers,
                  const std::vector<size_t>& which) const;

  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> objects_;
  absl::flat_hash_set<std::string> verbs_;
  std::map<std::string, Orientation> comparatives_;
  std::map<std::string, Frame> frames_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_QUESTION_PARSER_H_
