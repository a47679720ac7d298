#include "lib/diagnose/context_table.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/cluster/enrichment.h"

namespace faultline::diagnose {
namespace {

using embedding::ContextFeature;
using embedding::Run;

constexpr int kControlBits = 16;
constexpr uint64_t kControlSeed = 0xc0117401;
constexpr size_t kMaxCells = 16;
constexpr double kPriorStrength = 20;
constexpr double kQuantiles[] = {0.25, 0.5, 0.75, 0.9};
// Text that a predicate may hold.
constexpr size_t kMaxOperandBytes = 256;

bool IsAnswerer(absl::string_view field) {
  return field == "system.model" || field == "decisions.route.chosen";
}

Prognostic VariableOf(absl::string_view field) {
  if (field == "task.type") return Prognostic::kTaskType;
  if (field == "task.dataset") return Prognostic::kDataset;
  return IsAnswerer(field) ? Prognostic::kAnswerer : Prognostic::kNone;
}

bool MayScope(absl::string_view field) {
  return absl::StartsWith(field, "task.") ||
         absl::StartsWith(field, "memory.") || field == "system.agent" ||
         field == "system.agent_version" || field == "system.toolset";
}

bool PartsCells(absl::string_view field) {
  return field == "task.type" || field == "task.dataset" ||
         field == "system.agent" || field == "system.toolset";
}

Feature MakeFeature(absl::string_view field, size_t runs) {
  Feature feature;
  feature.comparison.set_field(field.data(), field.size());
  feature.runs = RunSet(runs);
  feature.variable = VariableOf(field);
  feature.may_scope = MayScope(field);
  feature.about_task = absl::StartsWith(field, "task.");
  return feature;
}

// Simple facts first: a search that takes the first of equals takes them.
int Simplicity(absl::string_view field) {
  if (field == "task.type") return 0;
  if (field == "task.dataset") return 1;
  return 2;
}

// A feature that is in the running, with its counts on the discovery side.
struct Candidate {
  uint32_t key;  // number of it in Keys
  const ContextFeature* name;
  double support = 0;
  double failed = 0;
  std::vector<double> in_target;
  double difference = 0;  // largest |z|
};

std::tuple<int, const std::string&, const std::string&> Order(
    const Candidate& candidate) {
  return {candidate.name->word ? 3 : Simplicity(candidate.name->field),
          candidate.name->field, candidate.name->value};
}

template <typename Score>
void KeepBest(size_t limit, const Score& score,
              std::vector<Candidate>* candidates) {
  std::sort(candidates->begin(), candidates->end(),
            [&](const Candidate& a, const Candidate& b) {
              return score(a) != score(b) ? score(a) > score(b)
                                          : Order(a) < Order(b);
            });
  if (candidates->size() > limit) candidates->resize(limit);
}

}  // namespace

double StandardizedLogOdds(double with_1, double n_1, double with_2,
                           double n_2) {
  if (n_1 <= 0 || n_2 <= 0) return 0;
  const double prior = kPriorStrength * (with_1 + with_2) / (n_1 + n_2);
  const double cells[] = {with_1 + prior, n_1 - with_1 + kPriorStrength - prior,
                          with_2 + prior,
                          n_2 - with_2 + kPriorStrength - prior};
  double variance = 0;
  for (const double cell : cells) {
    if (cell <= 0) return 0;
    variance += 1 / cell;
  }
  return (std::log(cells[0] / cells[1]) - std::log(cells[2] / cells[3])) /
         std::sqrt(variance);
}

// The context features of all runs by number, so that each is looked up once.
struct ContextTable::Keys {
  explicit Keys(const Window& window) {
    absl::flat_hash_map<uint64_t, uint32_t> number_of;
    begin.reserve(window.runs.size() + 1);
    for (const Run* run : window.runs) {
      begin.push_back(of_runs.size());
      for (const uint64_t key : run->context) {
        const auto [entry, added] =
            number_of.try_emplace(key, static_cast<uint32_t>(hashes.size()));
        if (added) {
          const auto name = window.names->context.find(key);
          hashes.push_back(base::Mix64(key));
          names.push_back(name == window.names->context.end() ? nullptr
                                                              : &name->second);
        }
        of_runs.push_back(entry->second);
      }
    }
    begin.push_back(of_runs.size());
  }

