#include "lib/diagnose/scope.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/match.h"

namespace faultline::diagnose {
namespace {

constexpr size_t kMaxTerms = 3;
// A word or a threshold must beat the best category by this share: hundreds of
// them stand by to say by chance what a category says by nature.
constexpr double kSimplicity = 0.1;
constexpr ScopeGain kClusterGain = {0.05, 0.05};
// Standard errors that a scope must stand out from chance: hundreds of
// features are tried.
constexpr double kStandardErrors = 3;

v1::Predicate MakePredicate(std::vector<const Feature*> terms) {
  std::sort(terms.begin(), terms.end());  // order of the table
  v1::Predicate predicate;
  if (terms.size() == 1) {
    *predicate.mutable_comparison() = terms.front()->comparison;
    return predicate;
  }
  v1::PredicateList& all = *predicate.mutable_all();
  for (const Feature* term : terms) {
    *all.add_predicates()->mutable_comparison() = term->comparison;
  }
  return predicate;
}

bool IsCategory(const Feature& feature) {
  return feature.comparison.op() == v1::Comparison::OPERATOR_EQUAL;
}

// The runs that `holds` is true of.
template <typename Holds>
RunSet Select(const Window& window, const Holds& holds) {
  RunSet runs(window.runs.size());
  for (size_t i = 0; i < window.runs.size(); ++i) {
    if (holds(*window.runs[i])) runs.Add(i);
  }
  return runs;
}

RunSet MatchingRuns(const Window& window, const v1::Comparison& comparison) {
  const bool word = comparison.op() == v1::Comparison::OPERATOR_HAS_WORD;
  if (word || comparison.op() == v1::Comparison::OPERATOR_EQUAL) {
    const uint64_t key =
        embedding::ContextKey(comparison.field(), comparison.text(), word);
    return Select(window, [key](const embedding::Run& run) {
      return std::binary_search(run.context.begin(), run.context.end(), key);
    });
  }
  if (comparison.op() == v1::Comparison::OPERATOR_AT_LEAST) {
    const uint64_t key = embedding::NumberKey(comparison.field());
    return Select(window, [&](const embedding::Run& run) {
      return std::any_of(run.context_numbers.begin(), run.context_numbers.end(),
                         [&](const auto& number) {
                           return number.first == key &&
                                  number.second >= comparison.number();
                         });
    });
  }
  return RunSet(window.runs.size());
}

}  // namespace

Scope EverythingScope(const ContextTable& table) {
  return {MakePredicate({}), RunSet::All(table.size())};
}

Scope SearchScope(const ContextTable& table, ScopeScore score,
                  const ScopeGain& gain, absl::string_view left_out) {
  const auto may_scope = [left_out](const Feature& feature) {
    return feature.may_scope &&
           (left_out.empty() ||
            !absl::StartsWith(feature.comparison.field(), left_out));
  };
  Scope scope = EverythingScope(table);
  std::vector<const Feature*> terms;
  double current = score(scope.runs, scope.runs);
  while (terms.size() < kMaxTerms) {
    const Feature* best = nullptr;
    double best_score =
        current + std::max(gain.absolute, gain.relative * std::abs(current));
    for (const Feature& feature : table.features()) {
      if (!may_scope(feature)) continue;
      const double candidate = score(scope.runs, feature.runs);
      const bool simpler =
          best != nullptr && IsCategory(*best) && !IsCategory(feature);
      if (candidate > (simpler ? 1 + kSimplicity : 1) * best_score) {
        best = &feature;
        best_score = candidate;
      }
    }
    if (best == nullptr) break;
    terms.push_back(best);
    scope.runs = scope.runs & best->runs;
    current = best_score;
  }
  scope.predicate = MakePredicate(std::move(terms));
  return scope;
}

Scope FindClusterScope(const ContextTable& table, const RunSet& members) {
  const RunSet rest = table.discovery() & ~members;
  const auto inside = static_cast<double>(members.Count());
  const auto outside = static_cast<double>(rest.Count());
  if (inside == 0 || outside == 0) return EverythingScope(table);
  const auto score = [&](const RunSet& scope, const RunSet& term) {
    const double covered = members.CountAll(scope, term) / inside;
    const double others = rest.CountAll(scope, term) / outside;
    const double error =
        std::sqrt(others * (1 - others) * (1 / inside + 1 / outside));
    return covered - others - kStandardErrors * error;
  };
  return SearchScope(table, score, kClusterGain);
}

RunSet MatchingRuns(const Window& window, const v1::Predicate& predicate) {
  const size_t size = window.runs.size();
  switch (predicate.expression_case()) {
    case v1::Predicate::kAll: {
      RunSet runs = RunSet::All(size);
      for (const v1::Predicate& part : predicate.all().predicates()) {
        runs = runs & MatchingRuns(window, part);
      }
      return runs;
    }
    case v1::Predicate::kAny: {
      RunSet runs(size);
      for (const v1::Predicate& part : predicate.any().predicates()) {
        runs = runs | MatchingRuns(window, part);
      }
      return runs;
    }
    case v1::Predicate::kNot:
      return ~MatchingRuns(window, predicate.not_());
    case v1::Predicate::kComparison:
      return MatchingRuns(window, predicate.comparison());
    case v1::Predicate::EXPRESSION_NOT_SET:
      break;
  }
  return RunSet(size);
}

}  // namespace faultline::diagnose
