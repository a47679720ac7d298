#include "server/ingest_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/ingest/piece_merge.h"
#include "server/grpc_status.h"
#include "server/request_check.h"
#include "server/resource_name.h"
#include "server/trace_ingest_service.h"

namespace faultline::server {
namespace {

// Keeps a response of nothing but rejections below gRPC's default of 4 MB.
constexpr int kMaxRejections = kMaxBatch;
// Shorter than clients wait for an acknowledgement.
constexpr absl::Duration kLongestHold = absl::Seconds(10);

}  // namespace

IngestStream* IngestStream::Start(grpc::CallbackServerContext* context,
                                  ingest::Ingestor* ingestor, IngestLane* lane,
                                  StreamRegistry* registry, uint64_t window,
                                  OnStored on_stored) {
  std::shared_ptr<IngestStream> stream(new IngestStream(
      context, ingestor, lane, registry, window, std::move(on_stored)));
  stream->self_ = stream;
  if (!registry->Add(stream)) stream->Drain();
  stream->Proceed();
  return stream.get();
}

IngestStream::IngestStream(grpc::CallbackServerContext* context,
                           ingest::Ingestor* ingestor, IngestLane* lane,
                           StreamRegistry* registry, uint64_t window,
                           OnStored on_stored)
    : context_(context),
      ingestor_(ingestor),
      lane_(lane),
      registry_(registry),
      window_(window),
      on_stored_(std::move(on_stored)) {}

void IngestStream::OnReadDone(bool ok) {
  {
    // What arrives after the end is not looked at.
    absl::MutexLock lock(&mutex_);
    ok = ok && !ending_;
  }
  if (ok) {
    request_bytes_ = request_.ByteSizeLong();
    return HandOver();
  }
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    End(absl::OkStatus());
  }
  Proceed();
}

void IngestStream::HandOver() {
  const std::shared_ptr<IngestStream> stream = shared_from_this();
  absl::Status status = Greet();
  if (!status.ok()) return Advance(status);
  const bool pieces = request_.pieces_size() > 0 || !pieces_.empty();
  status = ingestor_->CheckRoom(project_, pieces);
  if (status.ok()) {
    status = lane_->Run(project_, request_bytes_,
                        [stream] { stream->Advance(stream->Accept()); });
    if (status.ok()) return Proceed();
  }
  may_hold_ = true;
  Advance(status);
}

void IngestStream::Advance(const absl::Status& status) {
  if (Hold(status)) return Proceed();
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (!status.ok()) End(status);
  }
  Proceed();
}

bool IngestStream::Hold(const absl::Status& refused) {
  const auto detail = base::GetErrorDetail(refused);
  if (!detail.has_value() || !detail->has_retry_delay() || !may_hold_) {
    return false;
  }
  const absl::Duration delay = absl::Seconds(detail->retry_delay().seconds()) +
                               absl::Nanoseconds(detail->retry_delay().nanos());
  absl::MutexLock lock(&mutex_);
  if (ending_ || delay > kLongestHold) return false;
  held_ = shared_from_this();
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                           gpr_time_from_nanos(absl::ToInt64Nanoseconds(delay),
                                               GPR_TIMESPAN)),
              [this](bool) {
                std::shared_ptr<IngestStream> stream;
                {
                  absl::MutexLock held_lock(&mutex_);
                  stream = std::move(held_);
                }
                stream->HandOver();
              });
  return true;
}

absl::Status IngestStream::Greet() {
  if (!project_.empty()) return absl::OkStatus();
  FAULTLINE_ASSIGN_OR_RETURN(project_,
                             ParseProjectName("parent", request_.parent()));
  absl::MutexLock lock(&mutex_);
  greeting_due_ = true;
  return absl::OkStatus();
}

absl::Status IngestStream::Accept() {
  const int traces = request_.traces_size();
  FAULTLINE_RETURN_IF_ERROR(CheckCount("traces", traces, 0, kMaxBatch));
  FAULTLINE_RETURN_IF_ERROR(
      CheckCount("pieces", request_.pieces_size(), 0, kMaxBatch - traces));
  std::move(request_.mutable_traces()->begin(),
            request_.mutable_traces()->end(), std::back_inserter(traces_));
  request_.clear_traces();
  for (v1::TracePiece& piece : *request_.mutable_pieces()) {
    pieces_.push_back(ingest::ToPiece(std::move(piece)));
  }
  request_.clear_pieces();
  FAULTLINE_RETURN_IF_ERROR(AcceptTraces());
  return AcceptPieces();
}

