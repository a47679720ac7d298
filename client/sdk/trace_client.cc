#include "client/sdk/trace_client.h"

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::sdk {
namespace {

constexpr size_t kMaxBatch = 4096;  // of StreamTracesRequest

absl::Status Invalid(absl::string_view field, absl::string_view limit,
                     v1::ErrorDetail::Reason reason, absl::string_view what) {
  return base::DetailedError(absl::StatusCode::kInvalidArgument,
                             base::MakeErrorDetail(reason, field, limit, what));
}

absl::Status Validate(const TraceClient::Options& options) {
  const auto range = [](absl::string_view field, absl::string_view limit) {
    return Invalid(field, limit, v1::ErrorDetail::REASON_OUT_OF_RANGE,
                   "is out of range");
  };
  if (options.project.empty()) {
    return Invalid("project", "a project's name",
                   v1::ErrorDetail::REASON_REQUIRED, "is empty");
  }
  if (options.max_buffer_traces < 1) {
    return range("max_buffer_traces", "at least 1");
  }
  if (options.max_buffer_bytes < 1) {
    return range("max_buffer_bytes", "at least 1");
  }
  if (options.max_batch_traces < 1 || options.max_batch_traces > kMaxBatch) {
    return range("max_batch_traces", "1 to 4096");
  }
  if (options.max_batch_bytes < 1) {
    return range("max_batch_bytes", "at least 1");
  }
  if (options.max_batch_delay < absl::ZeroDuration()) {
    return range("max_batch_delay", "not negative");
  }
  if (options.settle_timeout <= absl::ZeroDuration()) {
    return range("settle_timeout", "above zero");
  }
  return ValidateRetryPolicy(options.retry);
}

absl::Status ShutDownError() {
  return absl::FailedPreconditionError("the client is shut down");
}

// A trace, or a part of one. Shared, because a batch may outlive the buffer.
using Element =
    std::variant<std::shared_ptr<v1::Trace>, std::shared_ptr<v1::TracePiece>>;

// A request over elements that it does not own. The buffer keeps them until
// they are settled, and copying each one for its request would double the
// cost.
class BorrowingRequest {
 public:
  explicit BorrowingRequest(std::vector<Element> elements)
      : elements_(std::move(elements)) {
    for (const Element& element : elements_) {
      if (const auto* trace = std::get_if<0>(&element)) {
        request_.mutable_traces()->UnsafeArenaAddAllocated(trace->get());
      } else {
        request_.mutable_pieces()->UnsafeArenaAddAllocated(
            std::get<1>(element).get());
      }
    }
  }
  ~BorrowingRequest() {
    while (!request_.traces().empty()) {
      request_.mutable_traces()->UnsafeArenaReleaseLast();
    }
    while (!request_.pieces().empty()) {
      request_.mutable_pieces()->UnsafeArenaReleaseLast();
    }
  }
  BorrowingRequest(const BorrowingRequest&) = delete;
  BorrowingRequest& operator=(const BorrowingRequest&) = delete;

  const v1::StreamTracesRequest& get() const { return request_; }

 private:
  const std::vector<Element> elements_;
  v1::StreamTracesRequest request_;
};

class StreamingTraceClient : public TraceClient {
 public:
  StreamingTraceClient(const Options& options,
                       std::shared_ptr<Connection> connection,
                       const base::Clock* clock)
      : options_(options),
        parent_(absl::StrCat("projects/", options.project)),
        connection_(std::move(connection)),
        clock_(clock),
        sender_([this] { RunSender(); }) {}

  ~StreamingTraceClient() override { Stop(absl::ZeroDuration()).IgnoreError(); }

  absl::Status Send(v1::Trace trace) override ABSL_LOCKS_EXCLUDED(mutex_) {
    const size_t bytes = trace.ByteSizeLong();
    return Take(std::make_shared<v1::Trace>(std::move(trace)), bytes);
  }

  absl::Status SendPiece(v1::TracePiece piece) override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    const size_t bytes = piece.ByteSizeLong();
    return Take(std::make_shared<v1::TracePiece>(std::move(piece)), bytes);
  }

  absl::Status Flush(absl::Duration timeout) override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Duration deadline = clock_->SteadyNow() + timeout;
    absl::MutexLock lock(&mutex_);
    return FlushLocked(deadline);
  }

  absl::StatusOr<v1::RecordOutcomesResponse> RecordOutcomes(
      const std::vector<v1::OutcomeRecord>& outcomes,
      absl::Duration timeout) override ABSL_LOCKS_EXCLUDED(mutex_) {
    v1::RecordOutcomesRequest request;
    request.set_parent(parent_);
    request.mutable_outcomes()->Assign(outcomes.begin(), outcomes.end());
    Backoff backoff(options_.retry, *clock_, parent_);
    const absl::Duration deadline = clock_->SteadyNow() + timeout;
    absl::Status failure = absl::DeadlineExceededError("no time was given");
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        if (stopping_) return ShutDownError();
      }
      const absl::Duration left = deadline - clock_->SteadyNow();
      if (left <= absl::ZeroDuration()) return failure;
      absl::StatusOr<v1::RecordOutcomesResponse> response =
          connection_->RecordOutcomes(request, left);
      if (response.ok() || !IsRetryable(response.status())) return response;
      failure = response.status();
      const absl::Duration next = clock_->SteadyNow() + backoff.Next(failure);
      if (next >= deadline) return failure;
      absl::MutexLock lock(&mutex_);
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&stopping_), next);
    }
  }

  absl::Status Shutdown(absl::Duration timeout) override
      ABSL_LOCKS_EXCLUDED(mutex_, stop_mutex_) {
    return Stop(timeout);
  }

  Statistics statistics() const override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    Statistics statistics = statistics_;
    statistics.buffered_traces = queue_.size();
    statistics.buffered_bytes = queue_bytes_;
    return statistics;
  }

 private:
  struct Item {
    Element element;
    size_t bytes;
    uint64_t number;  // counts what was accepted, from 1
    absl::Duration enqueue_time;
    bool sent_before = false;
    bool rejected = false;
  };

  // One stream, from its opening until Finish.
  struct StreamState {
    TraceStream* stream = nullptr;
    uint64_t window = 0;  // 0: the server has not said yet
    uint64_t written = 0;
    uint64_t settled = 0;
    uint64_t duplicates = 0;
    absl::Duration progress_time;
    bool writing = false;
    bool ended = false;
    absl::Status violation;  // what the server did wrong
  };

  absl::Status Take(Element element, size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    absl::Status room = MakeRoom(bytes);
    if (!room.ok()) {
      ++statistics_.refused;
      return room;
    }
    queue_.push_back(Item{std::move(element), bytes, ++statistics_.accepted,
                          clock_->SteadyNow()});
    queue_bytes_ += bytes;
    return absl::OkStatus();
  }

  absl::Status Stop(absl::Duration timeout)
      ABSL_LOCKS_EXCLUDED(mutex_, stop_mutex_) {
    const absl::Duration deadline = clock_->SteadyNow() + timeout;
    absl::MutexLock stop_lock(&stop_mutex_);
    if (!sender_.joinable()) return absl::OkStatus();
    absl::Status status;
    {
      absl::MutexLock lock(&mutex_);
      status = FlushLocked(deadline);
      stopping_ = true;
      stop_deadline_ = deadline;
      if (current_.stream != nullptr && (!queue_.empty() || current_.writing)) {
        current_.stream->Cancel();
      }
    }
    sender_.join();
    absl::MutexLock lock(&mutex_);
    statistics_.dropped += queue_.size();
    queue_.clear();
    queue_bytes_ = 0;
    return status;
  }

  absl::Status FlushLocked(absl::Duration deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const uint64_t target = statistics_.accepted;
    flush_number_ = target;
    const auto settled = [this,
                          target]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return queue_.empty() || queue_.front().number > target;
    };
    const auto decided = [this, &settled]()
                             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                               return settled() || stopping_ || !refusal_.ok();
                             };
    clock_->AwaitWithDeadline(&mutex_, absl::Condition(&decided), deadline);
    if (settled() || stopping_) return absl::OkStatus();
    if (!refusal_.ok()) return refusal_;
    const auto open = std::count_if(
        queue_.begin(), queue_.end(),
        [target](const Item& item) { return item.number <= target; });
    return absl::DeadlineExceededError(
        absl::StrCat(open, " traces are not settled yet; last error: ",
                     statistics_.last_error.ToString()));
  }

  bool Fits(size_t bytes) const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return queue_.size() < options_.max_buffer_traces &&
           queue_bytes_ + bytes <= options_.max_buffer_bytes;
  }

  absl::Status MakeRoom(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (bytes > options_.max_buffer_bytes) {
      return Invalid(
          "trace",
          absl::StrCat("at most ", options_.max_buffer_bytes, " bytes"),
          v1::ErrorDetail::REASON_TOO_LARGE, absl::StrCat("has ", bytes));
    }
    if (stopping_) return ShutDownError();
    switch (options_.full_action) {
      case FullAction::kBlock: {
        const auto decided = [this,
                              bytes]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return Fits(bytes) || stopping_ || !refusal_.ok();
        };
        mutex_.Await(absl::Condition(&decided));
        if (stopping_) return ShutDownError();
        if (!Fits(bytes)) return refusal_;
        break;
      }
      case FullAction::kReject:
        break;
      case FullAction::kDropOldest:
        while (!Fits(bytes) && queue_.size() > in_flight_) {
          const auto oldest =
              queue_.begin() + static_cast<std::ptrdiff_t>(in_flight_);
          queue_bytes_ -= oldest->bytes;
          queue_.erase(oldest);
          ++statistics_.dropped;
        }
        break;
    }
    if (Fits(bytes)) return absl::OkStatus();
    return base::DetailedError(
        absl::StatusCode::kResourceExhausted,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_OVERLOADED, "buffer",
            absl::StrCat("at most ", options_.max_buffer_traces, " traces and ",
                         options_.max_buffer_bytes, " bytes"),
            absl::StrCat("is full; last error of the connection: ",
                         statistics_.last_error.ToString())));
  }

  // --- The sending thread ---

  void RunSender() ABSL_LOCKS_EXCLUDED(mutex_) {
    Backoff backoff(options_.retry, *clock_, parent_);
    const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !queue_.empty();
    };
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&work));
        if (stopping_) return;
      }
      const absl::Status status = RunStream();
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      if (current_.settled > 0) backoff.Reset();
      statistics_.last_error = status;
      if (!IsRetryable(status)) refusal_ = status;
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&stopping_),
                                clock_->SteadyNow() + backoff.Next(status));
    }
  }

  // Opens a stream and feeds it until it ends. Returns why, never OK.
  absl::Status RunStream() ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::unique_ptr<TraceStream> stream = connection_->StreamTraces();
    {
      absl::MutexLock lock(&mutex_);
      current_ = StreamState();
      current_.stream = stream.get();
      current_.progress_time = clock_->SteadyNow();
      current_.writing = true;
      if (stopping_) stream->Cancel();
      ++statistics_.streams;
    }
    v1::StreamTracesRequest greeting;
    greeting.set_parent(parent_);
    bool open = stream->Write(greeting);
    std::thread reader([this, &stream] { RunReader(stream.get()); });
    while (open) {
      std::vector<Element> batch;
      {
        absl::MutexLock lock(&mutex_);
        current_.writing = false;
        if (!AwaitBatch()) break;
        batch = TakeBatch();
        current_.writing = true;
      }
      open = stream->Write(BorrowingRequest(std::move(batch)).get());
    }
    reader.join();
    absl::Status status = stream->Finish();

    absl::MutexLock lock(&mutex_);
    current_.stream = nullptr;
    in_flight_ = 0;
    in_flight_bytes_ = 0;
    // Refused by a response that did not settle them yet: not to be sent again.
    for (auto item = queue_.begin(); item != queue_.end();) {
      if (!item->rejected) {
        ++item;
        continue;
      }
      queue_bytes_ -= item->bytes;
      ++statistics_.settled;
      ++statistics_.rejected;
      item = queue_.erase(item);
    }
    if (!current_.violation.ok()) return current_.violation;
    if (status.ok())
      return absl::UnavailableError("the server ended the stream");
    return status;
  }

  // Waits until a batch should go out. False where the stream is to end.
  bool AwaitBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (true) {
      const absl::Duration deadline = NextDeadline();
      const auto due = [this, deadline]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                             return current_.ended || stopping_ ||
                                    BatchIsFull() || NextDeadline() < deadline;
                           };
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&due), deadline);
      if (current_.ended) return false;
      if (stopping_) {
        EndStream();
        return false;
      }
      if (BatchIsFull()) return true;
      const absl::Duration now = clock_->SteadyNow();
      if (now >= SettleDeadline()) {
        current_.violation = absl::DeadlineExceededError(
            absl::StrCat("the server settled nothing for ",
                         absl::FormatDuration(options_.settle_timeout)));
        current_.stream->Cancel();
        return false;
      }
      if (now >= BatchDeadline()) return true;
    }
  }

  // What is buffered was flushed or given up; the server may still end the
  // stream in order.
  void EndStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    TraceStream* const stream = current_.stream;
    if (queue_.empty()) {
      mutex_.Unlock();
      stream->WritesDone();
      mutex_.Lock();
      if (clock_->AwaitWithDeadline(&mutex_, absl::Condition(&current_.ended),
                                    stop_deadline_)) {
        return;
      }
    }
    stream->Cancel();
  }

  size_t Pending() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return queue_.size() - in_flight_;
  }

  bool MayWrite() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return Pending() > 0 && in_flight_ < current_.window;
  }

  // Whether there is no reason to wait for more traces.
  bool BatchIsFull() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return MayWrite() &&
           (Pending() >= options_.max_batch_traces ||
            queue_bytes_ - in_flight_bytes_ >= options_.max_batch_bytes ||
            in_flight_ + Pending() >= current_.window ||
            queue_[in_flight_].number <= flush_number_);
  }

  absl::Duration BatchDeadline() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return MayWrite()
               ? queue_[in_flight_].enqueue_time + options_.max_batch_delay
               : absl::InfiniteDuration();
  }

  absl::Duration SettleDeadline() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return in_flight_ > 0 || current_.window == 0
               ? current_.progress_time + options_.settle_timeout
               : absl::InfiniteDuration();
  }

  absl::Duration NextDeadline() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::min(BatchDeadline(), SettleDeadline());
  }

  // All of one kind: in a request, pieces count after traces.
  std::vector<Element> TakeBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<Element> batch;
    size_t bytes = 0;
    if (in_flight_ == 0) current_.progress_time = clock_->SteadyNow();
    while (MayWrite() && batch.size() < options_.max_batch_traces) {
      Item& item = queue_[in_flight_];
      if (!batch.empty() && (bytes + item.bytes > options_.max_batch_bytes ||
                             item.element.index() != batch.front().index())) {
        break;
      }
      bytes += item.bytes;
      batch.push_back(item.element);
      ++(item.sent_before ? statistics_.resent : statistics_.sent);
      item.sent_before = true;
      ++in_flight_;
    }
    in_flight_bytes_ += bytes;
    current_.written += batch.size();
    return batch;
  }

  // --- The reading thread ---

  void RunReader(TraceStream* stream) ABSL_LOCKS_EXCLUDED(mutex_) {
    v1::StreamTracesResponse response;
    while (stream->Read(&response)) {
      absl::Status status = Check(response);
      if (status.ok()) {
        if (options_.on_rejected != nullptr) {
          for (const v1::Rejection& rejection : response.rejections()) {
            options_.on_rejected(rejection);
          }
        }
        Apply(response);
        continue;
      }
      {
        absl::MutexLock lock(&mutex_);
        current_.violation = std::move(status);
      }
      stream->Cancel();
    }
    absl::MutexLock lock(&mutex_);
    current_.ended = true;
  }

  // INTERNAL where the response does not fit what was written.
  absl::Status Check(const v1::StreamTracesResponse& response) const
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!current_.violation.ok()) return current_.violation;
    if (response.settled() < current_.settled ||
        response.settled() > current_.written ||
        response.duplicates() < current_.duplicates) {
      return absl::InternalError(
          absl::StrCat("the server settled ", response.settled(), " of ",
                       current_.written, " traces, after ", current_.settled));
    }
    if (response.window() == 0 && current_.window == 0) {
      return absl::InternalError("the server named no window");
    }
    for (const v1::Rejection& rejection : response.rejections()) {
      if (rejection.index() < current_.settled ||
          rejection.index() >= current_.written) {
        return absl::InternalError(absl::StrCat("the server rejected trace ",
                                                rejection.index(),
                                                ", which is not in flight"));
      }
    }
    return absl::OkStatus();
  }

  void Apply(const v1::StreamTracesResponse& response)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (response.window() != 0) current_.window = response.window();
    refusal_ = absl::OkStatus();
    current_.progress_time = clock_->SteadyNow();
    for (const v1::Rejection& rejection : response.rejections()) {
      queue_[rejection.index() - current_.settled].rejected = true;
    }
    for (; current_.settled < response.settled(); ++current_.settled) {
      const Item& item = queue_.front();
      ++statistics_.settled;
      if (item.rejected) ++statistics_.rejected;
      queue_bytes_ -= item.bytes;
      in_flight_bytes_ -= item.bytes;
      --in_flight_;
      queue_.pop_front();
    }
    statistics_.duplicates += response.duplicates() - current_.duplicates;
    current_.duplicates = response.duplicates();
  }

  const Options options_;
  const std::string parent_;
  const std::shared_ptr<Connection> connection_;
  const base::Clock* const clock_;

  absl::Mutex stop_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);

  mutable absl::Mutex mutex_;
  // The first in_flight_ items are on the current stream and not settled.
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  size_t queue_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t in_flight_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  StreamState current_ ABSL_GUARDED_BY(mutex_);
  uint64_t flush_number_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);  // lasting; OK: none
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration stop_deadline_ ABSL_GUARDED_BY(mutex_);
  Statistics statistics_ ABSL_GUARDED_BY(mutex_);

  std::thread sender_;  // last: it uses the others
};

}  // namespace

absl::Status RunWriter::Send(v1::Trace part, bool last) {
  if (finished_) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", trace_id_, " is finished"));
  }
  v1::TracePiece piece;
  piece.set_trace_id(trace_id_);
  piece.set_index(next_index_);
  *piece.mutable_part() = std::move(part);
  piece.set_last(last);
  FAULTLINE_RETURN_IF_ERROR(client_->SendPiece(std::move(piece)));
  ++next_index_;
  finished_ = last;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TraceClient>> TraceClient::Create(
    const Options& options, std::shared_ptr<Connection> connection,
    const base::Clock* clock) {
  FAULTLINE_RETURN_IF_ERROR(Validate(options));
  return std::make_unique<StreamingTraceClient>(options, std::move(connection),
                                                clock);
}

}  // namespace faultline::sdk
