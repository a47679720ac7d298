#include "tests/integration/service_fixture.h"

#include <grpcpp/impl/service_type.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "lib/policy/policy_compiler.h"
#include "server/admin_service.h"
#include "server/behavior_service.h"
#include "server/cluster_service.h"
#include "server/evaluation_service.h"
#include "server/grpc_status.h"
#include "server/intervention_service.h"
#include "server/otlp_service.h"
#include "server/policy_service.h"
#include "server/trace_ingest_service.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {

v1::Trace MakeTrace(const std::string& id, const std::string& tool,
                    v1::Outcome outcome) {
  v1::Trace trace;
  trace.set_trace_id(id);
  trace.mutable_start_time()->set_seconds(1'700'000'000);
  v1::Step* step = trace.add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(tool);
  trace.mutable_evaluation()->set_outcome(outcome);
  return trace;
}

std::vector<v1::Trace> MakeTraces(const std::string& prefix, int count) {
  std::vector<v1::Trace> traces;
  traces.reserve(count);
  for (int i = 0; i < count; ++i) {
    traces.push_back(MakeTrace(absl::StrCat(prefix, i)));
  }
  return traces;
}

std::optional<v1::ErrorDetail> TrailingDetail(const grpc::ClientContext& call) {
  const auto& trailers = call.GetServerTrailingMetadata();
  const auto found = trailers.find(server::kErrorDetailTrailer);
  v1::ErrorDetail detail;
  if (found == trailers.end() ||
      !detail.ParseFromArray(found->second.data(),
                             static_cast<int>(found->second.size()))) {
    return std::nullopt;
  }
  return detail;
}

namespace {

// Of the empty epoch, before the first tick.
std::shared_ptr<slowloop::TickSnapshot> MakeSnapshot() {
  auto snapshot = std::make_shared<slowloop::TickSnapshot>();
  snapshot->embedder = *embedding::Embedder::Create({}, {});
  return snapshot;
}

}  // namespace

FakeLoop::FakeLoop(std::string project, const trace::TraceLog* log,
                   Running* running)
    : project_(std::move(project)),
      log_(log),
      running_(running),
      snapshot_(MakeSnapshot()) {}

absl::StatusOr<v1::Tick> FakeLoop::RunOnce() {
  const int now = ++running_->now;
  running_->most = std::max(running_->most.load(), now);
  absl::MutexLock lock(&mutex_);
  held_ = true;
  const auto released = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !hold_;
  };
  mutex_.Await(absl::Condition(&released));
  held_ = false;
  auto next = std::make_shared<slowloop::TickSnapshot>(*snapshot_);
  v1::Tick& tick = *next->state.mutable_tick();
  tick.set_tick(tick.tick() + 1);
  tick.set_watermark(log_->LastSequence(project_));
  tick.set_policy_version(policy_version_);
  ticks_.insert(ticks_.begin(), tick);
  snapshot_ = std::move(next);
  --running_->now;
  return ticks_.front();
}

std::shared_ptr<const slowloop::TickSnapshot> FakeLoop::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  return snapshot_;
}

absl::StatusOr<std::vector<v1::Tick>> FakeLoop::Ticks(uint64_t before,
                                                      int limit) const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::Tick> ticks;
  for (const v1::Tick& tick : ticks_) {
    if (before != 0 && tick.tick() >= before) continue;
    if (static_cast<int>(ticks.size()) < limit) ticks.push_back(tick);
  }
  return ticks;
}

absl::Status FakeLoop::Replay(
    const std::function<bool(const slowloop::ReplayedTick&)>& visit) const {
  absl::MutexLock lock(&mutex_);
  for (auto tick = ticks_.rbegin(); tick != ticks_.rend(); ++tick) {
    slowloop::ReplayedTick replayed;
    replayed.recorded = *tick;
    replayed.recorded.set_digest("then");
    replayed.digest = tick->watermark() == 1 ? "then" : "now";
    replayed.policy.set_version(tick->tick());
    replayed.same_policy = true;
    if (!visit(replayed)) break;
  }
  return absl::OkStatus();
}

void FakeLoop::SetState(v1::TickState state) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<slowloop::TickSnapshot> next = MakeSnapshot();
  *state.mutable_tick() = snapshot_->state.tick();
  for (const v1::ClusterMembers& members : state.members()) {
    for (const uint64_t sequence : members.sequences()) {
      next->cluster_of[sequence] = members.cluster_id();
    }
  }
  next->state = std::move(state);
  snapshot_ = std::move(next);
}

void FakeLoop::SetPolicyVersion(uint64_t version) {
  absl::MutexLock lock(&mutex_);
  policy_version_ = version;
}

void FakeLoop::Hold() {
  absl::MutexLock lock(&mutex_);
  hold_ = true;
}

void FakeLoop::WaitUntilHeld() {
  absl::MutexLock lock(&mutex_);
  const auto held = [this]()
                        ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return held_; };
  mutex_.Await(absl::Condition(&held));
}

