#ifndef FAULTLINE_CLIENT_LAB_FAMILY_RUN_H_
#define FAULTLINE_CLIENT_LAB_FAMILY_RUN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/lab/models.h"
#include "client/lab/problem.h"
#include "client/lab/run_recorder.h"
#include "faultline/v1/intervention.pb.h"

namespace faultline::lab {

// What a policy has said about one run so far, without routes and strategies.
struct Directives {
  std::vector<v1::ToolConstraint> constraints;
  std::vector<v1::Guardrail> guardrails;
  std::vector<v1::MemorySchema> schemas;
};

// Names of routes, strategies and steps that actions refer to.
inline constexpr char kBagOfWords[] = "bag_of_words";
inline constexpr char kBigram[] = "bigram";
inline constexpr char kParser[] = "parser";
inline constexpr char kShortSighted[] = "calc_a";
inline constexpr char kNumberAware[] = "calc_b";
inline constexpr char kBm25[] = "bm25";
inline constexpr char kBm25Wide[] = "bm25_wide";
inline constexpr char kBm25Tuned[] = "bm25_tuned";
inline constexpr char kNotebookAgent[] = "notebook";
inline constexpr char kDirect[] = "direct";
inline constexpr char kDecompose[] = "decompose";
inline constexpr char kCiteFirst[] = "cite_first";
inline constexpr char kCalculator[] = "calculator";
inline constexpr char kCorpusSearch[] = "corpus_search";
inline constexpr char kDirectory[] = "directory";

// Answers the question of one run, step by step. Not thread-safe.
class FamilyRun {
 public:
  virtual ~FamilyRun() = default;

  // Fills in what is there before the first step. Called when the run begins,
  // and again when the policy has said what memory may hold.
  virtual void Prepare() {}

  // Answers by a route and a strategy; may be asked again. Sets signals, which
  // stay those of the first answer.
  virtual std::string Answer(const std::string& route,
                             const std::string& strategy) = 0;

  // Carries out a step that the policy requires and answers again. False where
  // it cannot.
  virtual bool Require(v1::Step::Kind, const std::string& /*name*/,
                       std::string* /*answer*/) {
    return false;
  }

  // What is said instead of an answer that may not leave.
  virtual std::string Abstention() const { return ""; }
};

// Own nothing: what they are given must outlive them.
std::unique_ptr<FamilyRun> MakeReasoningRun(const Models& models,
                                            const Problem& problem,
                                            RunRecorder* run);
std::unique_ptr<FamilyRun> MakeArithmeticRun(const Models& models,
                                             const Problem& problem,
                                             const Directives& directives,
                                             RunRecorder* run);
std::unique_ptr<FamilyRun> MakeCorpusRun(const Models& models,
                                         const Problem& problem,
                                         RunRecorder* run);
std::unique_ptr<FamilyRun> MakeMemoryRun(const Models& models,
                                         const Problem& problem,
                                         const Directives& directives,
                                         RunRecorder* run);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_FAMILY_RUN_H_
