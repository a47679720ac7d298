#ifndef FAULTLINE_CLIENT_LAB_CORPUS_AGENT_H_
#define FAULTLINE_CLIENT_LAB_CORPUS_AGENT_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/lab/bm25.h"
#include "client/lab/corpus_world.h"
#include "client/lab/problem.h"

namespace faultline::lab {

// The parts of the agent that answers from the corpus. What they know of
// language they learned from questions with answers. Immutable once trained, so
// thread-safe.
class CorpusAgent {
 public:
  // How passages are looked for.
  struct Search {
    size_t passages = 1;
    // Leaves out words that tell nothing and takes the corpus' own words for
    // those that it does not have.
    bool tuned = false;
  };

  struct Found {
    std::vector<size_t> passages;  // best first
    std::vector<std::string> query;
    // Whether a passage has every word of the question that tells something.
    bool full_match = false;
    double score = 0;  // of the best one, as a share of the most possible
  };

  struct Reading {
    std::string answer;  // a word; `not stated` where nothing was found
    std::optional<size_t> passage;
    double confidence = 0;  // in (0, 1), from questions that had an answer
    // Share of what the question says, by weight, that the passage does not.
    double ungrounded = 1;
  };

  explicit CorpusAgent(const CorpusWorld& world);

  // An answer from the earlier edition, as the agent remembers it. None where
  // it does not know the name and what is asked of it.
  std::optional<std::string> Recall(absl::string_view question) const;

  Found Retrieve(absl::string_view question, const Search& search) const;

  // Takes the passage that says most of what the question says and ends with a
  // word that answers such questions.
  Reading Read(absl::string_view question,
               const std::vector<size_t>& passages) const;

  // Whether the passage has every word of the question that tells something, or
  // the corpus' own word for it.
  bool Supports(size_t passage, absl::string_view question) const;

  const std::string& passage(size_t i) const { return passages_[i]; }

 private:
  // Features of a reading, and the weights of its confidence.
  struct Features {
    double coverage = 0;
    double type = 0;
  };

  std::vector<std::string> Telling(absl::string_view question) const;
  // `word`, or what the corpus says instead.
  const std::string& InCorpus(const std::string& word) const;
  double TypeOf(const std::vector<std::string>& question,
                const std::string& answer) const;
  Reading Choose(absl::string_view question,
                 const std::vector<size_t>& passages, Features* features) const;
  void LearnWords(const std::vector<Problem>& taught);
  void LearnConfidence(const std::vector<Problem>& taught);

  std::vector<std::string> passages_;
  std::vector<std::vector<std::string>> words_;  // of each passage
  Bm25 index_;
  std::set<std::string> vocabulary_;   // of the corpus
  std::set<std::string> common_;       // words of many passages
  std::set<std::string> telling_not_;  // words of questions that tell nothing
  std::map<std::string, std::string> instead_;  // the corpus' word for one
  // Word of a question and answer: log of how much likelier together.
  std::map<std::pair<std::string, std::string>, double> types_;
  std::map<std::string, std::string> old_edition_;  // by name and noun
  double bias_ = 0;
  double coverage_weight_ = 0;
  double type_weight_ = 0;
};

// The two questions that a question about the founder of a company comes down
// to: the first, and the second with $0 for its answer. None where it is not of
// that form.
std::optional<std::pair<std::string, std::string>> Decompose(
    absl::string_view question);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_CORPUS_AGENT_H_