void FakeLoop::Release() {
  absl::MutexLock lock(&mutex_);
  hold_ = false;
}

ServiceTest::ServiceTest(uint64_t window,
                         const ingest::Ingestor::Options& ingest)
    : store_(&memory_),
      observer_(&clock_),
      lane_(2, 64 << 20),
      pool_(2, 64),
      analysis_(1, 64),
      maintenance_(1, 64) {
  auto validator = trace::TraceValidator::Create(v1::TraceLimits());
  EXPECT_OK(validator);
  validator_ = std::make_unique<trace::TraceValidator>(*std::move(validator));
  log_ = *trace::TraceLog::Create({}, &store_, &clock_);
  board_ = *policy::PolicyBoard::Create(&store_, &clock_);
  v1::ProjectConfig defaults;
  defaults.mutable_tick_interval();  // ticks when triggered only
  projects_ = *server::Projects::Create(
      [this](absl::string_view project)
          -> absl::StatusOr<std::unique_ptr<slowloop::SlowLoop>> {
        auto loop = std::make_unique<FakeLoop>(std::string(project), log_.get(),
                                               &running_);
        loops_[std::string(project)] = loop.get();
        return loop;
      },
      defaults, log_.get(), &clock_);
  projects_->StartTicks();
  ingestor_ = *ingest::Ingestor::Create(
      ingest, log_.get(), validator_.get(),
      [this](absl::string_view project) {
        return projects_->Settings(project);
      },
      &clock_);
  EXPECT_OK(ingestor_->Replay([](absl::string_view) { return nullptr; }));

  services_.push_back(server::MakeTraceIngestService(
      ingestor_.get(), &lane_, projects_.get(), &streams_, &pool_, window));
  services_.push_back(server::MakeOtlpService(
      ingestor_.get(), &lane_, validator_.get(), projects_.get(), &pool_));
  services_.push_back(server::MakePolicyService(board_.get(), ingestor_.get(),
                                                projects_.get(), &streams_,
                                                &pool_, &clock_));
  services_.push_back(server::MakeBehaviorService(ingestor_.get(), log_.get(),
                                                  projects_.get(), &pool_));
  services_.push_back(server::MakeClusterService(
      projects_.get(), ingestor_.get(), log_.get(), &pool_));
  services_.push_back(server::MakeInterventionService(
      projects_.get(), log_.get(), board_.get(), &pool_));
  services_.push_back(
      server::MakeEvaluationService({.projects = projects_.get(),
                                     .log = log_.get(),
                                     .ingestor = ingestor_.get(),
                                     .board = board_.get(),
                                     .pool = &pool_,
                                     .analysis = &analysis_}));
  retention_ = std::make_unique<server::RetentionRunner>(
      ingestor_.get(), log_.get(), projects_.get(), &clock_);
  services_.push_back(server::MakeAdminService({.ingestor = ingestor_.get(),
                                                .log = log_.get(),
                                                .store = &store_,
                                                .board = board_.get(),
                                                .projects = projects_.get(),
                                                .retention = retention_.get(),
                                                .pool = &pool_,
                                                .maintenance = &maintenance_,
                                                .clock = &clock_,
                                                .data_dir = ""}));
  grpc::ServerBuilder builder;
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(observer_.MakeInterceptorFactory());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  for (const auto& service : services_) builder.RegisterService(service.get());
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  server_ = builder.BuildAndStart();
  channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", port),
                                 grpc::InsecureChannelCredentials());
}

ServiceTest::~ServiceTest() {
  store_.ReleaseWrites();
  for (const auto& [name, loop] : loops_) loop->Release();
  streams_.DrainAll();
  server_->Shutdown();
  lane_.Stop();
  analysis_.Stop();
  maintenance_.Stop();
  pool_.Stop();
  projects_->StopTicks();
  ingestor_.reset();
}

void ServiceTest::Store(std::vector<v1::Trace> traces,
                        const std::string& project) {
  absl::Notification stored;
  ASSERT_OK(ingestor_->IngestTraces(
      project, std::move(traces),
      [&](const absl::StatusOr<ingest::Ingestor::Result>& result) {
        EXPECT_OK(result);
        stored.Notify();
      }));
  stored.WaitForNotification();
  ingestor_->WaitUntilIndexed(project);
}

FakeLoop* ServiceTest::Loop(const std::string& project) {
  EXPECT_OK(projects_->Open(project));
  return loops_[project];
}

v1::Policy ServiceTest::PublishPolicy(v1::Policy policy) {
  const auto current = board_->Current("p");
  policy.set_version(current->policy().version() + 1);
  policy.set_parent_digest(current->policy().digest());
  policy.set_digest(policy::PolicyDigest(policy));
  store::WriteBatch batch;
  board_->Stage("p", policy, &batch);
  EXPECT_OK(store_.Write(batch, true));
  EXPECT_OK(board_->Publish("p", policy));
  return policy;
}

}  // namespace faultline::integration
