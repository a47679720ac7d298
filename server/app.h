#ifndef FAULTLINE_SERVER_APP_H_
#define FAULTLINE_SERVER_APP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "faultline/v1/config.pb.h"
#include "lib/base/clock.h"
#include "lib/base/periodic_runner.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/store/key_value_store.h"
#include "lib/trace/trace_log.h"
#include "lib/trace/trace_validator.h"
#include "server/ingest_lane.h"
#include "server/projects.h"
#include "server/retention_runner.h"
#include "server/rpc_observer.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace faultline::server {

// The whole server: the one place where its parts are made, joined and taken
// apart.
//
// Create: store, log, policy board, slow loops with their last ticks,
// ingestor, services; then listens, with health NOT_SERVING. Traces are taken
// from here on; what depends on the behaviour space is not complete yet.
// Start: rebuilds the behaviour spaces from the log, starts to assemble runs
// and periodic ticks, turns health to SERVING.
// Stop: health NOT_SERVING; streams end after what they have taken is
// acknowledged; no new calls; calls in flight get the drain deadline and are
// then cancelled; retention and the tick in flight end; then ingestor, slow
// loops, board, log and store close, in this order.
//
// Owns everything but the clock. Not thread-safe: Create, Start and Stop are
// for one thread. The destructor stops.
class App {
 public:
  // `config` is complete (CompleteServerConfig). Returns what the parts
  // return; UNAVAILABLE where the address cannot be listened on.
  // `accept_data_loss`: goes on with what is there where the end of the
  // write-ahead log is damaged.
  static absl::StatusOr<std::unique_ptr<App>> Create(
      const v1::ServerConfig& config, const base::Clock* clock,
      bool accept_data_loss = false);
  ~App();

  App(const App&) = delete;
  App& operator=(const App&) = delete;

  absl::Status Start();
  void Stop();

  // Where it listens.
  int port() const { return port_; }
  // HOST:PORT, the host as configured.
  std::string address() const;

 private:
  App(const v1::ServerConfig& config, const base::Clock* clock);

  absl::Status OpenStorage(bool accept_data_loss);
  absl::Status OpenProjects();
  absl::Status Listen();

  const v1::ServerConfig config_;
  const base::Clock* const clock_;
  int port_ = 0;

  // In the order of making; a part uses only those before it.
  std::unique_ptr<store::KeyValueStore> store_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<trace::TraceValidator> validator_;
  std::unique_ptr<policy::PolicyBoard> board_;
  std::unique_ptr<Projects> projects_;
  std::unique_ptr<ingest::Ingestor> ingestor_;
  StreamRegistry streams_;
  RpcObserver observer_;
  std::unique_ptr<IngestLane> lane_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<WorkerPool> analysis_;
  std::unique_ptr<WorkerPool> maintenance_;
  std::unique_ptr<RetentionRunner> retention_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<base::PeriodicRunner> keep_alive_;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_APP_H_
