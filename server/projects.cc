#include "server/projects.h"

#include <glog/logging.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/project_config.h"
#include "server/grpc_status.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using google::protobuf::FieldDescriptor;

std::string ConfigEtag(const v1::ProjectConfig& config) {
  return base::MessageDigest(config).substr(0, 16);
}

// `current` with `fields` taken from `change`.
absl::StatusOr<v1::ProjectConfig> Changed(
    const v1::ProjectConfig& current, v1::ProjectConfig change,
    const std::vector<std::string>& fields) {
  v1::ProjectConfig changed = current;
  const auto* descriptor = v1::ProjectConfig::descriptor();
  const auto* reflection = v1::ProjectConfig::GetReflection();
  for (const std::string& field : fields) {
    if (descriptor->FindFieldByName(field) == nullptr) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED,
                                "update_mask", "fields of ProjectConfig",
                                absl::StrCat("`", field, "` is none")));
    }
  }
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    const bool named =
        std::find(fields.begin(), fields.end(), field->name()) != fields.end();
    reflection->ClearField(named ? &changed : &change, field);
  }
  changed.MergeFrom(change);
  return changed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Projects>> Projects::Create(
    LoopFactory factory, const v1::ProjectConfig& defaults,
    trace::TraceLog* log, const base::Clock* clock) {
  FAULTLINE_ASSIGN_OR_RETURN(
      const v1::ProjectConfig resolved,
      slowloop::ResolveConfig(v1::ProjectConfig(), defaults));
  std::unique_ptr<Projects> projects(
      new Projects(std::move(factory), resolved, log, clock));
  for (const std::string& name : log->Projects()) {
    FAULTLINE_RETURN_IF_ERROR(projects->Open(name).status());
  }
  return projects;
}

Projects::Projects(LoopFactory factory, const v1::ProjectConfig& defaults,
                   trace::TraceLog* log, const base::Clock* clock)
    : factory_(std::move(factory)),
      defaults_(std::make_shared<const v1::ProjectConfig>(defaults)),
      log_(log),
      clock_(clock) {}

Projects::~Projects() { StopTicks(); }

absl::StatusOr<slowloop::SlowLoop*> Projects::Open(absl::string_view project) {
  FAULTLINE_ASSIGN_OR_RETURN(Project * opened, OpenProject(project));
  return opened->loop.get();
}

bool Projects::IsOpen(absl::string_view project) const {
  absl::ReaderMutexLock lock(&mutex_);
  return projects_.contains(project);
}

absl::StatusOr<std::shared_ptr<const slowloop::TickSnapshot>>
Projects::Snapshot(absl::string_view project) {
  FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop, Open(project));
  return loop->Snapshot();
}

std::vector<std::string> Projects::Names() const {
  std::vector<std::string> names;
  {
    absl::ReaderMutexLock lock(&mutex_);
    for (const auto& [name, project] : projects_) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<Projects::Project*> Projects::OpenProject(
    absl::string_view name) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    const auto it = projects_.find(name);
    if (it != projects_.end()) return it->second.get();
  }
  if (log_->LastSequence(name) == 0) {
    return NotFoundError("project", MakeProjectName(name));
  }
  absl::MutexLock open_lock(&open_mutex_);
  {
    absl::ReaderMutexLock lock(&mutex_);
    const auto it = projects_.find(name);
    if (it != projects_.end()) return it->second.get();
  }
  FAULTLINE_ASSIGN_OR_RETURN(std::unique_ptr<Project> made, MakeProject(name));
  absl::MutexLock lock(&mutex_);
  Project* project = made.get();
  projects_.emplace(std::string(name), std::move(made));
  if (ticking_ && !stopped_) StartRunner(project);
  return project;
}

absl::StatusOr<std::unique_ptr<Projects::Project>> Projects::MakeProject(
    absl::string_view name) {
  auto project = std::make_unique<Project>();
  project->name = std::string(name);
  FAULTLINE_ASSIGN_OR_RETURN(project->loop, factory_(name));
  FAULTLINE_ASSIGN_OR_RETURN(const std::optional<v1::ProjectConfig> recorded,
                             log_->LatestConfig(name));
  absl::MutexLock lock(&project->mutex);
  project->config = defaults_;
  if (recorded.has_value()) {
    // A recorded value is whole.
    FAULTLINE_ASSIGN_OR_RETURN(
        v1::ProjectConfig config,
        slowloop::ResolveConfig(*recorded, v1::ProjectConfig()));
    project->config =
        std::make_shared<const v1::ProjectConfig>(std::move(config));
  }
  return project;
}

void Projects::StartRunner(Project* project) {
  const auto interval = [project] {
    absl::MutexLock lock(&project->mutex);
    return absl::Nanoseconds(
        google::protobuf::util::TimeUtil::DurationToNanoseconds(
            project->config->tick_interval()));
  };
  project->runner = std::make_unique<base::PeriodicRunner>(
      clock_, interval, [this, project] { RunTick(project); });
}