  size_t runs() const { return begin.size() - 1; }
  absl::Span<const uint32_t> of(size_t run) const {
    return absl::MakeConstSpan(of_runs).subspan(begin[run],
                                                begin[run + 1] - begin[run]);
  }

  std::vector<uint64_t> hashes;              // by number: Mix64 of the key
  std::vector<const ContextFeature*> names;  // by number; null: not known
  std::vector<size_t> begin;                 // by run, and the end
  std::vector<uint32_t> of_runs;             // numbers, back to back
};

ContextTable::ContextTable(const Window& window,
                           absl::Span<const RunSet> targets,
                           const ContextTableOptions& options)
    : failed_(window.runs.size()),
      discovery_(window.runs.size()),
      treated_(window.runs.size()),
      controls_(kControlBits, RunSet(window.runs.size())) {
  for (size_t i = 0; i < window.runs.size(); ++i) {
    const Run& run = *window.runs[i];
    if (run.failed()) failed_.Add(i);
    if (window.discovery[i]) discovery_.Add(i);
    for (const embedding::RunExposure& exposure : run.exposures) {
      if (exposure.arm == v1::ARM_TREATMENT) treated_.Add(i);
    }
    const uint64_t bits = base::Hash64(run.trace_id, kControlSeed);
    for (int bit = 0; bit < kControlBits; ++bit) {
      if ((bits >> bit & 1) != 0) controls_[bit].Add(i);
    }
  }
  held_out_ = ~discovery_;
  const Keys keys(window);
  std::vector<Feature> categories;
  std::vector<Feature> numbers;
  base::ParallelFor(2, options.threads, [&](size_t part) {
    if (part == 0) {
      categories = ListCategories(keys, targets, options);
    } else {
      numbers = ListNumbers(window, options);
      BuildStrata(keys);
      BuildCells(keys);
    }
  });
  features_ = std::move(categories);
  std::move(numbers.begin(), numbers.end(), std::back_inserter(features_));
}

std::vector<const Feature*> ContextTable::Values(
    absl::string_view field) const {
  std::vector<const Feature*> values;
  for (const Feature& feature : features_) {
    if (feature.comparison.field() == field &&
        feature.comparison.op() == v1::Comparison::OPERATOR_EQUAL) {
      values.push_back(&feature);
    }
  }
  return values;
}

std::vector<Feature> ContextTable::ListCategories(
    const Keys& keys, absl::Span<const RunSet> targets,
    const ContextTableOptions& options) const {
  std::vector<uint32_t> support(keys.names.size());
  discovery_.ForEach([&](size_t i) {
    for (const uint32_t key : keys.of(i)) ++support[key];
  });
  const auto runs = static_cast<double>(discovery_.Count());
  std::vector<Candidate> candidates;
  for (uint32_t key = 0; key < support.size(); ++key) {
    const ContextFeature* const name = keys.names[key];
    if (name == nullptr || support[key] == 0) continue;
    const double least =
        name->word ? options.min_word_support : options.min_support;
    if (support[key] < least * runs || support[key] > (1 - least) * runs ||
        name->value.size() > kMaxOperandBytes) {
      continue;
    }
    Candidate& candidate = candidates.emplace_back();
    candidate.key = key;
    candidate.name = name;
    candidate.support = support[key];
    candidate.in_target.resize(targets.size());
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) {
              return Order(a) < Order(b);
            });

