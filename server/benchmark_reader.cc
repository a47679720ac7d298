#include "server/benchmark_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/run.h"
#include "lib/evaluate/judged_runs.h"
#include "lib/slowloop/known_modes.h"
#include "lib/slowloop/tick.h"
#include "server/cluster_review.h"
#include "server/grpc_status.h"
#include "server/request_check.h"
#include "server/resource_name.h"
#include "server/run_scan.h"

namespace faultline::server {
namespace {

using evaluate::BenchmarkMode;
using evaluate::BenchmarkSuccess;
using v1::BenchmarkItem;
using v1::Cluster;

constexpr int kMaxClusters = 1000;
constexpr int kMaxPerMode = 1000;
constexpr int kMaxBoundary = 10;
constexpr int kMaxSuccesses = 10;
constexpr int kMaxItems = 10000;
// Held-out failures that are compared with the modes.
constexpr size_t kMaxCompared = 4096;
// A mode that is farther than the nearest of its view by this share of its
// reach is another mode.
constexpr double kAsNear = 0.1;

absl::StatusOr<evaluate::BenchmarkLimits> LimitsOf(
    const v1::ExportBenchmarkRequest& request) {
  FAULTLINE_RETURN_IF_ERROR(
      CheckCount("clusters", request.clusters_size(), 0, kMaxClusters));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("per_mode", request.per_mode(), 0, kMaxPerMode));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "boundary_per_mode", request.boundary_per_mode(), 0, kMaxBoundary));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("successes_per_failure",
                                       request.successes_per_failure(), 0,
                                       kMaxSuccesses));
  FAULTLINE_RETURN_IF_ERROR(
      CheckRange("max_items", request.max_items(), 0, kMaxItems));
  evaluate::BenchmarkLimits limits;
  if (request.per_mode() > 0) limits.per_mode = request.per_mode();
  limits.boundary_per_mode = request.boundary_per_mode();
  limits.successes_per_failure = request.successes_per_failure();
  if (request.max_items() > 0) limits.max_items = request.max_items();
  limits.seed = request.seed();
  return limits;
}

// What is kept of a run of the stretch.
struct Row {
  uint64_t sequence = 0;
  bool held_out = false;
  evaluate::TaskKeys keys;
};

class Reader {
 public:
  Reader(const v1::ExportBenchmarkRequest& request, const std::string& project,
         const slowloop::TickSnapshot& snapshot, const trace::TraceLog& log)
      : request_(request), project_(project), snapshot_(snapshot), log_(log) {}

  absl::StatusOr<evaluate::BenchmarkPlan> Read() {
    FAULTLINE_ASSIGN_OR_RETURN(const evaluate::BenchmarkLimits limits,
                               LimitsOf(request_));
    FAULTLINE_RETURN_IF_ERROR(ChooseClusters());
    evaluate::JudgedRuns runs(
        [this](size_t row, uint64_t sequence, const v1::Trace& trace) {
          if (rows_.size() <= row) rows_.resize(row + 1);
          rows_[row] = {sequence, IsHeldOut(trace.trace_id()),
                        evaluate::TaskKeysOf(trace)};
        });
    FAULTLINE_ASSIGN_OR_RETURN(
        v1::RunStretch stretch,
        ScanRuns(log_, project_, snapshot_.state.tick(), &runs));
    v1::BenchmarkSummary found;
    std::vector<const Row*> held_out;
    std::vector<BenchmarkSuccess> successes;
    for (size_t r = 0; r < rows_.size(); ++r) {
      const v1::Outcome outcome = runs.outcomes()[r];
      if (outcome == v1::OUTCOME_UNSPECIFIED) {
        stretch.set_pending(stretch.pending() + 1);
        continue;
      }
      stretch.set_runs(stretch.runs() + 1);
      if (!evaluate::IsFailure(outcome)) {
        successes.push_back(
            {rows_[r].sequence, rows_[r].held_out, rows_[r].keys});
      } else if (rows_[r].held_out) {
        held_out.push_back(&rows_[r]);
      }
    }
    for (BenchmarkMode& mode : modes_) {
      FAULTLINE_RETURN_IF_ERROR(AddMembers(&mode));
    }
    FAULTLINE_RETURN_IF_ERROR(AddHeldOut(std::move(held_out), &found));
    FAULTLINE_ASSIGN_OR_RETURN(
        evaluate::BenchmarkPlan plan,
        evaluate::PlanBenchmark(
            modes_, successes, limits,
            [this](uint64_t sequence) { return FactsOf(sequence); }));
    *found.mutable_stretch() = stretch;
    found.set_tick_digest(snapshot_.state.tick().digest());
    plan.summary.MergeFrom(found);
    return plan;
  }

 private:
  bool IsHeldOut(const std::string& trace_id) const {
    return !slowloop::OnDiscoverySide(
        trace_id, snapshot_.state.config().discovery_share());
  }

  absl::Status ChooseClusters() {
    std::map<std::string, const Cluster*> chosen;  // by id
    for (const std::string& name : request_.clusters()) {
      FAULTLINE_ASSIGN_OR_RETURN(
          const ResourceName parsed,
          ParseResourceName("clusters", name, "clusters"));
      const Cluster* cluster = FindCluster(snapshot_.state, parsed.id);
      if (cluster == nullptr || parsed.project != project_) {
        return NotFoundError("clusters", name);
      }
      chosen[cluster->cluster_id()] = cluster;
    }
    const std::set<int> statuses(request_.statuses().begin(),
                                 request_.statuses().end());
    for (const Cluster& cluster : snapshot_.state.clusters()) {
      if (!request_.clusters().empty()) break;
      const bool wanted = statuses.empty()
                              ? cluster.status() != Cluster::STATUS_RETIRED &&
                                    cluster.status() != Cluster::STATUS_ARTIFACT
                              : statuses.count(cluster.status()) > 0;
      if (wanted) chosen[cluster.cluster_id()] = &cluster;
    }
    for (const auto& [id, cluster] : chosen) modes_.push_back({cluster, {}});
    return absl::OkStatus();
  }