void Projects::RunTick(Project* project) {
  absl::MutexLock tick_lock(&tick_mutex_);
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (stopped_) return;
  }
  std::vector<TickDone> waiting;
  bool triggered, rescheduled;
  {
    absl::MutexLock lock(&project->mutex);
    waiting.swap(project->waiting);
    triggered = std::exchange(project->triggered, false);
    rescheduled = std::exchange(project->rescheduled, false);
  }
  if (rescheduled && !triggered) return;
  // A tick over the same log would say the same.
  if (!triggered && log_->LastSequence(project->name) ==
                        project->loop->Snapshot()->state.tick().watermark()) {
    return;
  }
  const absl::StatusOr<v1::Tick> tick = project->loop->RunOnce();
  if (tick.ok()) {
    LOG(INFO) << "project " << project->name << " tick " << tick->tick() << ": "
              << tick->runs() << " runs, " << tick->failures() << " failures, "
              << tick->clusters() << " clusters, policy version "
              << tick->policy_version();
  } else {
    LOG(ERROR) << "project " << project->name
               << " tick failed: " << tick.status();
  }
  for (const TickDone& done : waiting) done(tick);
}

void Projects::TriggerTick(absl::string_view project, TickDone done) {
  const absl::StatusOr<Project*> opened = OpenProject(project);
  absl::Status status = opened.status();
  if (status.ok()) {
    absl::ReaderMutexLock lock(&mutex_);
    if (ticking_ && !stopped_) {
      {
        absl::MutexLock project_lock(&(*opened)->mutex);
        (*opened)->triggered = true;
        if (done != nullptr) (*opened)->waiting.push_back(std::move(done));
      }
      (*opened)->runner->Trigger();
      return;
    }
    status = stopped_ ? StoppingError()
                      : OverloadedError("the server is still starting");
  }
  if (done != nullptr) done(status);
}

absl::StatusOr<Projects::Config> Projects::GetConfig(
    absl::string_view project) {
  const absl::StatusOr<Project*> opened = OpenProject(project);
  if (absl::IsNotFound(opened.status())) {
    return Config{*defaults_, ConfigEtag(*defaults_)};
  }
  FAULTLINE_RETURN_IF_ERROR(opened.status());
  absl::MutexLock lock(&(*opened)->mutex);
  return Config{*(*opened)->config, ConfigEtag(*(*opened)->config)};
}

std::shared_ptr<const v1::ProjectConfig> Projects::Settings(
    absl::string_view project) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto it = projects_.find(project);
  if (it == projects_.end()) return defaults_;
  absl::MutexLock project_lock(&it->second->mutex);
  return it->second->config;
}

absl::StatusOr<Projects::Config> Projects::UpdateConfig(
    absl::string_view project, const v1::ProjectConfig& config,
    const std::vector<std::string>& fields, absl::string_view etag) {
  absl::MutexLock update_lock(&update_mutex_);
  FAULTLINE_ASSIGN_OR_RETURN(const Config current, GetConfig(project));
  if (!etag.empty() && etag != current.etag) {
    return base::DetailedError(
        absl::StatusCode::kAborted,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_STALE_ETAG, "etag",
                              absl::StrCat("`", current.etag, "`"),
                              "the settings have changed; read them again"));
  }
  FAULTLINE_ASSIGN_OR_RETURN(v1::ProjectConfig changed,
                             Changed(current.config, config, fields));
  FAULTLINE_ASSIGN_OR_RETURN(changed,
                             slowloop::ResolveConfig(changed, *defaults_));
  std::vector<v1::LogRecord> records(1);
  *records[0].mutable_config() = changed;
  FAULTLINE_RETURN_IF_ERROR(
      log_->AppendAndWait(project, std::move(records)).status());

  FAULTLINE_ASSIGN_OR_RETURN(Project * opened, OpenProject(project));
  {
    absl::MutexLock lock(&opened->mutex);
    opened->config = std::make_shared<const v1::ProjectConfig>(changed);
    opened->rescheduled = true;
  }
  absl::ReaderMutexLock lock(&mutex_);
  if (opened->runner != nullptr) opened->runner->Trigger();
  return Config{changed, ConfigEtag(changed)};
}

void Projects::StartTicks() {
  absl::MutexLock lock(&mutex_);
  if (ticking_ || stopped_) return;
  ticking_ = true;
  for (const auto& [name, project] : projects_) StartRunner(project.get());
}

void Projects::StopTicks() {
  std::vector<Project*> projects;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    for (const auto& [name, project] : projects_) {
      projects.push_back(project.get());
    }
  }
  for (Project* project : projects) {
    if (project->runner != nullptr) project->runner->Stop();
    std::vector<TickDone> waiting;
    {
      absl::MutexLock lock(&project->mutex);
      waiting.swap(project->waiting);
    }
    for (const TickDone& done : waiting) done(StoppingError());
  }
}

}  // namespace faultline::server
