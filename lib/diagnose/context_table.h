#ifndef FAULTLINE_LIB_DIAGNOSE_CONTEXT_TABLE_H_
#define FAULTLINE_LIB_DIAGNOSE_CONTEXT_TABLE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/predicate.pb.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

namespace faultline::diagnose {

// The runs of a tick, their side and the names of their features. Views; valid
// as long as the tick's window.
struct Window {
  std::vector<const embedding::Run*> runs;  // known outcome, any fixed order
  std::vector<bool> discovery;              // side of each run
  const embedding::FeatureNames* names = nullptr;
};

// What a prognostic score is made of. A test leaves out the variable that it
// tests.
enum class Prognostic : uint8_t { kTaskType, kDataset, kAnswerer, kNone };
inline constexpr int kPrognosticCount = 4;

// One fact about the context of a run, as a router would evaluate it.
struct Feature {
  v1::Comparison comparison;
  RunSet runs;  // those that it holds for
  // The prognostic variable that it is a value of; kNone: of none.
  Prognostic variable = Prognostic::kNone;
  // A router knows it before it chooses, and no intervention changes it: it
  // may delimit a scope. Tasks, memory, agent and tool set; never the model, a
  // decision or a signal.
  bool may_scope = false;
  // It is about the task (`task.*`).
  bool about_task = false;
};

// Which of many features are kept. Chosen on the discovery side, so that the
// tests on the other side stay honest; every feature more costs power.
struct ContextTableOptions {
  double min_support = 0.01;  // of a category, share of the discovery runs
  double min_word_support = 0.02;
  size_t max_categories = 200;  // most frequent
  size_t max_words = 200;       // most differing
  size_t max_numbers = 40;      // fields, four thresholds each
  // Threads; the table does not depend on it.
  int threads = 2;
};

// Every context feature of a window, binarised: categories one-hot, words of
// task.input, numbers at quantiles .25, .5, .75 and .9 of the discovery side
// (METHODS 4.1). Immutable, so thread-safe.
class ContextTable {
 public:
  // `targets`: groups of discovery runs that the words should tell apart from
  // the rest, besides failures from successes; may be empty.
  ContextTable(const Window& window, absl::Span<const RunSet> targets,
               const ContextTableOptions& options = {});

  // In a fixed order: simple facts (task type, dataset, other categories)
  // before words before numbers.
  const std::vector<Feature>& features() const { return features_; }
  // Features `field = ...`.
  std::vector<const Feature*> Values(absl::string_view field) const;

  size_t size() const { return failed_.window(); }
  const RunSet& failed() const { return failed_; }
  const RunSet& discovery() const { return discovery_; }
  const RunSet& held_out() const { return held_out_; }
  // Runs that some intervention treated: what they chose is not the router's
  // own choice.
  const RunSet& treated() const { return treated_; }

  // Strata of the prognostic score on the held-out side, disjoint: its octiles,
  // and each cell that is large enough by itself (cluster::PrognosticStrata).
  // The score is the failure rate of (task type, dataset, who answered) on the
  // discovery side, without the variable `left_out`.
  absl::Span<const RunSet> Strata(Prognostic left_out) const {
    return strata_[static_cast<int>(left_out)];
  }
  // Index into Strata() of each run; their number on the discovery side.
  absl::Span<const uint32_t> StratumOf(Prognostic left_out) const {
    return stratum_of_[static_cast<int>(left_out)];
  }

  // The runs parted by task type, dataset, agent and tool set: runs of one cell
  // could have had the same candidates and tools. Disjoint; the 16 largest
  // ones, and what is left.
  const std::vector<RunSet>& cells() const { return cells_; }
  // Index into cells() of each run.
  absl::Span<const uint8_t> cell_of() const { return cell_of_; }

  // Features that cannot matter: bits of the hash of the trace id.
  const std::vector<RunSet>& controls() const { return controls_; }

 private:
  struct Keys;

  std::vector<Feature> ListCategories(const Keys& keys,
                                      absl::Span<const RunSet> targets,
                                      const ContextTableOptions& options) const;
  std::vector<Feature> ListNumbers(const Window& window,
                                   const ContextTableOptions& options) const;
  void BuildStrata(const Keys& keys);
  void BuildCells(const Keys& keys);

  std::vector<Feature> features_;
  RunSet failed_;
  RunSet discovery_;
  RunSet held_out_;
  RunSet treated_;
  std::array<std::vector<RunSet>, kPrognosticCount> strata_;
  std::array<std::vector<uint32_t>, kPrognosticCount> stratum_of_;
  std::vector<RunSet> cells_;
  std::vector<uint8_t> cell_of_;
  std::vector<RunSet> controls_;
};

// Log-odds of presence, with a over without, standardised: an informative
// prior of strength 20 at the pooled rate (METHODS 1.2, 4.1; after Monroe,
// Colaresi and Quinn 2008). Not a p-value.
double StandardizedLogOdds(double with_1, double n_1, double with_2,
                           double n_2);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_CONTEXT_TABLE_H_
