#include "server/app.h"

#include <glog/logging.h>
#include <google/protobuf/util/time_util.h>
#include <grpc/support/time.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/store/rocks_store.h"
#include "server/admin_service.h"
#include "server/behavior_service.h"
#include "server/cluster_service.h"
#include "server/evaluation_service.h"
#include "server/intervention_service.h"
#include "server/message_inflater.h"
#include "server/otlp_service.h"
#include "server/policy_service.h"
#include "server/trace_ingest_service.h"

namespace faultline::server {
namespace {

constexpr int kWorkers = 2;
// Calls that scan the log, of which each takes seconds and one at a time runs.
constexpr size_t kMaxQueuedAnalyses = 64;
constexpr int kLaneThreads = 2;
constexpr size_t kMaxLaneBytes = 64 << 20;
constexpr size_t kMaxQueuedCalls = 1024;
// Memory of gRPC's own, in messages of the largest size: what is on its way in
// cannot be refused before it is there. Beyond it gRPC ends calls, whichever.
constexpr size_t kTransportMessages = 16;
constexpr size_t kMinTransportBytes = 256 << 20;
// Of one connection.
constexpr int kMaxConcurrentStreams = 1024;
constexpr int kKeepAliveMs = 60'000;
constexpr int kKeepAliveTimeoutMs = 20'000;
constexpr int kMinClientPingMs = 10'000;
constexpr absl::Duration kWatchKeepAlive = absl::Seconds(15);

embedding::Embedder::Options EmbedderOptions(const v1::ServerConfig& config) {
  embedding::Embedder::Options options;
  options.dimension = static_cast<int>(config.space().dimension());
  return options;
}

space::Quantization QuantizationOf(const v1::ServerConfig& config) {
  switch (config.space().quantization()) {
    case v1::QUANTIZATION_FP16:
      return space::Quantization::kFp16;
    case v1::QUANTIZATION_INT8:
      return space::Quantization::kInt8;
    default:  // none, unset, or a value of a later release
      return space::Quantization::kNone;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<App>> App::Create(const v1::ServerConfig& config,
                                                 const base::Clock* clock,
                                                 bool accept_data_loss) {
  std::unique_ptr<App> app(new App(config, clock));
  FAULTLINE_RETURN_IF_ERROR(app->OpenStorage(accept_data_loss));
  FAULTLINE_RETURN_IF_ERROR(app->OpenProjects());
  FAULTLINE_RETURN_IF_ERROR(app->Listen());
  return app;
}

App::App(const v1::ServerConfig& config, const base::Clock* clock)
    : config_(config), clock_(clock), observer_(clock) {}

App::~App() { Stop(); }

std::string App::address() const {
  const std::string& listen = config_.listen_address();
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

absl::Status App::OpenStorage(bool accept_data_loss) {
  store::RocksStore::Options options;
  options.accept_loss = accept_data_loss;
  options.write_buffer_bytes = config_.store().write_buffer_bytes();
  options.cache_bytes = config_.store().cache_bytes();
  auto store = store::RocksStore::Open(options, config_.data_dir());
  if (absl::IsDataLoss(store.status())) {
    return absl::DataLossError(absl::StrCat(
        store.status().message(),
        ". Restore a backup (faultlinectl restore); where it is only the "
        "write-ahead log, --accept_data_loss goes on without what is lost"));
  }
  FAULTLINE_ASSIGN_OR_RETURN(store_, std::move(store));
  FAULTLINE_ASSIGN_OR_RETURN(
      log_, trace::TraceLog::Create(trace::TraceLog::Options(), store_.get(),
                                    clock_));
  FAULTLINE_ASSIGN_OR_RETURN(trace::TraceValidator validator,
                             trace::TraceValidator::Create(config_.limits()));
  validator_ = std::make_unique<trace::TraceValidator>(std::move(validator));
  FAULTLINE_ASSIGN_OR_RETURN(board_,
                             policy::PolicyBoard::Create(store_.get(), clock_));
  return absl::OkStatus();
}

absl::Status App::OpenProjects() {
  slowloop::SlowLoop::Options loop;
  loop.embedder = EmbedderOptions(config_);
  loop.defaults = config_.default_project();
  // Called by ticks, which start when everything is there.
  loop.on_new_epoch = [this](
                          absl::string_view project,
                          std::shared_ptr<const embedding::Embedder> embedder) {
    ingestor_->SetEmbedder(project, std::move(embedder));
  };
  const slowloop::SlowLoop::Dependencies dependencies = {
      log_.get(), store_.get(), board_.get(), clock_};
  FAULTLINE_ASSIGN_OR_RETURN(
      projects_, Projects::Create(
                     [loop, dependencies](absl::string_view project) {
                       return slowloop::SlowLoop::Create(project, loop,
                                                         dependencies);
                     },
                     config_.default_project(), log_.get(), clock_));

  ingest::Ingestor::Options ingest;
  ingest.embedder = loop.embedder;
  ingest.space.exact_limit = config_.space().exact_limit();
  ingest.space.quantization = QuantizationOf(config_);
  ingest.max_index_lag = config_.ingest().max_index_lag();
  ingest.max_closing_runs = config_.ingest().max_closing_runs();
  ingest.checkpoint_directory =
      absl::StrCat(config_.data_dir(), "/checkpoints");
  ingest.on_assembled = [this](const std::string& project) {
    // A project's first records may be runs that came in pieces.
    const absl::Status status = projects_->Open(project).status();
    if (!status.ok()) {
      LOG(ERROR) << "project " << project << " cannot be opened: " << status;
    }
  };
  FAULTLINE_ASSIGN_OR_RETURN(ingestor_,
                             ingest::Ingestor::Create(
                                 ingest, log_.get(), validator_.get(),
                                 [this](absl::string_view project) {
                                   return projects_->Settings(project);
                                 },
                                 clock_));
  return absl::OkStatus();
}

absl::Status App::Listen() {
  pool_ = std::make_unique<WorkerPool>(kWorkers, kMaxQueuedCalls);
  analysis_ = std::make_unique<WorkerPool>(1, kMaxQueuedAnalyses);
  maintenance_ = std::make_unique<WorkerPool>(1, kMaxQueuedCalls);
  retention_ = std::make_unique<RetentionRunner>(ingestor_.get(), log_.get(),
                                                 projects_.get(), clock_);
  lane_ = std::make_unique<IngestLane>(kLaneThreads, kMaxLaneBytes);
  services_.push_back(
      MakeTraceIngestService(ingestor_.get(), lane_.get(), projects_.get(),
                             &streams_, pool_.get(), config_.stream_window()));
  services_.push_back(MakeOtlpService(ingestor_.get(), lane_.get(),
                                      validator_.get(), projects_.get(),
                                      pool_.get()));
  services_.push_back(MakePolicyService(board_.get(), ingestor_.get(),
                                        projects_.get(), &streams_, pool_.get(),
                                        clock_));
  services_.push_back(MakeBehaviorService(ingestor_.get(), log_.get(),
                                          projects_.get(), pool_.get()));
  services_.push_back(MakeClusterService(projects_.get(), ingestor_.get(),
                                         log_.get(), pool_.get()));
  services_.push_back(MakeInterventionService(projects_.get(), log_.get(),
                                              board_.get(), pool_.get()));
  services_.push_back(MakeEvaluationService({.projects = projects_.get(),
                                             .log = log_.get(),
                                             .ingestor = ingestor_.get(),
                                             .board = board_.get(),
                                             .pool = pool_.get(),
                                             .analysis = analysis_.get()}));
  services_.push_back(MakeAdminService({.ingestor = ingestor_.get(),
                                        .log = log_.get(),
                                        .store = store_.get(),
                                        .board = board_.get(),
                                        .projects = projects_.get(),
                                        .retention = retention_.get(),
                                        .pool = pool_.get(),
                                        .maintenance = maintenance_.get(),
                                        .clock = clock_,
                                        .data_dir = config_.data_dir()}));

  // Reflection describes what is linked in; gRPC's health service is not.
  google::protobuf::LinkMessageReflection<
      grpc::health::v1::HealthCheckRequest>();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(config_.listen_address(),
                           grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(
      static_cast<int>(config_.max_message_bytes()));
  LimitInflation(config_.max_message_bytes());
  builder.SetResourceQuota(
      grpc::ResourceQuota("faultlined")
          .Resize(std::max(kMinTransportBytes,
                           kTransportMessages * config_.max_message_bytes())));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepAliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingMs);
  // Otherwise two servers could share the port without knowing it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(observer_.MakeInterceptorFactory());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  for (const auto& service : services_) builder.RegisterService(service.get());

  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("listen_address: cannot listen on ",
                     config_.listen_address(), "; is it in use?"));
  }
  server_->GetHealthCheckService()->SetServingStatus(false);
  return absl::OkStatus();
}

absl::Status App::Start() {
  FAULTLINE_RETURN_IF_ERROR(
      ingestor_->Replay([this](absl::string_view project)
                            -> std::shared_ptr<const embedding::Embedder> {
        const auto snapshot = projects_->Snapshot(project);
        return snapshot.ok() ? (*snapshot)->embedder : nullptr;
      }));
  projects_->StartTicks();
  retention_->Start();
  keep_alive_ = std::make_unique<base::PeriodicRunner>(
      clock_, [] { return kWatchKeepAlive; },
      [this] { streams_.KeepAliveAll(); });
  server_->GetHealthCheckService()->SetServingStatus(true);
  LOG(INFO) << "serving on " << address() << ", data in " << config_.data_dir();
  return absl::OkStatus();
}

void App::Stop() {
  if (server_ != nullptr) {
    LOG(INFO) << "stopping";
    server_->GetHealthCheckService()->Shutdown();
    streams_.DrainAll();
    const int64_t drain_ns =
        google::protobuf::util::TimeUtil::DurationToNanoseconds(
            config_.drain_deadline());
    server_->Shutdown(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_nanos(drain_ns, GPR_TIMESPAN)));
  }
  keep_alive_.reset();
  server_.reset();
  // Calls that were cancelled may have left work behind.
  if (lane_ != nullptr) lane_->Stop();
  if (analysis_ != nullptr) analysis_->Stop();
  if (maintenance_ != nullptr) maintenance_->Stop();
  if (retention_ != nullptr) retention_->Stop();
  if (pool_ != nullptr) pool_->Stop();
  if (projects_ != nullptr) projects_->StopTicks();
  // Waits for commits, whose callbacks use the services and the pool.
  ingestor_.reset();
  services_.clear();
  lane_.reset();
  retention_.reset();
  maintenance_.reset();
  pool_.reset();
  projects_.reset();
  board_.reset();
  log_.reset();
  if (store_ != nullptr) LOG(INFO) << "stopped";
  store_.reset();
}

}  // namespace faultline::server