  // Sequence of the last version of a run, which may have been deleted.
  absl::StatusOr<std::vector<uint64_t>> VersionsOf(
      const std::string& trace_id) const {
    auto versions = log_.FindVersions(project_, trace_id);
    if (absl::IsNotFound(versions.status())) return std::vector<uint64_t>();
    return versions;
  }

  absl::Status AddMembers(BenchmarkMode* mode) const {
    const Cluster& cluster = *mode->cluster;
    absl::flat_hash_map<uint64_t, BenchmarkItem::Role> role_of;
    const auto name = [&](const std::string& trace_id,
                          BenchmarkItem::Role role) -> absl::Status {
      FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                                 VersionsOf(trace_id));
      for (const uint64_t version : versions) {
        role_of.try_emplace(version, role);
      }
      return absl::OkStatus();
    };
    if (!cluster.medoid().empty()) {
      FAULTLINE_RETURN_IF_ERROR(
          name(cluster.medoid(), BenchmarkItem::ROLE_MEDOID));
    }
    for (const std::string& exemplar : cluster.exemplars()) {
      FAULTLINE_RETURN_IF_ERROR(name(exemplar, BenchmarkItem::ROLE_EXEMPLAR));
    }
    for (const v1::ClusterMembers& members : snapshot_.state.members()) {
      if (members.cluster_id() != cluster.cluster_id()) continue;
      for (int i = 0; i < members.sequences_size(); ++i) {
        const auto role = role_of.find(members.sequences(i));
        mode->failures.push_back(
            {members.sequences(i),
             role == role_of.end() ? BenchmarkItem::ROLE_MEMBER : role->second,
             false, members.strengths(i), std::nullopt});
      }
    }
    for (const std::string& trace_id : cluster.boundary_exemplars()) {
      FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                                 VersionsOf(trace_id));
      if (versions.empty()) continue;
      mode->failures.push_back({versions.back(), BenchmarkItem::ROLE_BOUNDARY,
                                IsHeldOut(trace_id), 0, std::nullopt});
    }
    return absl::OkStatus();
  }

  // Failures that no mode was made of, for each mode within the reach of which
  // they are.
  absl::Status AddHeldOut(std::vector<const Row*> failures,
                          v1::BenchmarkSummary* found) {
    found->set_held_out_failures(failures.size());
    const uint64_t seed = base::Mix64(request_.seed());
    std::sort(failures.begin(), failures.end(),
              [seed](const Row* a, const Row* b) {
                return base::Mix64(a->sequence ^ seed) <
                       base::Mix64(b->sequence ^ seed);
              });
    failures.resize(std::min(failures.size(), kMaxCompared));
    absl::flat_hash_map<std::string, BenchmarkMode*> mode_of;
    for (BenchmarkMode& mode : modes_) {
      mode_of[mode.cluster->cluster_id()] = &mode;
    }
    for (const Row* row : failures) {
      const auto trace = log_.ReadTrace(project_, row->sequence);
      if (absl::IsNotFound(trace.status())) continue;  // deleted
      FAULTLINE_RETURN_IF_ERROR(trace.status());
      found->set_held_out_compared(found->held_out_compared() + 1);
      embedding::Run run = embedding::ExtractRun(*trace, nullptr);
      run.sequence = row->sequence;
      const auto located =
          slowloop::LocateRun(snapshot_.state, *snapshot_.embedder, run);
      if (located.empty() || located.front().relative() > 1) {
        found->set_held_out_novel(found->held_out_novel() + 1);
        continue;
      }
      // Distances of two views do not compare, and within one several modes may
      // be equally near: it may stand for each of these.
      std::map<v1::View, double> nearest;
      for (const slowloop::ModeDistance& candidate : located) {
        const double relative = candidate.relative();
        const double least =
            nearest.try_emplace(candidate.mode->view(), relative).first->second;
        if (relative > 1 || relative > least + kAsNear) continue;
        const auto mode = mode_of.find(candidate.mode->cluster_id());
        if (mode == mode_of.end()) continue;
        mode->second->failures.push_back(
            {row->sequence, BenchmarkItem::ROLE_MEMBER, true, 0, relative});
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<evaluate::RunFacts> FactsOf(uint64_t sequence) const {
    FAULTLINE_ASSIGN_OR_RETURN(const v1::Trace trace,
                               log_.ReadTrace(project_, sequence));
    return evaluate::RunFacts{trace.trace_id(), evaluate::TaskKeysOf(trace)};
  }

  const v1::ExportBenchmarkRequest& request_;
  const std::string& project_;
  const slowloop::TickSnapshot& snapshot_;
  const trace::TraceLog& log_;
  std::vector<BenchmarkMode> modes_;  // ascending by cluster
  std::vector<Row> rows_;
};

}  // namespace

absl::StatusOr<evaluate::BenchmarkPlan> ReadBenchmark(
    const v1::ExportBenchmarkRequest& request, const std::string& project,
    const slowloop::TickSnapshot& snapshot, const trace::TraceLog& log) {
  return Reader(request, project, snapshot, log).Read();
}

}  // namespace faultline::server
