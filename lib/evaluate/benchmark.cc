#include "lib/evaluate/benchmark.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"

namespace faultline::evaluate {
namespace {

using v1::BenchmarkItem;

// Order among runs that nothing else tells apart: drawn by the seed.
uint64_t Draw(uint64_t sequence, uint64_t seed) {
  return base::Mix64(sequence ^ base::Mix64(seed));
}

// The successes by what they are matched by, each list in the order in which
// it is used up.
class SuccessShelf {
 public:
  SuccessShelf(absl::Span<const BenchmarkSuccess> successes, uint64_t seed) {
    for (const BenchmarkSuccess& success : successes) {
      if (success.keys.task != 0) {
        shelves_[{kTask, success.held_out, success.keys.task}].push_back(
            &success);
      }
      if (success.keys.kind != 0) {
        shelves_[{kKind, success.held_out, success.keys.kind}].push_back(
            &success);
      }
    }
    for (auto& [key, shelf] : shelves_) {
      std::sort(shelf.begin(), shelf.end(),
                [seed](const BenchmarkSuccess* a, const BenchmarkSuccess* b) {
                  return Draw(a->sequence, seed) > Draw(b->sequence, seed);
                });
    }
  }

  // Adds up to `count` successes that match and that no failure has yet.
  void Take(const TaskKeys& keys, bool held_out, size_t count,
            std::vector<std::pair<const BenchmarkSuccess*, bool>>* taken) {
    const auto take = [&](int by, uint64_t key) {
      const auto shelf = shelves_.find({by, held_out, key});
      if (key == 0 || shelf == shelves_.end()) return;
      while (taken->size() < count && !shelf->second.empty()) {
        const BenchmarkSuccess* success = shelf->second.back();
        shelf->second.pop_back();
        if (used_.insert(success->sequence).second) {
          taken->emplace_back(success, by == kTask);
        }
      }
    };
    take(kTask, keys.task);
    take(kKind, keys.kind);
  }

 private:
  enum : int { kTask, kKind };

  absl::flat_hash_map<std::tuple<int, bool, uint64_t>,
                      std::vector<const BenchmarkSuccess*>>
      shelves_;  // last one first
  absl::flat_hash_set<uint64_t> used_;
};

using Taken = absl::flat_hash_set<uint64_t>;  // sequences

// The failures of one mode, in the order in which they are taken.
class Queue {
 public:
  Queue(const BenchmarkMode& mode, const BenchmarkLimits& limits)
      : limits_{limits.per_mode, limits.per_mode, limits.boundary_per_mode} {
    for (const BenchmarkFailure& failure : mode.failures) {
      lists_[ListOf(failure)].push_back(&failure);
    }
    const auto rank = [&limits](const BenchmarkFailure* failure) {
      return std::make_pair(failure->role,
                            Draw(failure->sequence, limits.seed));
    };
    for (auto& list : lists_) {
      std::sort(list.begin(), list.end(),
                [&rank](const BenchmarkFailure* a, const BenchmarkFailure* b) {
                  return rank(a) < rank(b);
                });
    }
  }

  // The next one that no mode has taken: from the splits in turn, then from the
  // boundary. Null where there is none or every limit is reached.
  const BenchmarkFailure* Next(const Taken& taken) {
    for (const int list : {turn_, 1 - turn_, kBoundary}) {
      if (count_[list] == limits_[list]) continue;
      while (next_[list] < lists_[list].size()) {
        const BenchmarkFailure* failure = lists_[list][next_[list]++];
        if (taken.contains(failure->sequence)) continue;
        if (list != kBoundary) turn_ = 1 - list;
        return failure;
      }
    }
    return nullptr;
  }

  // To be called when the last one was taken, rather than found deleted.
  void Count(const BenchmarkFailure& failure) { ++count_[ListOf(failure)]; }

  // Counts what is left, each run once: as many as the mode's limits would have
  // let in, the limit of all leaves out, and these the rest.
  void CountLeft(Taken* seen, v1::BenchmarkSummary* summary) const {
    for (const int list : {kDiscovery, kHeldOut, kBoundary}) {
      size_t left = 0;
      for (size_t i = next_[list]; i < lists_[list].size(); ++i) {
        left += seen->insert(lists_[list][i]->sequence).second ? 1 : 0;
      }
      const size_t let_in = std::min(left, limits_[list] - count_[list]);
      summary->set_over_max_items(summary->over_max_items() + let_in);
      // Of boundary cases no more are asked for.
      if (list == kBoundary) continue;
      summary->set_over_per_mode(summary->over_per_mode() + left - let_in);
    }
  }

 private:
  static constexpr int kDiscovery = 0;
  static constexpr int kHeldOut = 1;
  static constexpr int kBoundary = 2;

  static int ListOf(const BenchmarkFailure& failure) {
    if (failure.role == BenchmarkItem::ROLE_BOUNDARY) return kBoundary;
    return failure.held_out ? kHeldOut : kDiscovery;
  }

