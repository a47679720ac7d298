#include "server/trace_deletion.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/policy/predicate.h"
#include "server/grpc_status.h"
#include "server/request_check.h"
#include "server/resource_name.h"
#include "server/trace_ingest_service.h"

namespace faultline::server {
namespace {

constexpr size_t kMaxIdBytes = 128;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

// What a run is selected by.
class Condition {
 public:
  static absl::StatusOr<Condition> Create(
      const v1::DeleteTracesRequest& request) {
    Condition condition;
    if (request.selection_case() == v1::DeleteTracesRequest::kSessionId) {
      FAULTLINE_RETURN_IF_ERROR(
          CheckLength("session_id", request.session_id(), 1, kMaxIdBytes));
      condition.session_id_ = request.session_id();
      return condition;
    }
    const v1::TraceFilter& filter = request.filter();
    if (!filter.has_predicate() && !filter.has_begin_time() &&
        !filter.has_end_time() && filter.outcome() == v1::OUTCOME_UNSPECIFIED) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "filter",
                                "at least one condition",
                                "is empty; to remove every run, set "
                                "`predicate { all {} }`"));
    }
    if (!v1::Outcome_IsValid(filter.outcome())) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_UNKNOWN_ENUM,
                                "filter.outcome", "an Outcome", "is none"));
    }
    if (filter.has_predicate()) {
      FAULTLINE_ASSIGN_OR_RETURN(
          condition.predicate_,
          policy::CompiledPredicate::Compile(filter.predicate()));
    }
    if (filter.has_begin_time()) condition.begin_ = ToTime(filter.begin_time());
    if (filter.has_end_time()) condition.end_ = ToTime(filter.end_time());
    return condition;
  }

  bool Holds(const v1::Trace& trace) const {
    if (session_id_.has_value()) return trace.session_id() == *session_id_;
    const absl::Time start = ToTime(trace.start_time());
    return start >= begin_ && start < end_ &&
           (!predicate_.has_value() || predicate_->Matches(trace));
  }

 private:
  std::optional<std::string> session_id_;
  std::optional<policy::CompiledPredicate> predicate_;
  absl::Time begin_ = absl::InfinitePast();
  absl::Time end_ = absl::InfiniteFuture();
};

// One call.
class Deletion {
 public:
  Deletion(const v1::DeleteTracesRequest& request, std::string project,
           ingest::Ingestor* ingestor, trace::TraceLog* log, Projects* projects)
      : request_(request),
        project_(std::move(project)),
        ingestor_(ingestor),
        log_(log),
        projects_(projects) {}

