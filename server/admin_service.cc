#include "server/admin_service.h"

#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "lib/base/status_macros.h"
#include "server/backup.h"
#include "server/deferred_stream.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/request_check.h"
#include "server/resource_name.h"
#include "server/server_options.h"
#include "server/trace_deletion.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kDefaultPageSize = 20;
constexpr int kMaxFields = 64;

// Resident memory of this process; 0 where the system does not say.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return statm ? resident * sysconf(_SC_PAGESIZE) : 0;
}

// Names of the fields that `config` sets.
std::vector<std::string> SetFields(const v1::ProjectConfig& config) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  v1::ProjectConfig::GetReflection()->ListFields(config, &fields);
  std::vector<std::string> names;
  names.reserve(fields.size());
  for (const auto* field : fields) names.push_back(field->name());
  return names;
}

class AdminService final : public v1::AdminService::CallbackService {
 public:
  explicit AdminService(const AdminDependencies& dependencies)
      : ingestor_(dependencies.ingestor),
        log_(dependencies.log),
        store_(dependencies.store),
        board_(dependencies.board),
        projects_(dependencies.projects),
        retention_(dependencies.retention),
        pool_(dependencies.pool),
        maintenance_(dependencies.maintenance),
        clock_(dependencies.clock),
        data_dir_(dependencies.data_dir),
        start_time_(clock_->Now()) {}

  ServerUnaryReactor* GetStatus(CallbackServerContext* context,
                                const v1::GetStatusRequest* request,
                                v1::GetStatusResponse* response) override {
    return FinishNow(context, response, Status(*request));
  }

  ServerUnaryReactor* TriggerTick(CallbackServerContext* context,
                                  const v1::TriggerTickRequest* request,
                                  v1::TriggerTickResponse* response) override {
    using Deferred = DeferredUnary<v1::TriggerTickResponse>;
    return Deferred::Start(
        context, response, [&](const Deferred::Reply& reply) {
          const absl::StatusOr<std::string> project =
              ParseProjectName("parent", request->parent());
          if (!project.ok()) return reply(project.status());
          projects_->TriggerTick(*project,
                                 [reply](absl::StatusOr<v1::Tick> tick) {
                                   if (!tick.ok()) return reply(tick.status());
                                   v1::TriggerTickResponse done;
                                   *done.mutable_tick() = *std::move(tick);
                                   reply(std::move(done));
                                 });
        });
  }

  ServerUnaryReactor* ListTicks(CallbackServerContext* context,
                                const v1::ListTicksRequest* request,
                                v1::ListTicksResponse* response) override {
    return FinishOn<v1::ListTicksRequest, v1::ListTicksResponse>(
        pool_, context, request, response,
        [this](const v1::ListTicksRequest& asked) { return Ticks(asked); });
  }

  grpc::ServerWriteReactor<v1::ReplayTicksResponse>* ReplayTicks(
      CallbackServerContext* context,
      const v1::ReplayTicksRequest* request) override {
    using Stream = DeferredStream<v1::ReplayTicksResponse>;
    return Stream::Start(maintenance_, context,
                         [this, asked = *request](const Stream::Write& write) {
                           return Replay(asked, write);
                         });
  }

  ServerUnaryReactor* GetConfig(CallbackServerContext* context,
                                const v1::GetConfigRequest* request,
                                v1::GetConfigResponse* response) override {
    return FinishNow(context, response, ReadConfig(*request));
  }

  ServerUnaryReactor* UpdateConfig(
      CallbackServerContext* context, const v1::UpdateConfigRequest* request,
      v1::UpdateConfigResponse* response) override {
    return FinishOn<v1::UpdateConfigRequest, v1::UpdateConfigResponse>(
        pool_, context, request, response,
        [this](const v1::UpdateConfigRequest& asked) {
          return ChangeConfig(asked);
        });
  }

  ServerUnaryReactor* DeleteTraces(
      CallbackServerContext* context, const v1::DeleteTracesRequest* request,
      v1::DeleteTracesResponse* response) override {
    return FinishOn<v1::DeleteTracesRequest, v1::DeleteTracesResponse>(
        maintenance_, context, request, response,
        [this](const v1::DeleteTracesRequest& asked) { return Delete(asked); });
  }

  ServerUnaryReactor* ListRejections(
      CallbackServerContext* context, const v1::ListRejectionsRequest* request,
      v1::ListRejectionsResponse* response) override {
    return FinishNow(context, response, Rejections(*request));
  }