  std::vector<Candidate*> by_key(keys.names.size());
  for (Candidate& candidate : candidates) by_key[candidate.key] = &candidate;
  (failed_ & discovery_).ForEach([&](size_t i) {
    for (const uint32_t key : keys.of(i)) {
      if (by_key[key] != nullptr) by_key[key]->failed += 1;
    }
  });
  for (size_t t = 0; t < targets.size(); ++t) {
    (targets[t] & discovery_).ForEach([&](size_t i) {
      for (const uint32_t key : keys.of(i)) {
        if (by_key[key] != nullptr) by_key[key]->in_target[t] += 1;
      }
    });
  }
  const auto failures = static_cast<double>(failed_.CountBoth(discovery_));
  std::vector<double> target_sizes;
  for (const RunSet& target : targets) {
    target_sizes.push_back(static_cast<double>(target.CountBoth(discovery_)));
  }
  std::vector<Candidate> categories;
  std::vector<Candidate> words;
  for (Candidate& candidate : candidates) {
    const auto difference = [&](double with, double size) {
      return std::abs(StandardizedLogOdds(with, size, candidate.support - with,
                                          runs - size));
    };
    candidate.difference = difference(candidate.failed, failures);
    for (size_t t = 0; t < targets.size(); ++t) {
      candidate.difference =
          std::max(candidate.difference,
                   difference(candidate.in_target[t], target_sizes[t]));
    }
    (candidate.name->word ? words : categories).push_back(std::move(candidate));
  }
  KeepBest(
      options.max_categories, [](const Candidate& c) { return c.support; },
      &categories);
  KeepBest(
      options.max_words, [](const Candidate& c) { return c.difference; },
      &words);
  std::move(words.begin(), words.end(), std::back_inserter(categories));
  std::sort(categories.begin(), categories.end(),
            [](const Candidate& a, const Candidate& b) {
              return Order(a) < Order(b);
            });

  constexpr uint32_t kNone = ~uint32_t{0};
  std::vector<uint32_t> column(keys.names.size(), kNone);
  std::vector<Feature> features;
  features.reserve(categories.size());
  for (const Candidate& candidate : categories) {
    column[candidate.key] = static_cast<uint32_t>(features.size());
    Feature& feature =
        features.emplace_back(MakeFeature(candidate.name->field, keys.runs()));
    feature.comparison.set_op(candidate.name->word
                                  ? v1::Comparison::OPERATOR_HAS_WORD
                                  : v1::Comparison::OPERATOR_EQUAL);
    feature.comparison.set_text(candidate.name->value);
  }
  for (size_t i = 0; i < keys.runs(); ++i) {
    for (const uint32_t key : keys.of(i)) {
      if (column[key] != kNone) features[column[key]].runs.Add(i);
    }
  }
  return features;
}

std::vector<Feature> ContextTable::ListNumbers(
    const Window& window, const ContextTableOptions& options) const {
  struct Field {
    const std::string* path;
    std::vector<float> values;  // discovery side
  };
  absl::flat_hash_map<uint64_t, Field> by_key;
  for (size_t i = 0; i < window.runs.size(); ++i) {
    if (!discovery_.Has(i)) continue;
    for (const auto& [key, value] : window.runs[i]->context_numbers) {
      const auto name = window.names->numbers.find(key);
      if (name == window.names->numbers.end()) continue;
      Field& field = by_key[key];
      field.path = &name->second;
      field.values.push_back(value);
    }
  }
  std::vector<std::pair<uint64_t, Field>> fields(by_key.begin(), by_key.end());
  std::sort(fields.begin(), fields.end(), [](const auto& a, const auto& b) {
    return *a.second.path < *b.second.path;
  });
  if (fields.size() > options.max_numbers) fields.resize(options.max_numbers);

  std::vector<Feature> features;
  // Columns of each field, by ascending threshold.
  absl::flat_hash_map<uint64_t, std::vector<size_t>> columns;
  for (auto& [key, field] : fields) {
    std::vector<float>& values = field.values;
    std::sort(values.begin(), values.end());
    float previous = values.front();  // at least the smallest: holds for all
    for (const double quantile : kQuantiles) {
      const float value =
          values[static_cast<size_t>(quantile * (values.size() - 1))];
      if (value <= previous) continue;
      previous = value;
      // Half way to the next smaller value, so that rounding does not matter.
      const float smaller =
          *std::prev(std::lower_bound(values.begin(), values.end(), value));
      const double threshold = (static_cast<double>(smaller) + value) / 2;
      columns[key].push_back(features.size());
      Feature& feature =
          features.emplace_back(MakeFeature(*field.path, window.runs.size()));
      feature.comparison.set_op(v1::Comparison::OPERATOR_AT_LEAST);
      feature.comparison.set_number(threshold);
    }
  }
  for (size_t i = 0; i < window.runs.size(); ++i) {
    for (const auto& [key, value] : window.runs[i]->context_numbers) {
      const auto entry = columns.find(key);
      if (entry == columns.end()) continue;
      for (const size_t column : entry->second) {
        if (value >= features[column].comparison.number()) {
          features[column].runs.Add(i);
        }
      }
    }
  }
  return features;
}