  absl::StatusOr<v1::DeleteTracesResponse> Run() {
    FAULTLINE_RETURN_IF_ERROR(FindShown());
    switch (request_.selection_case()) {
      case v1::DeleteTracesRequest::kIds:
        FAULTLINE_RETURN_IF_ERROR(SelectIds());
        break;
      case v1::DeleteTracesRequest::kSessionId:
      case v1::DeleteTracesRequest::kFilter:
        FAULTLINE_RETURN_IF_ERROR(SelectByCondition());
        break;
      case v1::DeleteTracesRequest::SELECTION_NOT_SET:
        return base::DetailedError(
            absl::StatusCode::kInvalidArgument,
            base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "selection",
                                  "ids, session_id or filter", "is missing"));
    }
    Describe();
    if (!request_.dry_run() && !selected_.empty()) {
      FAULTLINE_RETURN_IF_ERROR(Remove());
    }
    return std::move(response_);
  }

 private:
  struct Selected {
    uint64_t sequence;
    uint64_t bytes;
    std::vector<std::string> clusters;  // that show it
  };

  // Which clusters show which runs.
  absl::Status FindShown() {
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project_));
    for (const v1::Cluster& cluster : snapshot->state.clusters()) {
      std::set<std::string> ids(cluster.exemplars().begin(),
                                cluster.exemplars().end());
      ids.insert(cluster.medoid());
      for (const std::string& id : ids) {
        shown_[id].push_back(
            MakeResourceName(project_, "clusters", cluster.cluster_id()));
      }
    }
    return absl::OkStatus();
  }

  void Select(uint64_t sequence, const v1::Trace& trace) {
    const auto shown = shown_.find(trace.trace_id());
    selected_.push_back(
        {sequence, trace.ByteSizeLong(),
         shown == shown_.end() ? std::vector<std::string>() : shown->second});
  }

  absl::Status SelectIds() {
    FAULTLINE_RETURN_IF_ERROR(CheckCount(
        "ids.trace_ids", request_.ids().trace_ids_size(), 1, kMaxBatch));
    const std::set<std::string> ids(request_.ids().trace_ids().begin(),
                                    request_.ids().trace_ids().end());
    for (const std::string& id : ids) {
      const absl::StatusOr<uint64_t> sequence = log_->FindTrace(project_, id);
      if (absl::IsNotFound(sequence.status())) {
        response_.add_unknown_ids(id);
        continue;
      }
      FAULTLINE_RETURN_IF_ERROR(sequence.status());
      const absl::StatusOr<v1::Trace> trace =
          log_->ReadTrace(project_, *sequence);
      if (absl::IsNotFound(trace.status())) continue;  // removed meanwhile
      FAULTLINE_RETURN_IF_ERROR(trace.status());
      Select(*sequence, *trace);
    }
    return absl::OkStatus();
  }

  absl::Status SelectByCondition() {
    FAULTLINE_ASSIGN_OR_RETURN(const Condition condition,
                               Condition::Create(request_));
    absl::Status fault;
    FAULTLINE_RETURN_IF_ERROR(log_->Scan(
        project_, 1, log_->LastSequence(project_),
        [&](const v1::LogRecord& record) {
          const bool run = record.has_trace() || record.has_replacement();
          const v1::Trace& trace =
              record.has_trace() ? record.trace() : record.replacement();
          if (!run || !condition.Holds(trace)) return true;
          // An earlier version of a run does not count.
          const auto last = log_->FindTrace(project_, trace.trace_id());
          if (last.ok() && *last == record.sequence()) {
            Select(record.sequence(), trace);
          } else if (!last.ok() && !absl::IsNotFound(last.status())) {
            fault = last.status();
          }
          return fault.ok();
        }));
    FAULTLINE_RETURN_IF_ERROR(fault);
    if (request_.filter().outcome() != v1::OUTCOME_UNSPECIFIED) {
      KeepOutcome(request_.filter().outcome());
    }
    return absl::OkStatus();
  }

  void KeepOutcome(v1::Outcome outcome) {
    const std::vector<v1::Outcome> outcomes =
        ingestor_->GetOutcomes(project_, Sequences());
    size_t kept = 0;
    for (size_t i = 0; i < selected_.size(); ++i) {
      if (outcomes[i] == outcome) {
        selected_[kept++] = std::move(selected_[i]);
      }
    }
    selected_.resize(kept);
  }

  std::vector<uint64_t> Sequences() const {
    std::vector<uint64_t> sequences;
    sequences.reserve(selected_.size());
    for (const Selected& run : selected_) sequences.push_back(run.sequence);
    return sequences;
  }

  void Describe() {
    const uint64_t indexed = ingestor_->GetCounters(project_).indexed_sequence;
    std::set<std::string> clusters;
    for (const Selected& run : selected_) {
      response_.set_bytes(response_.bytes() + run.bytes);
      if (run.sequence <= indexed) {
        response_.set_vectors(response_.vectors() + 1);
      }
      clusters.insert(run.clusters.begin(), run.clusters.end());
    }
    response_.set_traces(selected_.size());
    response_.mutable_clusters()->Add(clusters.begin(), clusters.end());
  }

  absl::Status Remove() {
    FAULTLINE_ASSIGN_OR_RETURN(
        const trace::TraceLog::Deleted deleted,
        log_->Delete(project_, Sequences(), v1::DELETION_REASON_REQUESTED));
    response_.set_traces(deleted.runs);
    response_.set_outcomes(deleted.outcomes);
    response_.set_annotations(deleted.annotations);
    response_.set_bytes(deleted.bytes);
    ingestor_->WaitUntilIndexed(project_);
    projects_->TriggerTick(project_, nullptr);
    return absl::OkStatus();
  }

  const v1::DeleteTracesRequest& request_;
  const std::string project_;
  ingest::Ingestor* const ingestor_;
  trace::TraceLog* const log_;
  Projects* const projects_;
  // Clusters by the id of a run that they show.
  absl::flat_hash_map<std::string, std::vector<std::string>> shown_;
  std::vector<Selected> selected_;
  v1::DeleteTracesResponse response_;
};

}  // namespace

absl::StatusOr<v1::DeleteTracesResponse> DeleteTraces(
    const v1::DeleteTracesRequest& request, ingest::Ingestor* ingestor,
    trace::TraceLog* log, Projects* projects) {
  FAULTLINE_ASSIGN_OR_RETURN(std::string project,
                             ParseProjectName("parent", request.parent()));
  return Deletion(request, std::move(project), ingestor, log, projects).Run();
}

}  // namespace faultline::server