  ServerUnaryReactor* Backup(CallbackServerContext* context,
                             const v1::BackupRequest* request,
                             v1::BackupResponse* response) override {
    return FinishOn<v1::BackupRequest, v1::BackupResponse>(
        maintenance_, context, request, response,
        [this](const v1::BackupRequest& asked) { return Copy(asked); });
  }

 private:
  absl::StatusOr<v1::GetStatusResponse> Status(
      const v1::GetStatusRequest& request) {
    v1::GetStatusResponse response;
    response.set_version(std::string(ServerVersion()));
    *response.mutable_start_time() =
        google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
            absl::ToUnixNanos(start_time_));
    response.set_resident_bytes(ResidentBytes());
    std::vector<std::string> names;
    if (request.parent().empty()) {
      names = projects_->Names();
    } else {
      FAULTLINE_ASSIGN_OR_RETURN(names.emplace_back(),
                                 ParseProjectName("parent", request.parent()));
    }
    for (const std::string& name : names) {
      FAULTLINE_ASSIGN_OR_RETURN(*response.add_projects(), Describe(name));
    }
    return response;
  }

  static void Describe(const ingest::TraceAssembler::Counters& counters,
                       v1::GetStatusResponse::Assembly* assembly) {
    assembly->set_open_runs(counters.open);
    assembly->set_amendable_runs(counters.amendable);
    assembly->set_pieces(counters.staged);
    assembly->set_late_pieces(counters.late);
    assembly->set_duplicates(counters.duplicates);
    assembly->set_refused(counters.refused);
    assembly->set_closed_explicit(counters.closed_explicit);
    assembly->set_closed_root_ended(counters.closed_root_ended);
    assembly->set_closed_idle(counters.closed_idle);
    assembly->set_closed_evicted(counters.closed_evicted);
    assembly->set_amended(counters.amended);
    assembly->set_empty(counters.empty);
    assembly->set_lost(counters.lost);
  }

  absl::StatusOr<v1::GetStatusResponse::Project> Describe(
      const std::string& name) {
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot, projects_->Snapshot(name));
    const ingest::Ingestor::Counters counters = ingestor_->GetCounters(name);
    const v1::TickState& state = snapshot->state;
    v1::GetStatusResponse::Project project;
    project.set_name(MakeProjectName(name));
    project.set_durable_sequence(log_->LastSequence(name));
    project.set_indexed_sequence(counters.indexed_sequence);
    project.set_traces(counters.traces);
    project.set_failures(counters.failures);
    project.set_rejected(counters.rejected);
    project.set_duplicates(counters.duplicates);
    project.set_embedding_epoch(counters.embedding_epoch);
    Describe(counters.assembly, project.mutable_assembly());
    project.set_held(counters.held);
    project.set_stored_bytes(log_->StoredBytes(name));
    FillAccount(counters, &project);
    project.set_policy_version(board_->Current(name)->policy().version());
    project.set_last_tick(state.tick().tick());
    if (state.tick().has_start_time()) {
      *project.mutable_last_tick_time() = state.tick().start_time();
    }
    *project.mutable_novelty() = state.tick().novelty();
    for (const v1::Cluster& cluster : state.clusters()) {
      ++(*project
              .mutable_clusters())[v1::Cluster::Status_Name(cluster.status())];
    }
    for (const v1::Intervention& intervention : state.interventions()) {
      ++(*project.mutable_interventions())[v1::Intervention::Status_Name(
          intervention.status())];
    }
    return project;
  }

  // What became of everything that was sent.
  static void FillAccount(const ingest::Ingestor::Counters& counters,
                          v1::GetStatusResponse::Project* project) {
    for (const auto& [reason, count] : counters.refused) {
      (*project->mutable_refused())[v1::ErrorDetail::Reason_Name(reason)] =
          count;
    }
    for (const auto& [reason, count] : counters.removed) {
      if (reason == v1::DELETION_REASON_REQUESTED) {
        project->set_deleted(count);
      } else {
        (*project->mutable_expired())[v1::DeletionReason_Name(reason)] = count;
      }
    }
    project->set_sampled(counters.sampled);
    project->set_unsent(counters.unsent);
  }

  absl::StatusOr<v1::ListTicksResponse> Ticks(
      const v1::ListTicksRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string scope = absl::StrCat("ticks/", project);
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultPageSize,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop,
                               projects_->Open(project));
    // One more tells whether there is a next page.
    FAULTLINE_ASSIGN_OR_RETURN(
        std::vector<v1::Tick> ticks,
        loop->Ticks(page.position, static_cast<int>(page.size) + 1));
    v1::ListTicksResponse response;
    if (ticks.size() > page.size) {
      ticks.pop_back();
      response.set_next_page_token(MakePageToken(scope, ticks.back().tick()));
    }
    for (v1::Tick& tick : ticks) *response.add_ticks() = std::move(tick);
    return response;
  }

  absl::Status Replay(
      const v1::ReplayTicksRequest& request,
      const DeferredStream<v1::ReplayTicksResponse>::Write& write) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop,
                               projects_->Open(project));
    return loop->Replay([&](const slowloop::ReplayedTick& replayed) {
      v1::ReplayTicksResponse response;
      *response.mutable_tick() = replayed.recorded;
      response.mutable_tick()->clear_stages();
      response.set_digest(replayed.digest);
      response.set_embedder(replayed.embedder);
      response.set_same_policy(replayed.same_policy);
      response.set_same(replayed.same());
      if (request.include_policies()) {
        *response.mutable_policy() = replayed.policy;
      }
      return write(std::move(response)) &&
             replayed.recorded.tick() != request.last_tick();
    });
  }

  absl::StatusOr<v1::GetConfigResponse> ReadConfig(
      const v1::GetConfigRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_ASSIGN_OR_RETURN(Projects::Config config,
                               projects_->GetConfig(project));
    v1::GetConfigResponse response;
    *response.mutable_config() = std::move(config.config);
    response.set_etag(std::move(config.etag));
    return response;
  }

  absl::StatusOr<v1::UpdateConfigResponse> ChangeConfig(
      const v1::UpdateConfigRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    std::vector<std::string> fields(request.update_mask().paths().begin(),
                                    request.update_mask().paths().end());
    if (fields.empty()) fields = SetFields(request.config());
    FAULTLINE_RETURN_IF_ERROR(
        CheckCount("config", static_cast<int>(fields.size()), 1, kMaxFields));
    FAULTLINE_ASSIGN_OR_RETURN(
        Projects::Config config,
        projects_->UpdateConfig(project, request.config(), fields,
                                request.etag()));
    v1::UpdateConfigResponse response;
    *response.mutable_config() = std::move(config.config);
    response.set_etag(std::move(config.etag));
    return response;
  }

  absl::StatusOr<v1::DeleteTracesResponse> Delete(
      const v1::DeleteTracesRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(
        v1::DeleteTracesResponse response,
        server::DeleteTraces(request, ingestor_, log_, projects_));
    if (!request.dry_run() && response.traces() > 0) {
      FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                                 ParseProjectName("parent", request.parent()));
      retention_->NoteDeleted(project);
    }
    return response;
  }

  absl::StatusOr<v1::ListRejectionsResponse> Rejections(
      const v1::ListRejectionsRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string scope = absl::StrCat("rejections/", project);
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultPageSize,
                                   request.page_token()));
    // One more tells whether there is a next page.
    auto entries =
        ingestor_->rejections().List(project, page.position, page.size + 1);
    v1::ListRejectionsResponse response;
    if (entries.size() > page.size) {
      entries.pop_back();
      response.set_next_page_token(MakePageToken(scope, entries.back().number));
    }
    for (auto& entry : entries) {
      *response.add_rejections() = std::move(entry.record);
    }
    return response;
  }

  absl::StatusOr<v1::BackupResponse> Copy(const v1::BackupRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const v1::BackupManifest manifest,
        WriteBackup(*store_, data_dir_, request.directory(), *clock_));
    v1::BackupResponse response;
    response.set_files(manifest.files_size());
    for (const v1::BackupManifest::File& file : manifest.files()) {
      response.set_bytes(response.bytes() + file.bytes());
    }
    return response;
  }

  ingest::Ingestor* const ingestor_;
  trace::TraceLog* const log_;
  const store::KeyValueStore* const store_;
  const policy::PolicyBoard* const board_;
  Projects* const projects_;
  RetentionRunner* const retention_;
  WorkerPool* const pool_;
  WorkerPool* const maintenance_;
  const base::Clock* const clock_;
  const std::string data_dir_;
  const absl::Time start_time_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(
    const AdminDependencies& dependencies) {
  return std::make_unique<AdminService>(dependencies);
}

}  // namespace faultline::server