absl::Status IngestStream::AcceptTraces() {
  if (traces_.empty()) return absl::OkStatus();
  Batch* batch = AddBatch(traces_.size(), /*pieces=*/false);
  if (batch == nullptr) return absl::OkStatus();
  absl::Status status =
      ingestor_->IngestTraces(project_, std::move(traces_), Settler(batch));
  return TakeBack(std::move(status), &traces_);
}

absl::Status IngestStream::AcceptPieces() {
  if (pieces_.empty()) return absl::OkStatus();
  Batch* batch = AddBatch(pieces_.size(), /*pieces=*/true);
  if (batch == nullptr) return absl::OkStatus();
  absl::Status status =
      ingestor_->IngestPieces(project_, std::move(pieces_), Settler(batch));
  return TakeBack(std::move(status), &pieces_);
}

template <typename Element>
absl::Status IngestStream::TakeBack(absl::Status status,
                                    std::vector<Element>* elements) {
  may_hold_ = !status.ok() && !elements->empty();
  if (!may_hold_) elements->clear();
  if (!status.ok()) DropBatch();
  return status;
}

IngestStream::Batch* IngestStream::AddBatch(size_t count, bool pieces) {
  absl::MutexLock lock(&mutex_);
  if (ending_) return nullptr;
  Batch* batch = batches_.emplace_back(std::make_unique<Batch>()).get();
  batch->first = received_;
  batch->count = count;
  batch->pieces = pieces;
  received_ += count;
  return batch;
}

void IngestStream::DropBatch() {
  absl::MutexLock lock(&mutex_);
  received_ -= batches_.back()->count;
  batches_.pop_back();
}

ingest::Ingestor::Done IngestStream::Settler(Batch* batch) {
  return [stream = shared_from_this(),
          batch](absl::StatusOr<ingest::Ingestor::Result> result) {
    stream->lane_->Answer(
        [stream, batch, result = std::move(result)]() mutable {
          stream->Settle(batch, std::move(result));
        });
  };
}

void IngestStream::Settle(Batch* batch,
                          absl::StatusOr<ingest::Ingestor::Result> result) {
  // Pieces are not in the log yet.
  if (result.ok() && result->stored > 0 && !batch->pieces) {
    on_stored_(project_);
  }
  {
    absl::MutexLock lock(&mutex_);
    if (result.ok()) {
      batch->settled = true;
      batch->result = *std::move(result);
    } else {
      broken_ = true;
      End(result.status());
    }
  }
  Proceed();
}

void IngestStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      End(absl::CancelledError("the client is gone"));
    }
  }
  Proceed();
}

void IngestStream::OnCancel() {
  {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
    End(absl::CancelledError("cancelled"));
  }
  Proceed();
}

void IngestStream::Drain() {
  {
    absl::MutexLock lock(&mutex_);
    End(StoppingError());
  }
  Proceed();
}

void IngestStream::OnDone() {
  registry_->Remove(this);
  auto last = std::move(self_);
}

void IngestStream::End(const absl::Status& status) {
  if (ending_) return;
  ending_ = true;
  status_ = status;
  if (alarm_ != nullptr) alarm_->Cancel();
}

bool IngestStream::FillResponse() {
  response_.Clear();
  bool news = std::exchange(greeting_due_, false);
  if (news) response_.set_window(window_);
  while (!batches_.empty() && batches_.front()->settled) {
    Batch& batch = *batches_.front();
    const int rejections = static_cast<int>(batch.result.refusals.size());
    if (response_.rejections_size() > 0 &&
        response_.rejections_size() + rejections > kMaxRejections) {
      break;
    }
    for (ingest::Ingestor::Refusal& refusal : batch.result.refusals) {
      FillRejection(std::move(refusal), batch.first,
                    response_.add_rejections());
    }
    settled_ += batch.count;
    duplicates_ += batch.result.duplicates;
    durable_sequence_ =
        std::max(durable_sequence_, batch.result.durable_sequence);
    batches_.pop_front();
    news = true;
  }
  response_.set_settled(settled_);
  response_.set_duplicates(duplicates_);
  response_.set_durable_sequence(durable_sequence_);
  return news;
}

void IngestStream::Proceed() {
  bool read = false, write = false, finish = false;
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (!writing_ && !broken_ && FillResponse()) writing_ = write = true;
    if (!reading_ && !ending_ && received_ - settled_ < window_) {
      reading_ = read = true;
    }
    if (ending_ && !writing_ && (broken_ || batches_.empty())) {
      finished_ = finish = true;
      status = status_;
    }
  }
  if (write) StartWrite(&response_);
  if (read) StartRead(&request_);
  if (finish) Finish(ToGrpcStatus(status, context_));
}

}  // namespace faultline::server
