#ifndef FAULTLINE_TESTS_INTEGRATION_SERVICE_FIXTURE_H_
#define FAULTLINE_TESTS_INTEGRATION_SERVICE_FIXTURE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/error.pb.h"
#include "faultline/v1/trace.pb.h"
#include "gtest/gtest.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/store/memory_store.h"
#include "lib/trace/trace_log.h"
#include "lib/trace/trace_validator.h"
#include "server/ingest_lane.h"
#include "server/projects.h"
#include "server/retention_runner.h"
#include "server/rpc_observer.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"

namespace faultline::integration {

// A trace that passes validation: one call of `tool`.
v1::Trace MakeTrace(const std::string& id, const std::string& tool = "search",
                    v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED);
// `count` of them, ids `prefix` and a number.
std::vector<v1::Trace> MakeTraces(const std::string& prefix, int count);

// The ErrorDetail in the trailers of a finished call.
std::optional<v1::ErrorDetail> TrailingDetail(const grpc::ClientContext& call);

// A slow loop whose ticks do what the test says. Thread-safe.
class FakeLoop : public slowloop::SlowLoop {
 public:
  // How many loops of a test are in a tick, now and at most.
  struct Running {
    std::atomic<int> now = 0;
    std::atomic<int> most = 0;
  };

  FakeLoop(std::string project, const trace::TraceLog* log, Running* running);

  // Counts; changes nothing else.
  absl::StatusOr<v1::Tick> RunOnce() override;
  std::shared_ptr<const slowloop::TickSnapshot> Snapshot() const override;
  absl::StatusOr<std::vector<v1::Tick>> Ticks(uint64_t before,
                                              int limit) const override;
  // The ticks so far; those that saw more than one record come out different.
  absl::Status Replay(const std::function<bool(const slowloop::ReplayedTick&)>&
                          visit) const override;

  // Published at once; the tick of the present state is kept.
  void SetState(v1::TickState state);
  // What ticks report from now on.
  void SetPolicyVersion(uint64_t version);
  // Ticks wait from now on until Release.
  void Hold();
  void WaitUntilHeld();
  void Release();

 private:
  const std::string project_;
  const trace::TraceLog* const log_;
  Running* const running_;
  mutable absl::Mutex mutex_;
  std::vector<v1::Tick> ticks_ ABSL_GUARDED_BY(mutex_);  // latest first
  std::shared_ptr<const slowloop::TickSnapshot> snapshot_
      ABSL_GUARDED_BY(mutex_);
  uint64_t policy_version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

// Every service over parts that the test controls: a store that fails on
// demand, a clock that stands still, slow loops without analysis.
class ServiceTest : public ::testing::Test {
 protected:
  // `window`: of an ingest stream.
  explicit ServiceTest(uint64_t window = 4096,
                       const ingest::Ingestor::Options& ingest = {});
  ~ServiceTest() override;

  std::shared_ptr<grpc::Channel> channel() { return channel_; }

  // Stores traces past the API.
  void Store(std::vector<v1::Trace> traces, const std::string& project = "p");
  // The loop of a project that has a record.
  FakeLoop* Loop(const std::string& project = "p");
  // Makes `policy` the next version of project p.
  v1::Policy PublishPolicy(v1::Policy policy);

  store::MemoryStore memory_;
  fakes::FaultStore store_;
  fakes::FakeClock clock_;
  std::unique_ptr<trace::TraceValidator> validator_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<policy::PolicyBoard> board_;
  std::unique_ptr<ingest::Ingestor> ingestor_;
  FakeLoop::Running running_;
  std::map<std::string, FakeLoop*> loops_;
  std::unique_ptr<server::Projects> projects_;
  server::StreamRegistry streams_;
  server::RpcObserver observer_;
  server::IngestLane lane_;
  server::WorkerPool pool_;
  server::WorkerPool analysis_;
  server::WorkerPool maintenance_;
  std::unique_ptr<server::RetentionRunner> retention_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace faultline::integration

#endif  // FAULTLINE_TESTS_INTEGRATION_SERVICE_FIXTURE_H_
