#include "lib/slowloop/tick.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/clusterer.h"
#include "lib/cluster/mode.h"
#include "lib/diagnose/diagnoser.h"
#include "lib/evaluate/experiment.h"
#include "lib/intervene/planner.h"
#include "lib/policy/policy_compiler.h"
#include "lib/slowloop/cluster_space.h"
#include "lib/slowloop/identity.h"
#include "lib/slowloop/known_modes.h"
#include "lib/slowloop/matrix.h"
#include "lib/slowloop/run_map.h"
#include "lib/slowloop/validity_stage.h"

namespace faultline::slowloop {
namespace {

using embedding::Map;
using embedding::Run;
using ::google::protobuf::util::TimeUtil;

// Runs below which no embedding epoch is frozen: document frequencies of fewer
// say nothing.
constexpr size_t kMinCorpusRuns = 50;
// Drift of token frequencies beyond which a new epoch is due (METHODS 1.2).
constexpr double kMaxCorpusDrift = 0.15;
// Traces that a proposal may read of each kind.
constexpr size_t kSampleTraces = 200;
// Failures at the edge of a cluster that are named.
constexpr size_t kMaxBoundaryShown = 10;
// Runs that one task embeds.
constexpr size_t kEmbedBlock = 256;

// A candidate failure mode on its way through the stages. Indices are indices
// into Workspace::runs.
struct Candidate {
  cluster::Mode mode;
  std::vector<int32_t> members;           // failed, discovery side
  std::vector<int32_t> region;            // discovery side, any outcome
  std::vector<int32_t> held_out_members;  // failed, held-out side
  v1::Enrichment enrichment;
  std::string id;
  v1::Cluster value;
};

// Intermediate results, filled by one stage after the other.
class Workspace {
 public:
  explicit Workspace(const TickInput& input) : input_(input) {}

  absl::StatusOr<TickOutput> Compute();

 private:
  // The stages, in order.
  absl::StatusOr<std::string> SelectRuns();
  absl::StatusOr<std::string> FreezeCorpus();
  absl::StatusOr<std::string> EmbedRuns();
  absl::StatusOr<std::string> ClusterFailures();
  absl::StatusOr<std::string> TrackIdentity();
  absl::StatusOr<std::string> ValidateClusters();
  absl::StatusOr<std::string> DiagnoseClusters();
  absl::StatusOr<std::string> DrawMap();
  absl::StatusOr<std::string> MeasureNovelty();
  absl::StatusOr<std::string> MeasureEffects();
  absl::StatusOr<std::string> PlanInterventions();
  absl::StatusOr<std::string> FreezeTrials();
  absl::StatusOr<std::string> CompilePolicy();

  using Stage = absl::StatusOr<std::string> (Workspace::*)();
  absl::Status RunStage(const char* name, Stage stage);

  absl::StatusOr<std::vector<v1::Trace>> ReadSample(
      const std::vector<int32_t>& rows) const;

  absl::StatusOr<cluster::Clustering> ClusterView(const Matrix& failures,
                                                  const Matrix& all,
                                                  int threads) const;
  void ReportClustering(v1::View view, const cluster::Clustering& clustering);
  void ReportSlices(const ViewFinding& view);
  void AddCandidate(TrackedMode tracked);
  void DescribeCluster(const cluster::Mode& mode, v1::Cluster* value) const;
  void StoreMembers(const Candidate& candidate,
                    v1::ClusterMembers* stored) const;
  void EmbedInto(Map map, Matrix* out) const;
  evaluate::NewRuns RunsToCount() const;
  // Name of the cluster that lives on under a name.
  std::string LivingCluster(const std::string& name) const {
    const size_t id = name.rfind('/') + 1;
    return absl::StrCat(name.substr(0, id),
                        identities_.decisions->Root(name.substr(id)));
  }
  std::string ClusterName(absl::string_view id) const {
    return absl::StrCat("projects/", input_.project, "/clusters/", id);
  }

  const TickInput& input_;
  TickOutput output_;

  std::vector<const Run*> runs_;         // known outcome, by trace id
  std::vector<bool> discovery_;          // side of each run
  std::vector<int32_t> discovery_rows_;  // rows of runs_
  std::vector<int32_t> held_out_rows_;
  std::vector<int32_t> failure_rows_;  // discovery side
  std::vector<int32_t> success_rows_;  // discovery side
  size_t failures_ = 0;                // both sides

