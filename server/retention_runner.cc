#include "server/retention_runner.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "lib/base/status_macros.h"
#include "lib/ingest/retention.h"

namespace faultline::server {
namespace {

constexpr absl::Duration kInterval = absl::Minutes(1);
// Compaction pays when so much was freed, or a quarter of what is left.
constexpr uint64_t kFreedBytes = 256 << 20;

bool IsFailure(v1::Outcome outcome) {
  return outcome == v1::OUTCOME_FAIL || outcome == v1::OUTCOME_ERROR;
}

bool IsLimited(const v1::RetentionConfig& limits) {
  return limits.has_max_age() || limits.max_traces() > 0 ||
         limits.max_bytes() > 0;
}

}  // namespace

RetentionRunner::RetentionRunner(ingest::Ingestor* ingestor,
                                 trace::TraceLog* log, Projects* projects,
                                 const base::Clock* clock)
    : ingestor_(ingestor), log_(log), projects_(projects), clock_(clock) {}

void RetentionRunner::Start() {
  runner_ = std::make_unique<base::PeriodicRunner>(
      clock_, [] { return kInterval; }, [this] { RunOnce(); });
}

void RetentionRunner::Stop() {
  if (runner_ != nullptr) runner_->Stop();
}

void RetentionRunner::Debt::Add(const Debt& other) {
  freed = freed > kFreedBytes ? freed : freed + other.freed;
  trim_to = std::max(trim_to, other.trim_to);
}

void RetentionRunner::Note(absl::string_view project, uint64_t freed) {
  const uint64_t last = log_->LastSequence(project);
  absl::MutexLock lock(&mutex_);
  debts_[project].Add({freed, last});
}

void RetentionRunner::NoteDeleted(absl::string_view project) {
  Note(project, kFreedBytes);
  if (runner_ != nullptr) runner_->Trigger();
}

void RetentionRunner::RunOnce() {
  for (const std::string& project : projects_->Names()) {
    const absl::Status status = RunProject(project);
    if (!status.ok()) {
      LOG(ERROR) << "project " << project << ": retention failed: " << status;
    }
  }
}

absl::Status RetentionRunner::RunProject(const std::string& project) {
  FAULTLINE_ASSIGN_OR_RETURN(const uint64_t removed, Expire(project));
  if (removed > 0) Note(project, removed);
  Debt debt;
  {
    absl::MutexLock lock(&mutex_);
    debt = std::exchange(debts_[project], Debt());
  }
  absl::Status status = Settle(project, &debt);
  absl::MutexLock lock(&mutex_);
  debts_[project].Add(debt);
  return status;
}

absl::Status RetentionRunner::Settle(const std::string& project, Debt* debt) {
  if (debt->trim_to > 0) {
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    // All have read on: nobody else needs what is spent.
    const ingest::Ingestor::Counters counters = ingestor_->GetCounters(project);
    const uint64_t read =
        std::min({counters.indexed_sequence, counters.checkpoint_sequence,
                  snapshot->state.tick().watermark()});
    if (counters.checkpoint_sequence < debt->trim_to) {
      ingestor_->RequestCheckpoint(project);
    }
    FAULTLINE_RETURN_IF_ERROR(log_->Trim(project, read));
    if (read >= debt->trim_to) debt->trim_to = 0;
  }
  if (debt->freed > 0 && (debt->freed >= kFreedBytes ||
                          debt->freed >= log_->StoredBytes(project) / 4)) {
    FAULTLINE_RETURN_IF_ERROR(log_->Compact(project));
    debt->freed = 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> RetentionRunner::Expire(const std::string& project) {
  const auto settings = projects_->Settings(project);
  if (!IsLimited(settings->retention())) return 0;
  FAULTLINE_ASSIGN_OR_RETURN(const auto stored, log_->ListRuns(project));
  std::vector<uint64_t> sequences;
  sequences.reserve(stored.size());
  for (const auto& run : stored) sequences.push_back(run.sequence);
  const std::vector<v1::Outcome> outcomes =
      ingestor_->GetOutcomes(project, sequences);
  std::vector<ingest::RetainedRun> runs;
  runs.reserve(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    runs.push_back({stored[i].sequence, stored[i].receive_time, stored[i].bytes,
                    IsFailure(outcomes[i])});
  }
  std::map<v1::DeletionReason, std::vector<uint64_t>> expired;
  for (const ingest::ExpiredRun& run :
       ingest::FindExpired(runs, settings->retention(), clock_->Now())) {
    expired[run.reason].push_back(run.sequence);
  }
  uint64_t bytes = 0;
  for (auto& [reason, condemned] : expired) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto deleted,
        log_->Delete(project, std::move(condemned), reason));
    bytes += deleted.bytes;
    LOG(INFO) << "project " << project << ": removed " << deleted.runs
              << " runs, " << v1::DeletionReason_Name(reason);
  }
  return bytes;
}

}  // namespace faultline::server
