#include "lib/diagnose/logged_choices.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "lib/embedding/run.h"

namespace faultline::diagnose {
namespace {

using embedding::RouteChoice;

// Counts the reason for which a decision is of no use; false where there is
// one.
bool IsUsable(const RouteChoice& route, ChoicesLeftOut* left_out) {
  int64_t* reason = nullptr;
  if (route.decisions == 0) {
    reason = &left_out->no_decision;
  } else if (route.decisions > 1) {
    reason = &left_out->several_decisions;
  } else if (!(route.propensity > 0)) {
    reason = &left_out->no_propensity;
  } else if (!std::binary_search(route.candidates.begin(),
                                 route.candidates.end(), route.chosen)) {
    reason = &left_out->no_candidates;
  }
  if (reason == nullptr) return true;
  ++*reason;
  return false;
}

std::string NameOf(const Window& window, uint64_t key) {
  const auto name = window.names->context.find(key);
  return name == window.names->context.end() ? "" : name->second.value;
}

// The candidates that most of the runs chose among.
std::vector<std::string> UsualCandidates(const Window& window,
                                         absl::Span<const size_t> runs) {
  std::map<std::vector<uint64_t>, size_t> counts;
  for (const size_t run : runs) ++counts[window.runs[run]->route.candidates];
  const auto usual = std::max_element(
      counts.begin(), counts.end(),
      [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<std::string> names;
  if (usual == counts.end()) return names;
  for (const uint64_t key : usual->first) {
    names.push_back(NameOf(window, key));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

ChoiceCells OneCell(const Window& window) {
  return {{""}, std::vector<int32_t>(window.runs.size())};
}

ChoiceCells CellsOfField(const Window& window, const RunSet& scope,
                         absl::string_view field, size_t min_runs) {
  std::vector<uint64_t> value(window.runs.size());  // key; 0: none
  absl::flat_hash_map<uint64_t, size_t> sizes;
  for (size_t i = 0; i < value.size(); ++i) {
    for (const uint64_t key : window.runs[i]->context) {
      const auto name = window.names->context.find(key);
      if (name == window.names->context.end() || name->second.word ||
          name->second.field != field) {
        continue;
      }
      value[i] = key;
      if (scope.Has(i)) ++sizes[key];
      break;
    }
  }
  std::map<std::string, uint64_t> large;
  for (const auto& [key, size] : sizes) {
    if (size >= min_runs) large[NameOf(window, key)] = key;
  }
  ChoiceCells cells = OneCell(window);
  absl::flat_hash_map<uint64_t, int32_t> number;
  for (const auto& [name, key] : large) {
    number[key] = static_cast<int32_t>(cells.names.size());
    cells.names.push_back(name);
  }
  for (size_t i = 0; i < value.size(); ++i) {
    const auto cell = number.find(value[i]);
    if (cell != number.end()) cells.cell_of[i] = cell->second;
  }
  return cells;
}

LoggedChoices CollectLoggedChoices(const Window& window, const RunSet& scope,
                                   const ChoiceCells& cells,
                                   absl::Span<const std::string> arms) {
  LoggedChoices result;
  std::vector<size_t> usable;
  scope.ForEach([&](size_t run) {
    if (IsUsable(window.runs[run]->route, &result.left_out)) {
      usable.push_back(run);
    }
  });
  result.arms.assign(arms.begin(), arms.end());
  if (arms.empty()) result.arms = UsualCandidates(window, usable);
  result.offered = result.arms.size();

  absl::flat_hash_map<uint64_t, int32_t> number;  // of each arm
  std::vector<uint64_t> offered;
  for (const std::string& name : result.arms) {
    const uint64_t key = embedding::RouteKey(name);
    number.try_emplace(key, static_cast<int32_t>(number.size()));
    offered.push_back(key);
  }
  std::sort(offered.begin(), offered.end());
  std::map<std::string, uint64_t> others;
  for (const size_t run : usable) {
    const RouteChoice& route = window.runs[run]->route;
    if (!std::includes(route.candidates.begin(), route.candidates.end(),
                       offered.begin(), offered.end())) {
      ++result.left_out.arm_missing;
      continue;
    }
    result.runs.push_back(run);
    if (!number.contains(route.chosen)) {
      others[NameOf(window, route.chosen)] = route.chosen;
    }
  }
  for (const auto& [name, key] : others) {
    number[key] = static_cast<int32_t>(result.arms.size());
    result.arms.push_back(name);
  }
  result.choices.reserve(result.runs.size());
  for (const size_t run : result.runs) {
    const embedding::Run& logged = *window.runs[run];
    result.choices.push_back(
        {cells.cell_of[run], number.at(logged.route.chosen),
         logged.route.propensity, logged.failed() ? 1.0 : 0.0});
  }
  return result;
}

}  // namespace faultline::diagnose