  const std::array<size_t, 3> limits_;
  std::array<std::vector<const BenchmarkFailure*>, 3> lists_;
  std::array<size_t, 3> next_ = {};
  std::array<size_t, 3> count_ = {};
  int turn_ = kDiscovery;
};

void CountExported(const BenchmarkRun& run, v1::BenchmarkStratum* stratum) {
  if (run.role == BenchmarkItem::ROLE_BOUNDARY) {
    stratum->set_boundary_exported(stratum->boundary_exported() + 1);
  } else if (run.role == BenchmarkItem::ROLE_MATCHED_SUCCESS) {
    stratum->set_successes_exported(stratum->successes_exported() + 1);
  } else if (run.held_out) {
    stratum->set_held_out_exported(stratum->held_out_exported() + 1);
  } else {
    stratum->set_members_exported(stratum->members_exported() + 1);
  }
}

void DescribeStratum(const BenchmarkMode& mode, v1::BenchmarkStratum* stratum) {
  stratum->set_cluster(mode.cluster->name());
  stratum->set_title(mode.cluster->title());
  stratum->set_failure_mode(mode.cluster->diagnosis().failure_mode());
  for (const BenchmarkFailure& failure : mode.failures) {
    if (failure.role == BenchmarkItem::ROLE_BOUNDARY) continue;
    if (failure.held_out) {
      stratum->set_held_out(stratum->held_out() + 1);
    } else {
      stratum->set_members(stratum->members() + 1);
    }
  }
}

}  // namespace

TaskKeys TaskKeysOf(const v1::Trace& trace) {
  const v1::Task& task = trace.task();
  TaskKeys keys;
  if (!task.id().empty()) keys.task = base::Hash64(task.id()) | 1;
  if (!task.type().empty() || !task.dataset().empty()) {
    keys.kind =
        base::Hash64(absl::StrCat(task.type(), "\x1f", task.dataset())) | 1;
  }
  return keys;
}

absl::StatusOr<BenchmarkPlan> PlanBenchmark(
    absl::Span<const BenchmarkMode> modes,
    absl::Span<const BenchmarkSuccess> successes, const BenchmarkLimits& limits,
    const ReadFacts& facts) {
  BenchmarkPlan plan;
  v1::BenchmarkSummary& summary = plan.summary;
  summary.set_seed(limits.seed);
  SuccessShelf shelf(successes, limits.seed);
  std::vector<Queue> queues;
  for (const BenchmarkMode& mode : modes) {
    queues.emplace_back(mode, limits);
    DescribeStratum(mode, summary.add_strata());
  }

  Taken taken;
  for (bool any = true; any;) {
    any = false;
    for (size_t m = 0; m < queues.size(); ++m) {
      if (plan.runs.size() == limits.max_items) break;
      const BenchmarkFailure* failure = queues[m].Next(taken);
      if (failure == nullptr) continue;
      any = true;
      taken.insert(failure->sequence);
      const absl::StatusOr<RunFacts> found = facts(failure->sequence);
      if (absl::IsNotFound(found.status())) {
        summary.set_deleted(summary.deleted() + 1);
        continue;
      }
      FAULTLINE_RETURN_IF_ERROR(found.status());
      queues[m].Count(*failure);
      plan.runs.push_back({failure->sequence, modes[m].cluster, failure->role,
                           failure->held_out, failure->strength,
                           failure->relative_distance, "", false});
      const size_t room = std::min(limits.successes_per_failure,
                                   limits.max_items - plan.runs.size());
      std::vector<std::pair<const BenchmarkSuccess*, bool>> matched;
      shelf.Take(found->keys, failure->held_out, room, &matched);
      for (const auto& [success, same_task] : matched) {
        plan.runs.push_back({success->sequence, modes[m].cluster,
                             BenchmarkItem::ROLE_MATCHED_SUCCESS,
                             success->held_out, 0, std::nullopt,
                             found->trace_id, same_task});
      }
      if (matched.size() < limits.successes_per_failure) {
        summary.set_short_of_successes(summary.short_of_successes() + 1);
      }
    }
  }
  for (const Queue& queue : queues) queue.CountLeft(&taken, &summary);

  absl::flat_hash_map<const v1::Cluster*, int> place;
  for (const BenchmarkMode& mode : modes) {
    place.try_emplace(mode.cluster, static_cast<int>(place.size()));
  }
  for (const BenchmarkRun& run : plan.runs) {
    CountExported(run, summary.mutable_strata(place.at(run.cluster)));
  }
  summary.set_items(plan.runs.size());
  const auto rank = [&place](const BenchmarkRun& run) {
    return std::make_tuple(place.at(run.cluster), run.held_out, run.role);
  };
  std::stable_sort(plan.runs.begin(), plan.runs.end(),
                   [&rank](const BenchmarkRun& a, const BenchmarkRun& b) {
                     return rank(a) < rank(b);
                   });
  return plan;
}

}  // namespace faultline::evaluate
