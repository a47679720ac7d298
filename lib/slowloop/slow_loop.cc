#include "lib/slowloop/slow_loop.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/published.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/log_window.h"
#include "lib/slowloop/project_config.h"
#include "lib/slowloop/tick.h"
#include "lib/store/ordered_key.h"

namespace faultline::slowloop {
namespace {

using store::Family;

// Keys in Family::kTicks: (project, "state") for the state that the last tick
// left, (project, "tick", number) for the report of each.
std::string Key(absl::string_view project, absl::string_view kind) {
  std::string key;
  store::AppendText(project, &key);
  store::AppendText(kind, &key);
  return key;
}
std::string StateKey(absl::string_view project) {
  return Key(project, "state");
}
std::string TickPrefix(absl::string_view project) {
  return Key(project, "tick");
}
std::string TickKey(absl::string_view project, uint64_t tick) {
  std::string key = TickPrefix(project);
  store::AppendNumber(tick, &key);
  return key;
}

std::shared_ptr<const TickSnapshot> MakeSnapshot(
    v1::TickState state, std::shared_ptr<const embedding::Embedder> embedder) {
  auto snapshot = std::make_shared<TickSnapshot>();
  for (const v1::ClusterMembers& members : state.members()) {
    for (const uint64_t sequence : members.sequences()) {
      snapshot->cluster_of[sequence] = members.cluster_id();
    }
  }
  snapshot->state = std::move(state);
  snapshot->embedder = std::move(embedder);
  return snapshot;
}

class SlowLoopImpl : public SlowLoop {
 public:
  SlowLoopImpl(absl::string_view project, const Options& options,
               const Dependencies& dependencies,
               const v1::ProjectConfig& defaults,
               std::shared_ptr<const TickSnapshot> snapshot)
      : project_(project),
        options_(options),
        dependencies_(dependencies),
        defaults_(defaults),
        window_(project, defaults, snapshot->state, dependencies.log),
        snapshot_(std::move(snapshot)) {}

  absl::StatusOr<v1::Tick> RunOnce() override {
    absl::MutexLock lock(&mutex_);
    FAULTLINE_RETURN_IF_ERROR(
        window_.ReadTo(dependencies_.log->LastSequence(project_)));
    const std::shared_ptr<const TickSnapshot> previous = snapshot_.Get();
    const std::shared_ptr<const policy::PolicyMatcher> current =
        dependencies_.board->Current(project_);
    TickInput input;
    window_.FillIn(previous->state, &input);
    input.tick = previous->state.tick().tick() + 1;
    input.now = dependencies_.clock->Now();
    input.previous_policy = &current->policy();
    input.embedder = options_.embedder;
    input.threads = options_.threads;
    input.clock = dependencies_.clock;
    FAULTLINE_ASSIGN_OR_RETURN(TickOutput output, ComputeTick(input));
    return Publish(*previous, current->policy(), std::move(output));
  }

  std::shared_ptr<const TickSnapshot> Snapshot() const override {
    return snapshot_.Get();
  }

  absl::StatusOr<std::vector<v1::Tick>> Ticks(uint64_t before,
                                              int limit) const override {
    const std::string end = before == 0 ? store::PrefixEnd(TickPrefix(project_))
                                        : TickKey(project_, before);
    std::vector<v1::Tick> ticks;
    bool parsed = true;
    FAULTLINE_RETURN_IF_ERROR(dependencies_.store->ScanReverse(
        Family::kTicks, TickPrefix(project_), end,
        [&](absl::string_view, absl::string_view value) {
          if (static_cast<int>(ticks.size()) >= limit) return false;
          parsed = ticks.emplace_back().ParseFromArray(
              value.data(), static_cast<int>(value.size()));
          return parsed;
        }));
    if (!parsed) {
      return absl::DataLossError(
          absl::StrCat("project ", project_, ": a stored tick is corrupt"));
    }
    return ticks;
  }