  Matrix behavior_;    // n x d, E_b
  Matrix trajectory_;  // n x d
  std::optional<ClusterSpace> space_;
  // failure_rows_ x d, in `space_`.
  Matrix behavior_failures_;
  Matrix trajectory_failures_;
  std::vector<cluster::Mode> modes_;  // as found, until they are tracked
  Identities identities_;
  std::vector<Candidate> candidates_;        // largest first
  std::vector<const Run*> pending_;          // without outcome, by trace id
  std::map<std::string, v1::Trial> trials_;  // by intervention
};

absl::Status Workspace::RunStage(const char* name, Stage stage) {
  const absl::Duration begin = input_.clock->SteadyNow();
  absl::StatusOr<std::string> summary = (this->*stage)();
  if (!summary.ok()) {
    return absl::Status(summary.status().code(),
                        absl::StrCat("tick ", input_.tick, ", stage ", name,
                                     ": ", summary.status().message()));
  }
  v1::TickStage& report = output_.stages.emplace_back();
  report.set_name(name);
  report.set_summary(*std::move(summary));
  *report.mutable_duration() = TimeUtil::NanosecondsToDuration(
      absl::ToInt64Nanoseconds(input_.clock->SteadyNow() - begin));
  return absl::OkStatus();
}

absl::StatusOr<TickOutput> Workspace::Compute() {
  FAULTLINE_RETURN_IF_ERROR(RunStage("select", &Workspace::SelectRuns));
  FAULTLINE_RETURN_IF_ERROR(RunStage("corpus", &Workspace::FreezeCorpus));
  FAULTLINE_RETURN_IF_ERROR(RunStage("embed", &Workspace::EmbedRuns));
  FAULTLINE_RETURN_IF_ERROR(RunStage("cluster", &Workspace::ClusterFailures));
  FAULTLINE_RETURN_IF_ERROR(RunStage("identity", &Workspace::TrackIdentity));
  FAULTLINE_RETURN_IF_ERROR(RunStage("validate", &Workspace::ValidateClusters));
  FAULTLINE_RETURN_IF_ERROR(RunStage("diagnose", &Workspace::DiagnoseClusters));
  FAULTLINE_RETURN_IF_ERROR(RunStage("map", &Workspace::DrawMap));
  FAULTLINE_RETURN_IF_ERROR(RunStage("novelty", &Workspace::MeasureNovelty));
  FAULTLINE_RETURN_IF_ERROR(RunStage("effects", &Workspace::MeasureEffects));
  FAULTLINE_RETURN_IF_ERROR(RunStage("plan", &Workspace::PlanInterventions));
  FAULTLINE_RETURN_IF_ERROR(RunStage("freeze", &Workspace::FreezeTrials));
  FAULTLINE_RETURN_IF_ERROR(RunStage("compile", &Workspace::CompilePolicy));

  v1::TickState& state = output_.state;
  *state.mutable_config() = input_.config;
  v1::Tick& tick = *state.mutable_tick();
  tick.set_name(
      absl::StrCat("projects/", input_.project, "/ticks/", input_.tick));
  tick.set_tick(input_.tick);
  *tick.mutable_start_time() =
      TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(input_.now));
  tick.set_watermark(input_.watermark);
  tick.set_runs(runs_.size());
  tick.set_failures(failures_);
  tick.set_clusters(candidates_.size());
  for (const Candidate& candidate : candidates_) {
    if (candidate.value.status() == v1::Cluster::STATUS_STABLE) {
      tick.set_stable_clusters(tick.stable_clusters() + 1);
    }
  }
  for (const v1::Intervention& intervention : state.interventions()) {
    if (intervention.status() == v1::Intervention::STATUS_TRIAL) {
      tick.set_trials(tick.trials() + 1);
    }
  }
  tick.set_policy_version(output_.policy.version());
  tick.set_digest(StateDigest(state));
  return std::move(output_);
}

absl::StatusOr<std::string> Workspace::SelectRuns() {
  runs_ = input_.window->KnownRuns();
  discovery_.resize(runs_.size());
  for (size_t i = 0; i < runs_.size(); ++i) {
    discovery_[i] =
        OnDiscoverySide(runs_[i]->trace_id, input_.config.discovery_share());
    failures_ += runs_[i]->failed() ? 1 : 0;
    const auto row = static_cast<int32_t>(i);
    if (!discovery_[i]) {
      held_out_rows_.push_back(row);
      continue;
    }
    discovery_rows_.push_back(row);
    (runs_[i]->failed() ? failure_rows_ : success_rows_).push_back(row);
  }
  return absl::StrFormat("%d runs, %d failed; %d on the discovery side",
                         runs_.size(), failures_, discovery_rows_.size());
}

absl::StatusOr<std::string> Workspace::FreezeCorpus() {
  v1::CorpusSnapshot& corpus = *output_.state.mutable_corpus();
  corpus = input_.previous->corpus();
  std::string summary = absl::StrCat("epoch ", corpus.epoch(), " goes on");
  if (discovery_rows_.size() >= kMinCorpusRuns) {
    std::vector<const Run*> counted;
    counted.reserve(discovery_rows_.size());
    for (const int32_t row : discovery_rows_) counted.push_back(runs_[row]);
    v1::CorpusSnapshot next = embedding::CountCorpus(counted, nullptr);
    const double drift =
        corpus.epoch() == 0 ? 1 : embedding::CorpusDrift(corpus, next);
    if (drift > kMaxCorpusDrift) {
      next.set_epoch(corpus.epoch() + 1);
      next.set_watermark(input_.watermark);
      corpus = std::move(next);
      summary =
          absl::StrFormat("new epoch %d, drift %.2f", corpus.epoch(), drift);
    }
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      output_.embedder, embedding::Embedder::Create(input_.embedder, corpus));
  return summary;
}

void Workspace::EmbedInto(Map map, Matrix* out) const {
  out->dimension = output_.embedder->dimension();
  out->values.resize(runs_.size() * out->dimension);
  const size_t blocks = (runs_.size() + kEmbedBlock - 1) / kEmbedBlock;
  base::ParallelFor(blocks, input_.threads, [&](size_t block) {
    const size_t last = std::min(runs_.size(), (block + 1) * kEmbedBlock);
    for (size_t i = block * kEmbedBlock; i < last; ++i) {
      output_.embedder->Embed(*runs_[i], map, nullptr, out->row(i));
    }
  });
}

absl::StatusOr<std::string> Workspace::EmbedRuns() {
  EmbedInto(Map::kBehavior, &behavior_);
  EmbedInto(Map::kTrajectory, &trajectory_);
  EmbeddedRuns embedded;
  embedded.embedder = output_.embedder.get();
  embedded.runs = runs_;
  embedded.trajectory = &trajectory_;
  embedded.failures = failure_rows_;
  embedded.successes = success_rows_;
  embedded.threads = input_.threads;
  space_.emplace(embedded);
  behavior_failures_ = space_->Vectors(v1::VIEW_BEHAVIOR, failure_rows_);
  trajectory_failures_ = space_->Vectors(v1::VIEW_TRAJECTORY, failure_rows_);
  return absl::StrFormat("%d runs in two views, %d dimensions", runs_.size(),
                         output_.embedder->dimension());
}

absl::StatusOr<cluster::Clustering> Workspace::ClusterView(
    const Matrix& failures, const Matrix& all, int threads) const {
  const Matrix pooled = SelectRows(all, discovery_rows_);
  cluster::ClusteringInput clustering;
  clustering.dimension = pooled.dimension;
  clustering.failures = failures.values;
  clustering.pooled = pooled.values;
  for (size_t i = 0; i < discovery_rows_.size(); ++i) {
    const bool failed = runs_[discovery_rows_[i]]->failed();
    clustering.pooled_failed.push_back(failed);
    if (failed) clustering.failure_row.push_back(static_cast<int32_t>(i));
  }
  cluster::ClusterOptions options;
  options.seed = base::Mix64(input_.config.seed() ^ base::Mix64(input_.tick));
  options.threads = threads;
  if (input_.config.cluster_engine() == v1::CLUSTER_ENGINE_HDBSCAN) {
    options.engine = cluster::Engine::kHdbscan;
  }
  return cluster::ClusterFailures(clustering, options);
}

void Workspace::ReportClustering(v1::View view,
                                 const cluster::Clustering& clustering) {
  v1::ViewClustering& report = *output_.state.mutable_tick()->add_clustering();
  report.set_view(view);
  report.set_engine(input_.config.cluster_engine());
  report.set_failures(clustering.label.size());
  report.set_filtered(clustering.filtered);
  report.set_boundary(clustering.boundary);
  report.set_noise(
      std::count(clustering.label.begin(), clustering.label.end(), -1));
  report.set_assigned(clustering.assigned);
  report.set_groups(clustering.groups.size());
  report.set_engine_agreement(clustering.agreement);
}

void Workspace::ReportSlices(const ViewFinding& view) {
  for (v1::ViewClustering& report :
       *output_.state.mutable_tick()->mutable_clustering()) {
    if (report.view() != view.view) continue;
    report.mutable_slice_agreements()->Assign(view.slice_agreements.begin(),
                                              view.slice_agreements.end());
    report.set_residualized(view.residualized);
    if (view.prediction_strength >= 0) {
      report.set_prediction_strength(view.prediction_strength);
    }
  }
}

absl::StatusOr<std::string> Workspace::ClusterFailures() {
  // Each view on its own thread, where there are two: much of the work cannot
  // be shared out otherwise.
  absl::StatusOr<cluster::Clustering> behavior_found;
  absl::StatusOr<cluster::Clustering> trajectory_found;
  const int threads = std::max(1, input_.threads / 2);
  base::ParallelFor(2, input_.threads, [&](size_t view) {
    if (view == 0) {
      behavior_found = ClusterView(behavior_failures_, behavior_, threads);
    } else {
      trajectory_found =
          ClusterView(trajectory_failures_, trajectory_, threads);
    }
  });
  FAULTLINE_ASSIGN_OR_RETURN(const cluster::Clustering behavior,
                             std::move(behavior_found));
  FAULTLINE_ASSIGN_OR_RETURN(const cluster::Clustering trajectory,
                             std::move(trajectory_found));
  ReportClustering(v1::VIEW_BEHAVIOR, behavior);
  ReportClustering(v1::VIEW_TRAJECTORY, trajectory);
  modes_ = cluster::MergeViews(behavior, trajectory);
  return absl::StrFormat(
      "%d failures: %d groups in the behaviour view, %d in the trajectory "
      "view, %d modes",
      failure_rows_.size(), behavior.groups.size(), trajectory.groups.size(),
      modes_.size());
}

void Workspace::DescribeCluster(const cluster::Mode& mode,
                                v1::Cluster* value) const {
  const cluster::Group& group = mode.group;
  const auto id_of = [this](int32_t row) -> const std::string& {
    return runs_[failure_rows_[row]]->trace_id;
  };
  value->set_medoid(id_of(group.medoid));
  for (const int32_t row : group.exemplars) value->add_exemplars(id_of(row));
  value->set_radius(group.radius);
  value->set_cohesion(group.cohesion);
  if (group.stability >= 0) value->set_stability(group.stability);
  for (const cluster::SubMode& part : group.sub_modes) {
    v1::SubMode& described = *value->add_sub_modes();
    described.set_size(part.members.size());
    described.set_medoid(id_of(part.medoid));
    described.set_similarity(part.similarity);
  }
  value->set_view_overlap(mode.overlap);
  value->set_engine_agreement(group.agreement);
  value->set_boundary_failures(group.boundary.size());
  const size_t shown = std::min(group.boundary.size(), kMaxBoundaryShown);
  for (size_t i = 0; i < shown; ++i) {
    value->add_boundary_exemplars(id_of(group.boundary[i]));
  }
}

absl::StatusOr<std::string> Workspace::TrackIdentity() {
  IdentityInput identity;
  identity.project = input_.project;
  identity.tick = input_.tick;
  identity.now = input_.now;
  identity.seed = input_.config.seed();
  identity.threads = input_.threads;
  identity.previous = input_.previous;
  identity.reviews = input_.cluster_reviews;
  identity.window = input_.window;
  identity.embedder = output_.embedder.get();
  identity.runs = runs_;
  identity.behavior = behavior_.values;
  identity.trajectory = trajectory_.values;
  identity.failure_rows = failure_rows_;
  identity.failures = {output_.embedder->dimension(), behavior_failures_.values,
                       trajectory_failures_.values};
  FAULTLINE_ASSIGN_OR_RETURN(identities_,
                             IdentifyClusters(identity, std::move(modes_)));
  for (TrackedMode& tracked : identities_.modes) {
    AddCandidate(std::move(tracked));
  }
  v1::TickState& state = output_.state;
  identities_.decisions->StoreTo(&state);
  state.mutable_exemplars()->Add(identities_.exemplars.begin(),
                                 identities_.exemplars.end());
  std::map<v1::LineageEvent::Kind, int> kinds;
  for (v1::LineageEvent& event : identities_.events) {
    ++kinds[event.kind()];
    *state.mutable_tick()->add_lineage() = std::move(event);
  }
  std::string summary = "clusters:";
  for (const auto& [kind, count] : kinds) {
    absl::StrAppend(&summary, " ", v1::LineageEvent::Kind_Name(kind), " ",
                    count);
  }
  return summary;
}

void Workspace::AddCandidate(TrackedMode tracked) {
  Candidate& candidate = candidates_.emplace_back();
  candidate.mode = std::move(tracked.mode);
  candidate.id = std::move(tracked.id);
  for (const int32_t member : candidate.mode.members) {
    candidate.members.push_back(failure_rows_[member]);
  }
  v1::Cluster& value = candidate.value;
  value.set_cluster_id(candidate.id);
  value.set_name(ClusterName(candidate.id));
  value.set_overlap(tracked.overlap.o);
  value.set_birth_tick(tracked.birth_tick);
  value.set_ticks_seen(tracked.ticks_seen);
  value.set_last_seen_tick(input_.tick);
  for (std::string& parent : tracked.parents) {
    value.add_parents(std::move(parent));
  }
  const cluster::Mode& mode = candidate.mode;
  value.mutable_views()->Assign(mode.views.begin(), mode.views.end());
  value.set_size(candidate.members.size());
  value.set_failure_share(static_cast<double>(candidate.members.size()) /
                          std::max<size_t>(1, failure_rows_.size()));
  DescribeCluster(mode, &value);
  const auto [first, last] =
      std::minmax_element(candidate.members.begin(), candidate.members.end(),
                          [this](int32_t a, int32_t b) {
                            return runs_[a]->start_time < runs_[b]->start_time;
                          });
  *value.mutable_first_run_time() = TimeUtil::NanosecondsToTimestamp(
      absl::ToUnixNanos(runs_[*first]->start_time));
  *value.mutable_last_run_time() = TimeUtil::NanosecondsToTimestamp(
      absl::ToUnixNanos(runs_[*last]->start_time));
}

absl::StatusOr<std::string> Workspace::ValidateClusters() {
  ValidityInput validity;
  validity.runs = runs_;
  validity.discovery = &discovery_;
  validity.failure_rows = failure_rows_;
  validity.behavior = &behavior_;
  validity.trajectory = &trajectory_;
  validity.embedder = output_.embedder.get();
  validity.space = &*space_;
  validity.names = &input_.window->names();
  validity.config = &input_.config;
  validity.previous = input_.previous;
  validity.tick = input_.tick;
  validity.watermark = input_.watermark;
  validity.threads = input_.threads;
  std::vector<ValiditySubject> subjects;
  for (const Candidate& candidate : candidates_) {
    ValiditySubject& subject = subjects.emplace_back();
    subject.cluster_id = candidate.id;
    subject.views = candidate.mode.views;
    subject.members = candidate.members;
    for (const int32_t failure : candidate.mode.group.boundary) {
      subject.boundary.push_back(failure_rows_[failure]);
    }
    subject.stability = candidate.mode.group.stability;
  }
  FAULTLINE_ASSIGN_OR_RETURN(ValidityOutput found,
                             ValidateModes(validity, subjects));

  output_.state.set_clusters_tested(found.clusters_tested);
  output_.state.set_clusters_confirmed(found.clusters_confirmed);
  output_.state.set_first_test_watermark(found.first_test_watermark);
  for (const ViewFinding& view : found.views) ReportSlices(view);
  size_t stable = 0;
  for (size_t c = 0; c < candidates_.size(); ++c) {
    Candidate& candidate = candidates_[c];
    ValidityFinding& finding = found.findings[c];
    candidate.enrichment = finding.enrichment;
    candidate.held_out_members = std::move(finding.held_out_members);
    candidate.region = candidate.members;
    candidate.region.insert(candidate.region.end(),
                            finding.region_successes.begin(),
                            finding.region_successes.end());
    v1::Cluster& value = candidate.value;
    value.set_status(finding.status);
    value.set_status_reason(std::move(finding.reason));
    *value.mutable_enrichment() = std::move(finding.enrichment);
    *value.mutable_validity() = std::move(finding.validity);
    stable += value.status() == v1::Cluster::STATUS_STABLE ? 1 : 0;
  }
  return absl::StrFormat("%d of %d modes may act", stable, candidates_.size());
}

void Workspace::StoreMembers(const Candidate& candidate,
                             v1::ClusterMembers* stored) const {
  absl::flat_hash_map<int32_t, uint32_t> part_of;  // by failure
  const std::vector<cluster::SubMode>& parts = candidate.mode.group.sub_modes;
  for (size_t p = 0; p < parts.size(); ++p) {
    for (const int32_t failure : parts[p].members) {
      part_of[failure] = static_cast<uint32_t>(p) + 1;
    }
  }
  struct Member {
    uint64_t sequence;
    float strength;
    uint32_t part;
  };
  std::vector<Member> members;
  members.reserve(candidate.members.size());
  for (size_t i = 0; i < candidate.members.size(); ++i) {
    const auto part = part_of.find(candidate.mode.members[i]);
    members.push_back({runs_[candidate.members[i]]->sequence,
                       candidate.mode.strengths[i],
                       part == part_of.end() ? 0 : part->second});
  }
  std::sort(
      members.begin(), members.end(),
      [](const Member& a, const Member& b) { return a.sequence < b.sequence; });
  stored->set_cluster_id(candidate.id);
  for (const Member& member : members) {
    stored->add_sequences(member.sequence);
    stored->add_strengths(member.strength);
    if (!parts.empty()) stored->add_sub_modes(member.part);
  }
}

absl::StatusOr<std::string> Workspace::DiagnoseClusters() {
  std::vector<diagnose::Subject> subjects;
  for (const Candidate& candidate : candidates_) {
    diagnose::Subject& subject = subjects.emplace_back();
    subject.cluster = candidate.value.name();
    subject.trajectory_only =
        candidate.mode.views == std::vector<v1::View>{v1::VIEW_TRAJECTORY};
    subject.members = candidate.members;
    subject.region = candidate.region;
    std::sort(subject.region.begin(), subject.region.end());
    subject.held_out_members = candidate.held_out_members;
    subject.enrichment_p = candidate.enrichment.adjusted_p_value();
    subject.cohesion = candidate.value.cohesion();
  }
  diagnose::DiagnosisInput diagnosis;
  diagnosis.runs = runs_;
  diagnosis.discovery = discovery_;
  diagnosis.names = &input_.window->names();
  diagnosis.false_discovery_rate = input_.config.false_discovery_rate();
  diagnosis.tick = input_.tick;
  diagnosis.threads = input_.threads;
  std::vector<v1::Diagnosis> diagnoses =
      diagnose::Diagnose(diagnosis, subjects);

  for (v1::Cluster& unseen : identities_.unseen) {
    ShowDecisions(*identities_.decisions, &unseen);
    *output_.state.add_clusters() = std::move(unseen);
  }
  for (v1::ClusterMembers& members : identities_.unseen_members) {
    *output_.state.add_members() = std::move(members);
  }
  std::map<v1::FailureMode, int> readings;
  for (size_t c = 0; c < candidates_.size(); ++c) {
    Candidate& candidate = candidates_[c];
    v1::Cluster& value = candidate.value;
    *value.mutable_diagnosis() = std::move(diagnoses[c]);
    *value.mutable_scope() = value.diagnosis().scope();
    value.set_title(value.diagnosis().summary());
    ShowDecisions(*identities_.decisions, &value);
    ++readings[value.diagnosis().failure_mode()];
    value.set_etag(absl::StrFormat(
        "%016x", base::Hash64(value.SerializeAsString(), input_.tick)));
    *output_.state.add_clusters() = value;

    StoreMembers(candidate, output_.state.add_members());
  }
  const auto by_id = [](const auto& a, const auto& b) {
    return a.cluster_id() < b.cluster_id();
  };
  std::sort(output_.state.mutable_clusters()->begin(),
            output_.state.mutable_clusters()->end(), by_id);
  std::sort(output_.state.mutable_members()->begin(),
            output_.state.mutable_members()->end(), by_id);
  std::string summary = "readings:";
  for (const auto& [mode, count] : readings) {
    absl::StrAppend(&summary, " ", v1::FailureMode_Name(mode), " ", count);
  }
  return summary;
}

absl::StatusOr<std::string> Workspace::DrawMap() {
  RunMapInput map;
  map.runs = runs_;
  map.trajectory = &trajectory_;
  map.rows = discovery_rows_;
  for (const Candidate& candidate : candidates_) {
    map.members.push_back(candidate.members);
  }
  map.previous = &input_.previous->map();
  map.tick = input_.tick;
  v1::RunMap& drawn = *output_.state.mutable_map();
  drawn = DrawRuns(map);
  return absl::StrFormat("%d runs; axes of tick %d show %.0f %% of the scatter",
                         drawn.sequences_size(), drawn.axes_tick(),
                         100 * drawn.shown_scatter());
}

absl::StatusOr<std::string> Workspace::MeasureNovelty() {
  NoveltyInput input;
  input.runs = runs_;
  input.discovery = &discovery_;
  input.behavior = &behavior_;
  input.trajectory = &trajectory_;
  input.previous = input_.previous;
  input.window = input_.window;
  input.embedder = output_.embedder.get();
  input.threads = input_.threads;
  v1::TickState& state = output_.state;
  v1::Novelty& novelty = *state.mutable_tick()->mutable_novelty();
  novelty = slowloop::MeasureNovelty(input);
  for (v1::KnownMode& mode : DescribeKnownModes(
           state, *input_.window, *output_.embedder, input_.threads)) {
    *state.add_known_modes() = std::move(mode);
  }
  return absl::StrFormat("%d of %d new failures are like no known mode",
                         novelty.emerging(), novelty.compared());
}

absl::StatusOr<std::string> Workspace::MeasureEffects() {
  v1::TickState& state = output_.state;
  std::map<std::string, const v1::Trial*> trials;
  for (const v1::Trial& trial : input_.previous->trials()) {
    trials[trial.intervention_id()] = &trial;
  }
  for (const v1::Intervention& old : input_.previous->interventions()) {
    v1::Intervention& intervention = *state.add_interventions();
    intervention = old;
    intervention.set_cluster(LivingCluster(old.cluster()));
    const auto trial = trials.find(old.intervention_id());
    if (trial != trials.end() && intervene::IsActive(old.status())) {
      trials_[old.intervention_id()] = *trial->second;
    }
  }
  std::vector<evaluate::Experiment> experiments;
  for (v1::Intervention& intervention : *state.mutable_interventions()) {
    const auto trial = trials_.find(intervention.intervention_id());
    if (trial == trials_.end()) continue;
    experiments.push_back({&intervention, &trial->second});
  }
  pending_ = input_.window->PendingRuns();
  evaluate::MeasureEffects(RunsToCount(), input_.config, experiments);
  return absl::StrFormat("%d interventions measured", experiments.size());
}

evaluate::NewRuns Workspace::RunsToCount() const {
  evaluate::NewRuns runs;
  runs.known = runs_;
  runs.pending = pending_;
  runs.previous_watermark = input_.previous->tick().watermark();
  runs.watermark = input_.watermark;
  runs.tick = input_.tick;
  return runs;
}

absl::StatusOr<std::vector<v1::Trace>> Workspace::ReadSample(
    const std::vector<int32_t>& rows) const {
  std::vector<int32_t> sample = rows;
  base::Random random(base::Mix64(input_.config.seed()) + input_.tick);
  random.Shuffle(&sample);
  sample.resize(std::min(sample.size(), kSampleTraces));
  std::sort(sample.begin(), sample.end());
  std::vector<v1::Trace> traces;
  traces.reserve(sample.size());
  for (const int32_t row : sample) {
    FAULTLINE_ASSIGN_OR_RETURN(traces.emplace_back(),
                               input_.read_trace(runs_[row]->sequence));
  }
  return traces;
}

absl::StatusOr<std::string> Workspace::PlanInterventions() {
  std::vector<const Candidate*> acting;
  for (const Candidate& candidate : candidates_) {
    if (candidate.value.status() == v1::Cluster::STATUS_STABLE) {
      acting.push_back(&candidate);
    }
  }
  intervene::PlanInput plan;
  std::vector<v1::Trace> successes;
  if (!acting.empty()) {
    FAULTLINE_ASSIGN_OR_RETURN(successes, ReadSample(success_rows_));
  }
  // Traces of each acting cluster; the contexts point into them.
  std::vector<std::vector<v1::Trace>> members;
  std::vector<std::vector<v1::Trace>> region_successes;
  members.reserve(acting.size());
  region_successes.reserve(acting.size());
  for (const Candidate* candidate : acting) {
    std::vector<int32_t> passed;
    for (const int32_t row : candidate->region) {
      if (!runs_[row]->failed()) passed.push_back(row);
    }
    FAULTLINE_ASSIGN_OR_RETURN(members.emplace_back(),
                               ReadSample(candidate->members));
    FAULTLINE_ASSIGN_OR_RETURN(region_successes.emplace_back(),
                               ReadSample(passed));
    intervene::ProposalContext& context = plan.contexts.emplace_back();
    context.cluster = &candidate->value;
    for (const v1::Trace& trace : members.back()) {
      context.member_traces.push_back(&trace);
    }
    // Neighbours in the region first, then successes at large.
    std::set<std::string> seen;
    for (const auto* traces : {&region_successes.back(), &successes}) {
      for (const v1::Trace& trace : *traces) {
        if (seen.insert(trace.trace_id()).second) {
          context.success_traces.push_back(&trace);
        }
      }
    }
    context.runs = runs_;
    context.discovery = discovery_;
    context.names = &input_.window->names();
    context.seed = base::Mix64(input_.config.seed() + 2) ^ input_.tick;
    context.records_per_tick = static_cast<double>(input_.watermark) /
                               static_cast<double>(input_.tick);
  }
  plan.interventions.assign(output_.state.interventions().begin(),
                            output_.state.interventions().end());
  plan.reviews = input_.reviews;
  plan.config = input_.config;
  plan.project = input_.project;
  plan.tick = input_.tick;
  plan.seed = base::Mix64(input_.config.seed() + 1) ^ input_.tick;
  plan.now = input_.now;
  plan.threads = input_.threads;
  const std::vector<v1::Intervention> planned = intervene::Plan(plan);
  output_.state.clear_interventions();
  size_t active = 0;
  for (const v1::Intervention& intervention : planned) {
    *output_.state.add_interventions() = intervention;
    active += intervene::IsActive(intervention.status()) ? 1 : 0;
  }
  return absl::StrFormat("%d interventions, %d active", planned.size(), active);
}

// What is counted of an intervention must not move with later clusters, so it
// is fixed in the tick that starts it.
absl::StatusOr<std::string> Workspace::FreezeTrials() {
  const diagnose::Window window{runs_, discovery_, &input_.window->names()};
  size_t started = 0;
  for (v1::Intervention& intervention :
       *output_.state.mutable_interventions()) {
    if (!intervene::IsActive(intervention.status())) {
      trials_.erase(intervention.intervention_id());
      continue;
    }
    const bool measured = trials_.count(intervention.intervention_id()) > 0;
    const evaluate::Experiment experiment{
        &intervention, &trials_[intervention.intervention_id()]};
    const bool moved = intervention.history_size() > 0 &&
                       intervention.history().rbegin()->tick() == input_.tick;
    if (!measured ||
        (moved && intervention.status() == v1::Intervention::STATUS_TRIAL)) {
      ++started;
      diagnose::RunSet members(runs_.size());
      for (const Candidate& candidate : candidates_) {
        if (candidate.value.name() != intervention.cluster()) continue;
        for (const int32_t row : candidate.members) members.Add(row);
      }
      evaluate::StartTrial(window, members, RunsToCount(), experiment);
    } else if (moved) {
      evaluate::StartWindow(input_.tick, experiment);
    }
    evaluate::NotePublished(experiment);
  }
  for (auto& [id, trial] : trials_) {
    *output_.state.add_trials() = std::move(trial);
  }
  return absl::StrFormat("%d started, %d measured", started,
                         output_.state.trials_size());
}

absl::StatusOr<std::string> Workspace::CompilePolicy() {
  std::vector<const v1::Intervention*> active;
  for (const v1::Intervention& intervention : output_.state.interventions()) {
    if (intervene::IsActive(intervention.status())) {
      active.push_back(&intervention);
    }
  }
  output_.policy =
      policy::CompilePolicy(active, *input_.previous_policy, input_.config,
                            input_.project, input_.tick, input_.now);
  return absl::StrFormat("version %d, %d rules", output_.policy.version(),
                         output_.policy.rules_size());
}

}  // namespace

bool OnDiscoverySide(absl::string_view trace_id, double discovery_share) {
  return base::ToUnitInterval(base::Hash64(trace_id, 0x5eed)) < discovery_share;
}

absl::StatusOr<TickOutput> ComputeTick(const TickInput& input) {
  return Workspace(input).Compute();
}

std::string StateDigest(const v1::TickState& state) {
  v1::TickState canonical = state;
  canonical.mutable_tick()->clear_digest();
  canonical.mutable_tick()->clear_stages();
  return base::MessageDigest(canonical);
}

}  // namespace faultline::slowloop
