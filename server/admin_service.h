#ifndef FAULTLINE_SERVER_ADMIN_SERVICE_H_
#define FAULTLINE_SERVER_ADMIN_SERVICE_H_

#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/store/key_value_store.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/retention_runner.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// AdminService. Does not own what it is given; all of it must outlive the
// service. Thread-safe, as gRPC asks.
//
// TriggerTick is answered by the thread that ran the tick; a client that goes
// away leaves the tick running. GetStatus and GetConfig answer from memory.
// ListTicks reads the store and UpdateConfig waits for the log, both on
// `pool`. DeleteTraces, Backup and ReplayTicks may take minutes: they run
// on `maintenance`, one after the other.
struct AdminDependencies {
  ingest::Ingestor* ingestor;
  trace::TraceLog* log;
  const store::KeyValueStore* store;
  const policy::PolicyBoard* board;
  Projects* projects;
  RetentionRunner* retention;
  WorkerPool* pool;
  WorkerPool* maintenance;
  // The server counts as started when the service is made.
  const base::Clock* clock;
  std::string data_dir;
};
std::unique_ptr<grpc::Service> MakeAdminService(
    const AdminDependencies& dependencies);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_ADMIN_SERVICE_H_
