#include "lib/slowloop/slice_table.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"

namespace faultline::slowloop {
namespace {

using embedding::Run;

constexpr double kLeastShare = 0.01;
constexpr size_t kMostLevels = 32;
constexpr size_t kMostVariables = 24;
// Distinct texts beyond which a field names runs rather than slices.
constexpr size_t kMostTexts = 1000;
constexpr size_t kRunsPerTask = 4096;
constexpr char kOtherValues[] = "(other)";
constexpr absl::string_view kMemory = "memory.";
constexpr absl::string_view kPrimary[] = {
    "task.type", "task.dataset", "system.model", "system.prompt_strategy"};

// Place among the primary variables; behind all of them: none.
size_t PrimaryPlace(absl::string_view field) {
  const auto* const place =
      std::find(std::begin(kPrimary), std::end(kPrimary), field);
  const size_t at = place - std::begin(kPrimary);
  if (place == std::end(kPrimary) && !absl::StartsWith(field, kMemory)) {
    return at + 1;
  }
  return at;
}

bool Primary(absl::string_view field) {
  return PrimaryPlace(field) <= std::size(kPrimary);
}

void ForRuns(size_t runs, int threads,
             const std::function<void(size_t run)>& work) {
  const size_t tasks = (runs + kRunsPerTask - 1) / kRunsPerTask;
  base::ParallelFor(tasks, threads, [&](size_t task) {
    const size_t last = std::min(runs, (task + 1) * kRunsPerTask);
    for (size_t i = task * kRunsPerTask; i < last; ++i) work(i);
  });
}

// The texts of one field, in no order that means anything, and which of them
// each run has (-1: none). Some may be of runs that have left.
struct TextField {
  std::string name;
  std::vector<const std::string*> texts;
  std::vector<int32_t> text_of;
};

// Gives each text with enough runs a level, the most frequent first, and the
// others one together.
SliceVariable CutTexts(TextField field) {
  std::vector<size_t> runs(field.texts.size());
  for (const int32_t text : field.text_of) {
    if (text >= 0) ++runs[text];
  }
  std::vector<int32_t> used;
  for (size_t t = 0; t < runs.size(); ++t) {
    if (runs[t] > 0) used.push_back(static_cast<int32_t>(t));
  }
  SliceVariable variable;
  if (used.size() < 2 || used.size() > kMostTexts) return variable;
  std::sort(used.begin(), used.end(), [&](int32_t a, int32_t b) {
    return runs[a] != runs[b] ? runs[a] > runs[b]
                              : *field.texts[a] < *field.texts[b];
  });
  const double least = kLeastShare * static_cast<double>(field.text_of.size());
  std::vector<int32_t> level(runs.size(), -1);
  for (const int32_t text : used) {
    const bool frequent = static_cast<double>(runs[text]) >= least &&
                          variable.values.size() + 1 < kMostLevels;
    if (!frequent) break;
    level[text] = variable.levels();
    variable.values.push_back(*field.texts[text]);
  }
  if (variable.values.size() < used.size()) {
    for (size_t u = variable.values.size(); u < used.size(); ++u) {
      level[used[u]] = variable.levels();
    }
    variable.values.emplace_back(kOtherValues);
  }
  for (int32_t& text : field.text_of) text = text < 0 ? -1 : level[text];
  variable.level = std::move(field.text_of);
  variable.primary = Primary(field.name);
  variable.name = std::move(field.name);
  return variable;
}

// Thirds of the reference.
SliceVariable CutNumbers(std::string name, absl::Span<const Run* const> runs,
                         absl::Span<const int32_t> reference, uint64_t key) {
  const auto number_of = [key](const Run& run) {
    const auto number = std::lower_bound(
        run.context_numbers.begin(), run.context_numbers.end(), key,
        [](const auto& entry, uint64_t k) { return entry.first < k; });
    return number != run.context_numbers.end() && number->first == key
               ? &number->second
               : nullptr;
  };
  std::vector<float> sorted;
  for (const int32_t row : reference) {
    if (const float* number = number_of(*runs[row])) sorted.push_back(*number);
  }
  std::sort(sorted.begin(), sorted.end());
  SliceVariable variable;
  variable.primary = true;
  variable.name = std::move(name);
  if (sorted.empty() || sorted.front() == sorted.back()) return variable;
  std::vector<float> bounds = {sorted[sorted.size() / 3],
                               sorted[2 * sorted.size() / 3]};
  // A bound is the least of what is above it, so none may be the least of all.
  bounds.erase(std::remove(bounds.begin(), bounds.end(), sorted.front()),
               bounds.end());
  if (bounds.empty()) {
    bounds = {*std::upper_bound(sorted.begin(), sorted.end(), sorted.front())};
  }
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  variable.values.push_back(absl::StrFormat("below %.4g", bounds.front()));
  for (size_t b = 0; b < bounds.size(); ++b) {
    variable.values.push_back(
        b + 1 < bounds.size()
            ? absl::StrFormat("%.4g to %.4g", bounds[b], bounds[b + 1])
            : absl::StrFormat("%.4g or more", bounds[b]));
  }
  variable.level.reserve(runs.size());
  for (const Run* run : runs) {
    const float* const number = number_of(*run);
    variable.level.push_back(
        number ? static_cast<int32_t>(
                     std::upper_bound(bounds.begin(), bounds.end(), *number) -
                     bounds.begin())
               : -1);
  }
  return variable;
}

}  // namespace

std::vector<SliceVariable> ListSlices(absl::Span<const Run* const> runs,
                                      absl::Span<const int32_t> reference,
                                      const embedding::FeatureNames& names,
                                      int threads) {
  struct Place {
    int32_t field;
    int32_t text;
  };
  absl::flat_hash_map<uint64_t, Place> places;
  absl::flat_hash_map<std::string, int32_t> number_of;
  std::vector<TextField> fields;
  for (const auto& [key, feature] : names.context) {
    if (feature.word) continue;
    const auto [number, added] = number_of.try_emplace(
        feature.field, static_cast<int32_t>(fields.size()));
    if (added) {
      fields.push_back(
          {feature.field, {}, std::vector<int32_t>(runs.size(), -1)});
    }
    std::vector<const std::string*>& texts = fields[number->second].texts;
    places[key] = {number->second, static_cast<int32_t>(texts.size())};
    texts.push_back(&feature.value);
  }
  ForRuns(runs.size(), threads, [&](size_t i) {
    for (const uint64_t key : runs[i]->context) {
      if (const auto place = places.find(key); place != places.end()) {
        fields[place->second.field].text_of[i] = place->second.text;
      }
    }
  });

  std::vector<SliceVariable> variables(fields.size());
  base::ParallelFor(fields.size(), threads, [&](size_t f) {
    variables[f] = CutTexts(std::move(fields[f]));
  });
  std::map<std::string, uint64_t> numbers;
  for (const auto& [key, field] : names.numbers) {
    if (absl::StartsWith(field, kMemory)) numbers[field] = key;
  }
  for (const auto& [field, key] : numbers) {
    variables.push_back(CutNumbers(field, runs, reference, key));
  }
  variables.erase(
      std::remove_if(variables.begin(), variables.end(),
                     [](const SliceVariable& v) { return v.levels() < 2; }),
      variables.end());
  std::stable_sort(variables.begin(), variables.end(),
                   [](const SliceVariable& a, const SliceVariable& b) {
                     return std::make_pair(PrimaryPlace(a.name), a.name) <
                            std::make_pair(PrimaryPlace(b.name), b.name);
                   });
  if (variables.size() > kMostVariables) variables.resize(kMostVariables);
  return variables;
}

std::vector<uint64_t> HashFields(absl::Span<const Run* const> runs,
                                 const embedding::FeatureNames& names,
                                 absl::Span<const absl::string_view> fields) {
  absl::flat_hash_map<uint64_t, uint64_t> part;  // by key of the feature
  for (const auto& [key, feature] : names.context) {
    const auto* const field =
        std::find(fields.begin(), fields.end(), feature.field);
    if (feature.word || field == fields.end()) continue;
    part[key] = base::Mix64(key + (field - fields.begin()));
  }
  std::vector<uint64_t> hashes;
  hashes.reserve(runs.size());
  for (const Run* run : runs) {
    uint64_t hash = 0;
    for (const uint64_t key : run->context) {
      if (const auto found = part.find(key); found != part.end()) {
        hash += found->second;
      }
    }
    hashes.push_back(base::Mix64(hash));
  }
  return hashes;
}

}  // namespace faultline::slowloop
