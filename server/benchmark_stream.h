#ifndef FAULTLINE_SERVER_BENCHMARK_STREAM_H_
#define FAULTLINE_SERVER_BENCHMARK_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "lib/evaluate/benchmark.h"
#include "lib/ingest/ingestor.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace faultline::server {

// One ExportBenchmark call. Each step (to choose, then to read one run) is work
// for the pool, and the next one begins when the client has taken the message
// of the last: a slow client holds one run in memory and no thread. Steps
// follow one another, so only the cancellation needs to be atomic.
// Thread-safe, as gRPC asks.
class BenchmarkStream final
    : public grpc::ServerWriteReactor<v1::ExportBenchmarkResponse> {
 public:
  struct Dependencies {
    Projects* projects;
    const trace::TraceLog* log;
    const ingest::Ingestor* ingestor;
    WorkerPool* pool;
  };

  // gRPC owns the reactor; the request is copied.
  static BenchmarkStream* Start(grpc::CallbackServerContext* context,
                                const v1::ExportBenchmarkRequest& request,
                                const Dependencies& dependencies);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { auto last = std::move(self_); }

 private:
  BenchmarkStream(grpc::CallbackServerContext* context,
                  const v1::ExportBenchmarkRequest& request,
                  const Dependencies& dependencies);

  // Has the pool do a step; the error of a step ends the call.
  void Proceed();
  absl::Status Step();
  absl::Status Choose();
  // The message of a run. NOT_FOUND where it was deleted.
  absl::Status ReadItem(const evaluate::BenchmarkRun& run);
  void End(const absl::Status& status);

  grpc::CallbackServerContext* const context_;
  const v1::ExportBenchmarkRequest request_;
  const Dependencies dependencies_;
  std::shared_ptr<BenchmarkStream> self_;  // until OnDone
  std::atomic<bool> cancelled_ = false;

  v1::ExportBenchmarkResponse response_;  // gRPC's while it writes
  std::string project_;
  std::shared_ptr<const slowloop::TickSnapshot> snapshot_;  // null: not chosen
  evaluate::BenchmarkPlan plan_;
  size_t next_ = 0;  // in plan_.runs
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_BENCHMARK_STREAM_H_