  absl::Status Replay(
      const std::function<bool(const ReplayedTick&)>& visit) const override {
    ReplayInput input;
    input.project = project_;
    input.log = dependencies_.log;
    input.read_tick = [this](uint64_t tick) { return ReadTick(tick); };
    input.read_policy = [this](uint64_t version) {
      return dependencies_.board->Version(project_, version);
    };
    input.defaults = defaults_;
    input.embedder = options_.embedder;
    input.threads = options_.threads;
    input.clock = dependencies_.clock;
    return ReplayTicks(input, visit);
  }

 private:
  // NOT_FOUND where there is none.
  absl::StatusOr<v1::Tick> ReadTick(uint64_t number) const {
    FAULTLINE_ASSIGN_OR_RETURN(
        const std::string stored,
        dependencies_.store->Get(Family::kTicks, TickKey(project_, number)));
    v1::Tick tick;
    if (!tick.ParseFromString(stored)) {
      return absl::DataLossError(absl::StrCat(
          "project ", project_, ": stored tick ", number, " is corrupt"));
    }
    return tick;
  }

  // Stores tick and policy in one write, then swaps the snapshots.
  absl::StatusOr<v1::Tick> Publish(const TickSnapshot& previous,
                                   const v1::Policy& previous_policy,
                                   TickOutput output)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    v1::Tick report = output.state.tick();
    *report.mutable_config() = output.state.config();
    report.set_embedder(output.embedder->fingerprint());
    for (v1::TickStage& stage : output.stages) {
      *report.add_stages() = std::move(stage);
    }
    store::WriteBatch batch;
    batch.Put(Family::kTicks, StateKey(project_),
              output.state.SerializeAsString());
    batch.Put(Family::kTicks, TickKey(project_, report.tick()),
              report.SerializeAsString());
    const bool new_policy =
        output.policy.version() != previous_policy.version();
    if (new_policy) {
      dependencies_.board->Stage(project_, output.policy, &batch);
    }
    FAULTLINE_RETURN_IF_ERROR(dependencies_.store->Write(batch, true));
    const bool new_epoch =
        output.state.corpus().epoch() != previous.state.corpus().epoch();
    const std::shared_ptr<const embedding::Embedder> embedder = output.embedder;
    window_.Applied(output.state);
    snapshot_.Publish(MakeSnapshot(std::move(output.state), embedder));
    if (new_policy) {
      FAULTLINE_RETURN_IF_ERROR(
          dependencies_.board->Publish(project_, output.policy));
    }
    if (new_epoch && options_.on_new_epoch) {
      options_.on_new_epoch(project_, embedder);
    }
    return report;
  }

  const std::string project_;
  const Options options_;
  const Dependencies dependencies_;
  const v1::ProjectConfig defaults_;  // every field filled in

  mutable absl::Mutex mutex_;
  LogWindow window_ ABSL_GUARDED_BY(mutex_);

  base::Published<TickSnapshot> snapshot_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SlowLoop>> SlowLoop::Create(
    absl::string_view project, const Options& options,
    const Dependencies& dependencies) {
  FAULTLINE_ASSIGN_OR_RETURN(const v1::ProjectConfig config,
                             ResolveConfig({}, options.defaults));
  v1::TickState state;
  const absl::StatusOr<std::string> stored =
      dependencies.store->Get(Family::kTicks, StateKey(project));
  if (stored.ok()) {
    if (!state.ParseFromString(*stored)) {
      return absl::DataLossError(absl::StrCat(
          "project ", project, ": the state of the last tick is corrupt"));
    }
  } else if (!absl::IsNotFound(stored.status())) {
    return stored.status();
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      std::shared_ptr<const embedding::Embedder> embedder,
      embedding::Embedder::Create(options.embedder, state.corpus()));
  return std::make_unique<SlowLoopImpl>(
      project, options, dependencies, config,
      MakeSnapshot(std::move(state), std::move(embedder)));
}

}  // namespace faultline::slowloop
