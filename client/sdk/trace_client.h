#ifndef FAULTLINE_CLIENT_SDK_TRACE_CLIENT_H_
#define FAULTLINE_CLIENT_SDK_TRACE_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/sdk/connection.h"
#include "client/sdk/retry_policy.h"
#include "faultline/v1/ingest_service.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/clock.h"

namespace faultline::sdk {

// Sends traces in the background.
//
//   TraceClient::Options options;
//   options.project = "shop";
//   options.on_rejected = [](const v1::Rejection& rejection) { ... };
//   auto client = TraceClient::Create(
//       options, MakeGrpcConnection(MakeInsecureChannel("127.0.0.1:7171")),
//       base::Clock::System());
//   if (!client.ok()) return client.status();
//   (*client)->Send(std::move(trace));           // at the end of each run
//   ...
//   (*client)->Shutdown(absl::Seconds(10));      // before the program ends
//
// A long run can be sent while it goes on, with the same guarantees:
//
//   RunWriter run(client->get(), "run-17");
//   run.Write(std::move(part));                  // as often as there is news
//   run.Finish(std::move(part));                 // closes it
//
// Delivery. A trace leaves the buffer when the server says that it is settled:
// durable, known already, or rejected. Where the connection breaks or the
// server restarts, what is not settled is sent again on the next stream, and
// the server leaves out what it has by trace id: nothing is lost, nothing is
// stored twice. What is still buffered when the process dies is lost.
//
// Performance. Traces travel in batches over one stream; at most as many are
// unsettled as the server's window allows. The buffer is bounded in traces and
// in bytes; Options::full_action names what a full one does. Pieces count as
// traces in all of this.
//
// Errors. A broken connection is retried for ever with growing delays. An
// error that is no use to repeat (such as a wrong project name) is retried
// every `retry.max_delay`; meanwhile Flush, and a Send that would block,
// return it.
//
// Threads. Thread-safe. One thread sends and another one reads; the latter
// calls `on_rejected`.
class TraceClient {
 public:
  // What Send does where the buffer is full.
  enum class FullAction {
    kBlock,       // waits for room: the runtime slows down
    kReject,      // returns RESOURCE_EXHAUSTED: the caller decides
    kDropOldest,  // drops the oldest traces that are not on their way yet;
                  // where all are, does as kReject
  };

  struct Options {
    // Required. As in `projects/{project}`.
    std::string project;

    // Behaviour.
    FullAction full_action = FullAction::kBlock;
    // Told of each trace that the server refuses, before the trace counts as
    // settled. Must not block nor call Flush or Shutdown. May be null.
    std::function<void(const v1::Rejection&)> on_rejected;

    // Performance. More buffer survives longer outages; larger batches and
    // delays cost latency and save overhead.
    size_t max_buffer_traces = 16384;    // at least 1
    size_t max_buffer_bytes = 32 << 20;  // at least 1
    size_t max_batch_traces = 64;        // 1 to 4096
    size_t max_batch_bytes = 1 << 20;    // at least 1; a larger trace goes
                                         // alone
    absl::Duration max_batch_delay = absl::Milliseconds(50);  // not negative
    // A stream that settles nothing for so long is given up. Positive.
    absl::Duration settle_timeout = absl::Seconds(30);
    RetryPolicy retry;
  };

  // Counts since Create, and the buffer now.
  struct Statistics {
    uint64_t accepted = 0;    // by Send
    uint64_t refused = 0;     // Send returned an error
    uint64_t sent = 0;        // put on a stream, repetitions not counted
    uint64_t resent = 0;      // put on a stream again
    uint64_t settled = 0;     // durable, duplicate or rejected
    uint64_t duplicates = 0;  // of these, known to the server before
    uint64_t rejected = 0;    // of these, refused by the server
    uint64_t dropped = 0;     // by kDropOldest or Shutdown
    uint64_t streams = 0;     // opened
    uint64_t buffered_traces = 0;
    uint64_t buffered_bytes = 0;
    absl::Status last_error;  // how the last broken stream ended
  };

  // INVALID_ARGUMENT, naming the option and its limit. Keeps the connection;
  // does not own the clock. Connects with the first trace.
  static absl::StatusOr<std::unique_ptr<TraceClient>> Create(
      const Options& options, std::shared_ptr<Connection> connection,
      const base::Clock* clock);

  // As Shutdown without waiting: what is buffered is dropped.
  virtual ~TraceClient() = default;

  // Takes a trace. It is not checked here: the server's verdict comes by
  // `on_rejected`. Returns
  //   RESOURCE_EXHAUSTED where the buffer is full (see FullAction),
  //   INVALID_ARGUMENT where the trace alone is larger than the buffer,
  //   FAILED_PRECONDITION after Shutdown,
  //   with kBlock, the server's lasting error.
  virtual absl::Status Send(v1::Trace trace) = 0;

  // Takes a part of a run; returns the same. RunWriter numbers the parts. A
  // part that is dropped or refused is a gap: the run closes only when the
  // server has waited for it in vain.
  virtual absl::Status SendPiece(v1::TracePiece piece) = 0;

  // Waits until every trace that was taken before is settled.
  // DEADLINE_EXCEEDED says how many are not after `timeout`; they stay
  // buffered. Returns the server's lasting error where there is one.
  virtual absl::Status Flush(absl::Duration timeout) = 0;

  // Sends later judgements at once, by a call of its own, and repeats it while
  // that is of use. Safe to repeat. Returns the server's status;
  // DEADLINE_EXCEEDED or the last failure after `timeout`;
  // FAILED_PRECONDITION after Shutdown.
  virtual absl::StatusOr<v1::RecordOutcomesResponse> RecordOutcomes(
      const std::vector<v1::OutcomeRecord>& outcomes,
      absl::Duration timeout) = 0;

  // As Flush; then ends the threads and drops what is not settled. Later calls
  // of any method do nothing. Idempotent.
  virtual absl::Status Shutdown(absl::Duration timeout) = 0;

  virtual Statistics statistics() const = 0;
};

// One run that is sent while it goes on. Does not own the client. Not
// thread-safe. A run that is never finished counts as crashed after the
// server's idle timeout.
class RunWriter {
 public:
  RunWriter(TraceClient* client, std::string trace_id)
      : client_(client), trace_id_(std::move(trace_id)) {}

  // What the run did since the last call: steps and other lists are appended,
  // other fields override what was sent before. `start_time` is needed once.
  // Offsets of steps count from the run's start, indexes of steps from the
  // first step of `part`. Returns what TraceClient::SendPiece does; after an
  // error the part may be written again. FAILED_PRECONDITION after Finish.
  absl::Status Write(v1::Trace part) {
    return Send(std::move(part), /*last=*/false);
  }

  // The same, and the run is whole.
  absl::Status Finish(v1::Trace part = v1::Trace()) {
    return Send(std::move(part), /*last=*/true);
  }

 private:
  absl::Status Send(v1::Trace part, bool last);

  TraceClient* const client_;
  const std::string trace_id_;
  uint32_t next_index_ = 0;
  bool finished_ = false;
};

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_TRACE_CLIENT_H_