void ContextTable::BuildStrata(const Keys& keys) {
  // Hash of the value of each prognostic variable, by run.
  std::array<std::vector<uint64_t>, kPrognosticCount - 1> value;
  for (auto& column : value) column.resize(keys.runs());
  std::vector<Prognostic> variable_of;  // by number
  variable_of.reserve(keys.names.size());
  for (const ContextFeature* name : keys.names) {
    variable_of.push_back(name == nullptr || name->word
                              ? Prognostic::kNone
                              : VariableOf(name->field));
  }
  for (size_t i = 0; i < keys.runs(); ++i) {
    for (const uint32_t key : keys.of(i)) {
      if (variable_of[key] == Prognostic::kNone) continue;
      value[static_cast<int>(variable_of[key])][i] ^= keys.hashes[key];
    }
  }
  for (int left_out = 0; left_out < kPrognosticCount; ++left_out) {
    std::vector<uint64_t> discovery_cell;
    std::vector<bool> discovery_failed;
    std::vector<uint64_t> held_out_cell;
    std::vector<size_t> held_out_run;
    for (size_t i = 0; i < keys.runs(); ++i) {
      uint64_t cell = 0;
      for (int variable = 0; variable < kPrognosticCount - 1; ++variable) {
        if (variable == left_out) continue;
        cell = base::Mix64(cell + value[variable][i]);
      }
      if (discovery_.Has(i)) {
        discovery_cell.push_back(cell);
        discovery_failed.push_back(failed_.Has(i));
      } else {
        held_out_cell.push_back(cell);
        held_out_run.push_back(i);
      }
    }
    int strata = 0;
    const std::vector<int32_t> stratum = cluster::PrognosticStrata(
        discovery_cell, discovery_failed, held_out_cell, &strata);
    strata_[left_out].assign(strata, RunSet(keys.runs()));
    stratum_of_[left_out].assign(keys.runs(), static_cast<uint32_t>(strata));
    for (size_t i = 0; i < held_out_run.size(); ++i) {
      strata_[left_out][stratum[i]].Add(held_out_run[i]);
      stratum_of_[left_out][held_out_run[i]] =
          static_cast<uint32_t>(stratum[i]);
    }
  }
}

void ContextTable::BuildCells(const Keys& keys) {
  std::vector<bool> parts;  // by number
  parts.reserve(keys.names.size());
  for (const ContextFeature* name : keys.names) {
    parts.push_back(name != nullptr && !name->word && PartsCells(name->field));
  }
  std::vector<uint64_t> cell(keys.runs());
  absl::flat_hash_map<uint64_t, size_t> sizes;
  for (size_t i = 0; i < cell.size(); ++i) {
    for (const uint32_t key : keys.of(i)) {
      if (parts[key]) cell[i] ^= keys.hashes[key];
    }
    ++sizes[cell[i]];
  }
  std::vector<std::pair<size_t, uint64_t>> largest;
  for (const auto& [key, size] : sizes) largest.emplace_back(size, key);
  std::sort(largest.rbegin(), largest.rend());
  if (largest.size() > kMaxCells) largest.resize(kMaxCells);

  absl::flat_hash_map<uint64_t, size_t> number;
  for (const auto& [size, key] : largest)
    number.try_emplace(key, number.size());
  const bool rest = sizes.size() > number.size();
  cells_.assign(number.size() + (rest ? 1 : 0), RunSet(cell.size()));
  cell_of_.resize(cell.size());
  for (size_t i = 0; i < cell.size(); ++i) {
    const auto entry = number.find(cell[i]);
    cell_of_[i] = static_cast<uint8_t>(entry == number.end() ? number.size()
                                                             : entry->second);
    cells_[cell_of_[i]].Add(i);
  }
}

}  // namespace faultline::diagnose
