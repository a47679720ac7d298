#include "server/benchmark_stream.h"

#include "lib/base/status_macros.h"
#include "server/benchmark_reader.h"
#include "server/grpc_status.h"
#include "server/resource_name.h"

namespace faultline::server {

BenchmarkStream* BenchmarkStream::Start(
    grpc::CallbackServerContext* context,
    const v1::ExportBenchmarkRequest& request,
    const Dependencies& dependencies) {
  std::shared_ptr<BenchmarkStream> stream(
      new BenchmarkStream(context, request, dependencies));
  stream->self_ = stream;
  stream->Proceed();
  return stream.get();
}

BenchmarkStream::BenchmarkStream(grpc::CallbackServerContext* context,
                                 const v1::ExportBenchmarkRequest& request,
                                 const Dependencies& dependencies)
    : context_(context), request_(request), dependencies_(dependencies) {}

void BenchmarkStream::OnWriteDone(bool ok) {
  if (!ok) return End(absl::CancelledError("the client is gone"));
  Proceed();
}

void BenchmarkStream::Proceed() {
  const bool taken = dependencies_.pool->Submit([stream = self_] {
    const absl::Status status = stream->Step();
    if (!status.ok() || stream->response_.content_case() ==
                            v1::ExportBenchmarkResponse::CONTENT_NOT_SET) {
      return stream->End(status);
    }
    stream->StartWrite(&stream->response_);
  });
  if (!taken) End(OverloadedError("too many calls at once"));
}

absl::Status BenchmarkStream::Step() {
  response_.Clear();
  if (cancelled_) return absl::CancelledError("cancelled");
  if (snapshot_ == nullptr) return Choose();
  while (next_ < plan_.runs.size()) {
    absl::Status read = ReadItem(plan_.runs[next_++]);
    if (!absl::IsNotFound(read)) return read;
    response_.Clear();
  }
  return absl::OkStatus();
}

absl::Status BenchmarkStream::Choose() {
  FAULTLINE_ASSIGN_OR_RETURN(project_,
                             ParseProjectName("parent", request_.parent()));
  FAULTLINE_ASSIGN_OR_RETURN(snapshot_,
                             dependencies_.projects->Snapshot(project_));
  FAULTLINE_ASSIGN_OR_RETURN(
      plan_, ReadBenchmark(request_, project_, *snapshot_, *dependencies_.log));
  *response_.mutable_summary() = plan_.summary;
  return absl::OkStatus();
}

absl::Status BenchmarkStream::ReadItem(const evaluate::BenchmarkRun& run) {
  v1::BenchmarkItem& item = *response_.mutable_item();
  FAULTLINE_ASSIGN_OR_RETURN(
      *item.mutable_trace(),
      dependencies_.log->ReadTrace(project_, run.sequence));
  item.set_outcome(
      dependencies_.ingestor->GetOutcomes(project_, {run.sequence}).front());
  item.set_role(run.role);
  item.set_split(run.held_out ? v1::BenchmarkItem::SPLIT_HELD_OUT
                              : v1::BenchmarkItem::SPLIT_DISCOVERY);
  item.set_strength(run.strength);
  if (run.relative_distance.has_value()) {
    item.set_relative_distance(*run.relative_distance);
  }
  item.set_matched_to(run.matched_to);
  item.set_same_task(run.same_task);
  const v1::Cluster& cluster = *run.cluster;
  item.set_cluster(cluster.name());
  item.set_title(cluster.title());
  item.set_failure_mode(cluster.diagnosis().failure_mode());
  item.set_confidence(cluster.diagnosis().confidence());
  item.set_cluster_status(cluster.status());
  item.set_tick(snapshot_->state.tick().tick());
  item.set_tick_digest(snapshot_->state.tick().digest());
  item.set_sequence(run.sequence);
  item.set_seed(request_.seed());
  return absl::OkStatus();
}

void BenchmarkStream::End(const absl::Status& status) {
  Finish(ToGrpcStatus(status, context_));
}

}  // namespace faultline::server
