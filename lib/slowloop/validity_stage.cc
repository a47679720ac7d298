#include "lib/slowloop/validity_stage.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/enrichment.h"
#include "lib/cluster/validity.h"
#include "lib/slowloop/slice_table.h"
#include "lib/stats/contingency.h"
#include "lib/stats/evidence.h"
#include "lib/stats/information.h"

namespace faultline::slowloop {
namespace {

// Successes whose neighbourhood is looked up to delimit the regions.
constexpr size_t kMaxRegionSuccesses = 20000;
// Failures that the checks cluster again, held-out ones and successes.
constexpr size_t kSampleFailures = 1000;
// Of these, failures whose channels are shuffled: there are many shuffles.
constexpr size_t kShuffledFailures = 500;
constexpr size_t kSampleSuccesses = 4000;
// Shares of the runs between which a value is left out (METHODS 3.3).
constexpr double kLeastLeftOut = 0.05;
constexpr double kMostLeftOut = 0.95;
// Values of a variable that are left out in turn, the most frequent ones.
constexpr int kMostLeftOutValues = 4;
constexpr double kSliceBoundShare = 0.8;
// Agreement with a variable from which it is taken out (METHODS 1.4).
constexpr double kTooMuchAgreement = 0.25;
constexpr int kShuffles = 20;
// Of the communities of held-out failures: without a consensus, finer ones part
// what is one mode.
constexpr double kCoarseResolution = 0.25;
constexpr char kModel[] = "system.model";

std::vector<int32_t> DrawRows(std::vector<int32_t> rows, size_t most,
                              uint64_t seed) {
  if (rows.size() <= most) return rows;
  base::Random random(seed);
  random.Shuffle(&rows);
  rows.resize(most);
  std::sort(rows.begin(), rows.end());
  return rows;
}

// Row of each run among some; -1: it is not one of them.
std::vector<int32_t> PlacesOf(const std::vector<int32_t>& rows, size_t runs) {
  std::vector<int32_t> place(runs, -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    place[rows[i]] = static_cast<int32_t>(i);
  }
  return place;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

std::vector<int32_t> LevelsOf(const SliceVariable& variable,
                              const std::vector<int32_t>& rows) {
  std::vector<int32_t> levels;
  levels.reserve(rows.size());
  for (const int32_t row : rows) levels.push_back(variable.level[row]);
  return levels;
}

// Everything about one tick; filled by one step after the other.
class Validation {
 public:
  Validation(const ValidityInput& input,
             absl::Span<const ValiditySubject> subjects)
      : input_(input),
        subjects_(subjects),
        seed_(base::Mix64(input.config->seed() ^ 0x7a11d)) {
    output_.findings.resize(subjects.size());
  }

  absl::StatusOr<ValidityOutput> Run();

 private:
  // Held-out runs in the view of a subject's region.
  struct Assignment {
    v1::View view;
    std::vector<int32_t> mode;     // of each held-out run, or -1
    std::vector<int32_t> stratum;  // of each held-out run
    int strata = 1;
  };

  // Failures of a view that the checks cluster again.
  struct Sample {
    std::vector<int32_t> rows;                 // of the runs, ascending
    std::vector<int32_t> mode;                 // of each, or -1: at the edge
    std::vector<std::vector<int32_t>> levels;  // by variable, of each row
  };

  const v1::Cluster* Before(size_t subject) const;
  const Matrix& MapOf(v1::View view) const {
    return view == v1::VIEW_TRAJECTORY ? *input_.trajectory : *input_.behavior;
  }
  bool Primary(size_t subject, v1::View view) const {
    return subjects_[subject].views.front() == view;
  }
  uint64_t SeedOf(v1::View view) const { return base::Mix64(seed_ + view); }
  v1::SliceCheck& SliceOf(size_t subject, size_t variable) {
    return *output_.findings[subject].validity.mutable_slices(
        static_cast<int>(variable));
  }
  absl::StatusOr<Assignment> TestRegions(v1::View view);
  void AddEvidence(const std::vector<Assignment>& assignments);
  // Everything else that is asked of the subjects of a view; `assignment` is
  // null where there are none. Nothing where the view has no modes.
  absl::StatusOr<std::optional<ViewFinding>> CheckView(
      v1::View view, const Assignment* assignment);
  void CheckSlices(const Assignment& assignment);
  void MeasureInformation(const Assignment& assignment);
  bool MustClusterAgain(v1::View view) const;
  Sample DrawSample(v1::View view) const;
  ViewFinding CompareWithSlices(v1::View view, const Sample& sample);
  absl::Status ClusterAgain(const Assignment& assignment, const Sample& sample,
                            ViewFinding* report);
  absl::Status LeaveSlicesOut(v1::View view, const Sample& sample,
                              const cluster::CheckSample& again);
  absl::Status TakeSlicesOut(v1::View view, const Sample& sample,
                             const cluster::CheckSample& again,
                             const std::string& name);
  absl::Status ShuffleChannels(v1::View view, const Sample& sample,
                               const cluster::CheckSample& again);
  absl::Status PredictHeldOut(const Assignment& assignment);
  void KeepFigures(v1::View view);
  void DecideStatus(size_t subject);
  void SummarizeSlices(size_t subject);

  const ValidityInput& input_;
  const absl::Span<const ValiditySubject> subjects_;
  const uint64_t seed_;
  int threads_ = 1;  // of what is done view by view
  ValidityOutput output_;

  absl::flat_hash_map<std::string, const v1::Cluster*> before_;
  std::vector<int32_t> discovery_rows_, held_out_rows_, success_rows_;
  std::vector<bool> held_out_failed_;
  std::vector<SliceVariable> variables_;
};

const v1::Cluster* Validation::Before(size_t subject) const {
  const auto found = before_.find(subjects_[subject].cluster_id);
  return found != before_.end() && found->second->has_validity() ? found->second
                                                                 : nullptr;
}

absl::StatusOr<ValidityOutput> Validation::Run() {
  output_.clusters_tested = input_.previous->clusters_tested();
  output_.clusters_confirmed = input_.previous->clusters_confirmed();
  output_.first_test_watermark = input_.previous->first_test_watermark();
  if (subjects_.empty()) return std::move(output_);
  for (const v1::Cluster& cluster : input_.previous->clusters()) {
    before_[cluster.cluster_id()] = &cluster;
  }
  for (size_t i = 0; i < input_.runs.size(); ++i) {
    const auto row = static_cast<int32_t>(i);
    const bool failed = input_.runs[i]->failed();
    if (!(*input_.discovery)[i]) {
      held_out_rows_.push_back(row);
      held_out_failed_.push_back(failed);
      continue;
    }
    discovery_rows_.push_back(row);
    if (!failed) success_rows_.push_back(row);
  }
  variables_ =
      ListSlices(input_.runs, discovery_rows_, *input_.names, input_.threads);

  std::vector<v1::View> views;  // primary ones of some subject
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    bool any = false;
    for (size_t c = 0; c < subjects_.size(); ++c) any |= Primary(c, view);
    if (any) views.push_back(view);
  }
  // Each view on its own thread, where there are two: what is found of a
  // subject is found in its primary view.
  threads_ =
      views.size() > 1 ? std::max(1, input_.threads / 2) : input_.threads;
  std::vector<absl::StatusOr<Assignment>> tested(views.size());
  base::ParallelFor(views.size(), input_.threads,
                    [&](size_t v) { tested[v] = TestRegions(views[v]); });
  std::vector<Assignment> assignments;
  for (absl::StatusOr<Assignment>& assignment : tested) {
    FAULTLINE_RETURN_IF_ERROR(assignment.status());
    assignments.push_back(*std::move(assignment));
  }
  std::vector<double> p_values;
  p_values.reserve(output_.findings.size());
  for (const ValidityFinding& finding : output_.findings) {
    p_values.push_back(finding.enrichment.p_value());
  }
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(p_values);
  for (size_t c = 0; c < subjects_.size(); ++c) {
    output_.findings[c].enrichment.set_adjusted_p_value(adjusted[c]);
  }
  AddEvidence(assignments);
  std::vector<absl::StatusOr<std::optional<ViewFinding>>> found(2);
  base::ParallelFor(found.size(), input_.threads, [&](size_t v) {
    const v1::View view = v == 0 ? v1::VIEW_BEHAVIOR : v1::VIEW_TRAJECTORY;
    const auto assignment =
        std::find_if(assignments.begin(), assignments.end(),
                     [view](const Assignment& a) { return a.view == view; });
    found[v] = CheckView(
        view, assignment == assignments.end() ? nullptr : &*assignment);
  });
  for (absl::StatusOr<std::optional<ViewFinding>>& finding : found) {
    FAULTLINE_RETURN_IF_ERROR(finding.status());
    if (*finding) output_.views.push_back(**std::move(finding));
  }
  for (size_t c = 0; c < subjects_.size(); ++c) {
    SummarizeSlices(c);
    DecideStatus(c);
  }
  return std::move(output_);
}

absl::StatusOr<std::optional<ViewFinding>> Validation::CheckView(
    v1::View view, const Assignment* assignment) {
  if (assignment != nullptr) {
    CheckSlices(*assignment);
    MeasureInformation(*assignment);
  }
  const Sample sample = DrawSample(view);
  if (sample.rows.empty()) return std::nullopt;
  ViewFinding report = CompareWithSlices(view, sample);
  if (assignment != nullptr) {
    FAULTLINE_RETURN_IF_ERROR(ClusterAgain(*assignment, sample, &report));
  }
  return report;
}

absl::StatusOr<Validation::Assignment> Validation::TestRegions(v1::View view) {
  // In the trajectory view the model is part of what delimits a region, so it
  // must not be a stratum as well (METHODS 1.5).
  std::vector<absl::string_view> fields = {"task.type", "task.dataset"};
  if (view == v1::VIEW_BEHAVIOR) fields.emplace_back(kModel);
  const std::vector<uint64_t> cells =
      HashFields(input_.runs, *input_.names, fields);

  std::vector<int32_t> label;
  std::vector<uint64_t> discovery_cell, held_out_cell;
  std::vector<bool> discovery_failed;
  const std::vector<int32_t> place =
      PlacesOf(discovery_rows_, input_.runs.size());
  for (const int32_t row : discovery_rows_) {
    const bool failed = input_.runs[row]->failed();
    label.push_back(failed ? cluster::kOtherFailure : cluster::kSuccess);
    discovery_cell.push_back(cells[row]);
    discovery_failed.push_back(failed);
  }
  for (const int32_t row : held_out_rows_) held_out_cell.push_back(cells[row]);
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view)) continue;
    for (const int32_t row : subjects_[c].members) {
      label[place[row]] = static_cast<int32_t>(c);
    }
  }

  const cluster::Reference* const ready = view == v1::VIEW_TRAJECTORY
                                              ? input_.trajectory_reference
                                              : input_.behavior_reference;
  Matrix reference;
  if (ready == nullptr) reference = SelectRows(MapOf(view), discovery_rows_);
  const Matrix held_out = SelectRows(MapOf(view), held_out_rows_);
  // The same vote over the discovery successes delimits the regions.
  const std::vector<int32_t> successes =
      DrawRows(success_rows_, kMaxRegionSuccesses, input_.config->seed());
  const Matrix success_vectors = SelectRows(MapOf(view), successes);
  Assignment assignment;
  assignment.view = view;
  assignment.stratum = cluster::PrognosticStrata(
      discovery_cell, discovery_failed, held_out_cell, &assignment.strata);
  cluster::EnrichmentInput test;
  test.dimension = held_out.dimension;
  test.reference = reference.values;
  test.ready = ready;
  test.reference_label = std::move(label);
  test.modes = static_cast<int>(subjects_.size());
  test.held_out = held_out.values;
  test.held_out_failed = held_out_failed_;
  test.stratum = assignment.stratum;
  test.strata = assignment.strata;
  test.others = success_vectors.values;
  FAULTLINE_ASSIGN_OR_RETURN(cluster::EnrichmentResult result,
                             cluster::TestEnrichment(test, threads_));

  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view)) continue;
    output_.findings[c].enrichment = std::move(result.enrichment[c]);
  }
  for (size_t i = 0; i < held_out_rows_.size(); ++i) {
    if (result.assigned[i] >= 0 && held_out_failed_[i]) {
      output_.findings[result.assigned[i]].held_out_members.push_back(
          held_out_rows_[i]);
    }
  }
  for (size_t i = 0; i < successes.size(); ++i) {
    if (result.others_assigned[i] >= 0) {
      output_.findings[result.others_assigned[i]].region_successes.push_back(
          successes[i]);
    }
  }
  assignment.mode = std::move(result.assigned);
  return assignment;
}

// Tests the runs that became known since the last batch of each subject.
void Validation::AddEvidence(const std::vector<Assignment>& assignments) {
  const double alpha = input_.config->false_discovery_rate();
  size_t fresh = 0;
  for (const int32_t row : held_out_rows_) {
    fresh += input_.runs[row]->known_sequence >
                     input_.previous->first_test_watermark()
                 ? 1
                 : 0;
  }
  // What first tests may spend: as new clusters come up over and over on one
  // window, its runs are asked again and again, so each share of them pays for
  // its share of the rate once.
  const double first_level =
      held_out_rows_.empty() ? 0
                             : alpha * static_cast<double>(fresh) /
                                   static_cast<double>(held_out_rows_.size());

  std::vector<size_t> first;  // subjects that are tested for the first time
  std::vector<double> first_p;
  std::vector<bool> confirmed(subjects_.size());
  for (const Assignment& assignment : assignments) {
    // Batches by where they begin: few, for most subjects are tested together.
    absl::flat_hash_map<uint64_t, std::vector<v1::Enrichment>> batches;
    for (size_t c = 0; c < subjects_.size(); ++c) {
      if (!Primary(c, assignment.view)) continue;
      v1::SequentialEvidence& evidence =
          *output_.findings[c].validity.mutable_evidence();
      if (const v1::Cluster* before = Before(c)) {
        evidence = before->validity().evidence();
      }
      confirmed[c] = evidence.confirmed_tick() > 0;
      auto [batch, added] = batches.try_emplace(evidence.watermark());
      if (added) {
        std::vector<bool> counted;
        counted.reserve(held_out_rows_.size());
        for (const int32_t row : held_out_rows_) {
          counted.push_back(evidence.batches() == 0 ||
                            input_.runs[row]->known_sequence >
                                evidence.watermark());
        }
        batch->second = cluster::TestAssigned(
            assignment.mode, held_out_failed_, assignment.stratum,
            assignment.strata, static_cast<int>(subjects_.size()), counted);
      }
      const v1::Enrichment& test = batch->second[c];
      if (test.assigned() < cluster::kLeastConfirmingRuns) continue;
      if (evidence.batches() == 0) {
        first.push_back(c);
        first_p.push_back(test.p_value());
        evidence.set_rank(++output_.clusters_tested);
        evidence.set_level(stats::SpentLevel(alpha, evidence.rank(),
                                             output_.clusters_confirmed));
      }
      evidence.set_watermark(input_.watermark);
      evidence.set_batches(evidence.batches() + 1);
      evidence.set_runs(evidence.runs() + test.held_out_runs());
      evidence.set_assigned(evidence.assigned() + test.assigned());
      evidence.set_assigned_failed(evidence.assigned_failed() +
                                   test.assigned_failed());
      evidence.set_expected_failed(evidence.expected_failed() +
                                   test.expected_failed());
      evidence.set_batch_p_value(test.p_value());
      evidence.set_log_e_value(evidence.log_e_value() +
                               stats::LogEValue(test.p_value()));
      if (evidence.log_e_value() >= -std::log(evidence.level())) {
        confirmed[c] = true;
      }
    }
  }
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(first_p);
  for (size_t i = 0; i < first.size(); ++i) {
    const size_t c = first[i];
    v1::SequentialEvidence& evidence =
        *output_.findings[c].validity.mutable_evidence();
    evidence.set_first_adjusted_p_value(adjusted[i]);
    evidence.set_first_level(first_level);
    confirmed[c] = confirmed[c] || adjusted[i] <= first_level;
  }
  if (!first.empty()) output_.first_test_watermark = input_.watermark;
  for (size_t c = 0; c < subjects_.size(); ++c) {
    v1::SequentialEvidence& evidence =
        *output_.findings[c].validity.mutable_evidence();
    if (!confirmed[c] || evidence.confirmed_tick() > 0) continue;
    if (output_.findings[c].enrichment.odds_ratio() <
        input_.config->min_odds_ratio()) {
      continue;
    }
    evidence.set_confirmed_tick(input_.tick);
    ++output_.clusters_confirmed;
  }
}

// Shares of the slices, and the gate's test within them.
void Validation::CheckSlices(const Assignment& assignment) {
  const int modes = static_cast<int>(subjects_.size());
  std::vector<std::vector<cluster::Replication>> replications(
      variables_.size());
  std::vector<std::vector<std::vector<int64_t>>> counts(variables_.size());
  std::vector<std::vector<int64_t>> totals(variables_.size());
  base::ParallelFor(variables_.size(), threads_, [&](size_t v) {
    const SliceVariable& variable = variables_[v];
    if (variable.primary) {
      cluster::HeldOutRuns runs;
      runs.assigned = assignment.mode;
      runs.failed = &held_out_failed_;
      runs.stratum = assignment.stratum;
      runs.strata = assignment.strata;
      runs.modes = modes;
      replications[v] = cluster::ReplicateWithin(
          runs, LevelsOf(variable, held_out_rows_), variable.levels());
    }
    totals[v].resize(variable.levels());
    for (const int32_t row : input_.failure_rows) {
      if (variable.level[row] >= 0) ++totals[v][variable.level[row]];
    }
    counts[v].resize(modes);
    for (int c = 0; c < modes; ++c) {
      if (!Primary(c, assignment.view)) continue;
      counts[v][c].resize(variable.levels());
      for (const int32_t row : subjects_[c].members) {
        if (variable.level[row] >= 0) ++counts[v][c][variable.level[row]];
      }
    }
  });
  const auto failures = static_cast<double>(input_.failure_rows.size());
  for (int c = 0; c < modes; ++c) {
    if (!Primary(c, assignment.view)) continue;
    v1::Validity& validity = output_.findings[c].validity;
    const auto members = static_cast<double>(subjects_[c].members.size());
    for (size_t v = 0; v < variables_.size(); ++v) {
      v1::SliceCheck& slice = *validity.add_slices();
      slice.set_variable(variables_[v].name);
      slice.set_heterogeneity_p_value(1);
      const std::vector<int64_t>& count = counts[v][c];
      const auto largest = std::max_element(count.begin(), count.end());
      const auto level = static_cast<size_t>(largest - count.begin());
      if (*largest > 0) {
        slice.set_largest_value(variables_[v].values[level]);
        slice.set_largest_share(static_cast<double>(*largest) / members);
        slice.set_expected_share(static_cast<double>(totals[v][level]) /
                                 failures);
      }
      if (!variables_[v].primary) continue;
      const cluster::Replication& replication = replications[v][c];
      slice.set_values_tested(replication.tested);
      if (replication.tested == 0) continue;
      slice.set_replication(replication.share);
      slice.set_cochran_q(replication.q);
      slice.set_i_squared(replication.i_squared);
      slice.set_heterogeneity_p_value(replication.p_value);
    }
  }
}

// What being in the region of a subject tells of the failure and of the
// context.
void Validation::MeasureInformation(const Assignment& assignment) {
  std::vector<int32_t> failed;
  failed.reserve(held_out_failed_.size());
  for (const bool f : held_out_failed_) failed.push_back(f ? 1 : 0);
  std::vector<std::vector<int32_t>> levels;
  levels.reserve(variables_.size());
  for (const SliceVariable& variable : variables_) {
    levels.push_back(LevelsOf(variable, held_out_rows_));
  }
  base::ParallelFor(subjects_.size(), threads_, [&](size_t c) {
    if (!Primary(c, assignment.view)) return;
    v1::Validity& validity = output_.findings[c].validity;
    std::vector<int32_t> inside;
    inside.reserve(assignment.mode.size());
    for (const int32_t mode : assignment.mode) {
      inside.push_back(mode == static_cast<int32_t>(c) ? 1 : 0);
    }
    const auto bits = [&inside](absl::Span<const int32_t> of) {
      return stats::MutualInformationBits(stats::CrossTabulate(inside, of));
    };
    validity.set_failure_information_bits(bits(failed));
    for (size_t v = 0; v < variables_.size(); ++v) {
      const double told = bits(levels[v]);
      validity.mutable_slices(static_cast<int>(v))->set_information_bits(told);
      if (variables_[v].name == kModel) {
        validity.set_model_information_bits(told);
      }
    }
  });
}

bool Validation::MustClusterAgain(v1::View view) const {
  if (input_.embedder->epoch() != input_.previous->corpus().epoch()) {
    return true;
  }
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view)) continue;
    const v1::Cluster* before = Before(c);
    if (!before || before->views_size() == 0 ||
        before->views(0) != static_cast<int>(view)) {
      return true;
    }
  }
  return false;
}

// What the last tick's clustering again said of modes that are still here.
void Validation::KeepFigures(v1::View view) {
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view)) continue;
    const v1::Validity& old = Before(c)->validity();
    v1::Validity& now = output_.findings[c].validity;
    if (old.has_prediction_strength()) {
      now.set_prediction_strength(old.prediction_strength());
    }
    if (old.has_shuffle_null()) {
      *now.mutable_shuffle_null() = old.shuffle_null();
    }
    if (old.has_residual_agreement()) {
      now.set_residual_agreement(old.residual_agreement());
    }
    for (v1::SliceCheck& slice : *now.mutable_slices()) {
      for (const v1::SliceCheck& earlier : old.slices()) {
        if (earlier.variable() != slice.variable()) continue;
        slice.set_values_left_out(earlier.values_left_out());
        if (earlier.has_transfer()) slice.set_transfer(earlier.transfer());
      }
    }
  }
}

// Members and edges of the modes of a view; what no mode is near is left out,
// as the enrichment filter would.
Validation::Sample Validation::DrawSample(v1::View view) const {
  constexpr int32_t kFar = -2, kEdge = -1;
  std::vector<int32_t> mode_of(input_.runs.size(), kFar);
  for (size_t c = 0; c < subjects_.size(); ++c) {
    const auto& views = subjects_[c].views;
    if (std::find(views.begin(), views.end(), view) == views.end()) continue;
    for (const int32_t row : subjects_[c].members) {
      if (mode_of[row] < 0) mode_of[row] = static_cast<int32_t>(c);
    }
    for (const int32_t row : subjects_[c].boundary) {
      mode_of[row] = std::max(mode_of[row], kEdge);
    }
  }
  Sample sample;
  for (const int32_t row : input_.failure_rows) {
    if (mode_of[row] != kFar) sample.rows.push_back(row);
  }
  sample.rows = DrawRows(std::move(sample.rows), kSampleFailures, SeedOf(view));
  sample.mode.reserve(sample.rows.size());
  for (const int32_t row : sample.rows) sample.mode.push_back(mode_of[row]);
  sample.levels.reserve(variables_.size());
  for (const SliceVariable& variable : variables_) {
    sample.levels.push_back(LevelsOf(variable, sample.rows));
  }
  return sample;
}

// How far the clusters of a view, and each of them, reproduce a slice.
ViewFinding Validation::CompareWithSlices(v1::View view, const Sample& sample) {
  ViewFinding report;
  report.view = view;
  report.slice_agreements.resize(variables_.size());
  base::ParallelFor(variables_.size(), threads_, [&](size_t v) {
    v1::SliceAgreement& one = report.slice_agreements[v];
    one.set_variable(variables_[v].name);
    one.set_agreement(stats::AdjustedMutualInformation(
        stats::CrossTabulate(sample.mode, sample.levels[v])));
  });
  std::stable_sort(report.slice_agreements.begin(),
                   report.slice_agreements.end(),
                   [](const auto& a, const auto& b) {
                     return a.agreement() > b.agreement();
                   });
  if (view == v1::VIEW_BEHAVIOR && !report.slice_agreements.empty() &&
      report.slice_agreements[0].agreement() > kTooMuchAgreement) {
    report.residualized = report.slice_agreements[0].variable();
  }
  base::ParallelFor(subjects_.size(), threads_, [&](size_t c) {
    if (!Primary(c, view)) return;
    std::vector<int32_t> inside;
    inside.reserve(sample.mode.size());
    for (const int32_t mode : sample.mode) {
      inside.push_back(mode == static_cast<int32_t>(c) ? 1 : 0);
    }
    for (size_t v = 0; v < variables_.size(); ++v) {
      v1::SliceCheck& slice = SliceOf(c, v);
      const auto& values = variables_[v].values;
      const auto level =
          std::find(values.begin(), values.end(), slice.largest_value()) -
          values.begin();
      std::vector<int32_t> has;
      has.reserve(sample.rows.size());
      for (const int32_t l : sample.levels[v]) has.push_back(l == level);
      slice.set_agreement(
          stats::AdjustedMutualInformation(stats::CrossTabulate(inside, has)));
    }
  });
  return report;
}

absl::Status Validation::ClusterAgain(const Assignment& assignment,
                                      const Sample& sample,
                                      ViewFinding* report) {
  const v1::View view = assignment.view;
  if (MustClusterAgain(view)) {
    const Matrix vectors = input_.space->Vectors(view, sample.rows);
    const cluster::CheckSample again{vectors.dimension, vectors.values,
                                     sample.mode,
                                     static_cast<int>(subjects_.size())};
    FAULTLINE_RETURN_IF_ERROR(LeaveSlicesOut(view, sample, again));
    if (!report->residualized.empty()) {
      FAULTLINE_RETURN_IF_ERROR(
          TakeSlicesOut(view, sample, again, report->residualized));
    }
    FAULTLINE_RETURN_IF_ERROR(ShuffleChannels(view, sample, again));
    FAULTLINE_RETURN_IF_ERROR(PredictHeldOut(assignment));
  } else {
    KeepFigures(view);
  }
  for (size_t c = 0; c < subjects_.size(); ++c) {
    const v1::Validity& validity = output_.findings[c].validity;
    if (!Primary(c, view) || !validity.has_prediction_strength()) continue;
    const double strength = validity.prediction_strength();
    if (report->prediction_strength < 0 ||
        strength < report->prediction_strength) {
      report->prediction_strength = strength;
    }
  }
  return absl::OkStatus();
}

absl::Status Validation::LeaveSlicesOut(v1::View view, const Sample& sample,
                                        const cluster::CheckSample& again) {
  FAULTLINE_ASSIGN_OR_RETURN(
      const cluster::Rediscovery rediscovery,
      cluster::Rediscovery::Create(again, SeedOf(view), threads_));
  struct LeftOut {
    size_t variable;
    int32_t level;
    std::vector<double> found;
  };
  std::vector<LeftOut> left_out;
  for (size_t v = 0; v < variables_.size() && variables_[v].primary; ++v) {
    std::vector<double> share(variables_[v].levels());
    for (const int32_t level : sample.levels[v]) {
      if (level >= 0) share[level] += 1;
    }
    for (double& s : share) s /= static_cast<double>(sample.rows.size());
    std::vector<int32_t> order(share.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(
        order.begin(), order.end(),
        [&share](int32_t a, int32_t b) { return share[a] > share[b]; });
    int taken = 0;
    for (const int32_t level : order) {
      if (share[level] < kLeastLeftOut || share[level] > kMostLeftOut) continue;
      if (++taken > kMostLeftOutValues) break;
      left_out.push_back({v, level, {}});
    }
  }
  base::ParallelFor(left_out.size(), threads_, [&](size_t i) {
    LeftOut& one = left_out[i];
    std::vector<bool> kept;
    kept.reserve(sample.rows.size());
    for (const int32_t level : sample.levels[one.variable]) {
      kept.push_back(level != one.level);
    }
    one.found = rediscovery.FindAgain(kept);
  });
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view)) continue;
    std::vector<std::vector<double>> found(variables_.size());
    for (const LeftOut& one : left_out) {
      if (one.found[c] >= 0) found[one.variable].push_back(one.found[c]);
    }
    for (size_t v = 0; v < variables_.size(); ++v) {
      if (found[v].empty()) continue;
      SliceOf(c, v).set_values_left_out(found[v].size());
      SliceOf(c, v).set_transfer(Median(std::move(found[v])));
    }
  }
  return absl::OkStatus();
}

// Clusters again without what the successes of each slice have in common.
absl::Status Validation::TakeSlicesOut(v1::View view, const Sample& sample,
                                       const cluster::CheckSample& again,
                                       const std::string& name) {
  const auto variable =
      std::find_if(variables_.begin(), variables_.end(),
                   [&name](const SliceVariable& v) { return v.name == name; });
  const std::vector<int32_t> successes =
      DrawRows(success_rows_, kSampleSuccesses, SeedOf(view));
  const Matrix success_vectors = input_.space->Vectors(view, successes);
  const std::vector<float> rest = cluster::RemoveSliceMeans(
      again.vectors, LevelsOf(*variable, sample.rows), success_vectors.values,
      LevelsOf(*variable, successes), variable->levels(), again.dimension);
  FAULTLINE_ASSIGN_OR_RETURN(
      const cluster::Rediscovery residual,
      cluster::Rediscovery::Create(
          {again.dimension, rest, sample.mode, again.modes}, SeedOf(view),
          threads_));
  const std::vector<double> found = residual.FindAgain({});
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view) || found[c] < 0) continue;
    output_.findings[c].validity.set_residual_agreement(found[c]);
  }
  return absl::OkStatus();
}

absl::Status Validation::ShuffleChannels(v1::View view, const Sample& sample,
                                         const cluster::CheckSample& again) {
  std::vector<cluster::VectorBlock> blocks;
  for (const embedding::ColumnRange& range : input_.embedder->Blocks(
           view == v1::VIEW_TRAJECTORY ? embedding::Map::kTrajectory
                                       : embedding::Map::kFailure,
           {})) {
    blocks.push_back({range.begin, range.size});
  }
  std::vector<int32_t> part(sample.rows.size());
  std::iota(part.begin(), part.end(), 0);
  part = DrawRows(std::move(part), kShuffledFailures, SeedOf(view) + 1);
  std::vector<int32_t> mode, task_type;
  Matrix vectors{again.dimension, {}};
  for (const int32_t i : part) {
    const auto row = again.vectors.subspan(
        static_cast<size_t>(i) * again.dimension, again.dimension);
    vectors.values.insert(vectors.values.end(), row.begin(), row.end());
    mode.push_back(sample.mode[i]);
    task_type.push_back(-1);
    for (size_t v = 0; v < variables_.size(); ++v) {
      if (variables_[v].name == "task.type") {
        task_type.back() = sample.levels[v][i];
      }
    }
  }
  const cluster::CheckSample shown{again.dimension, vectors.values, mode,
                                   again.modes};
  FAULTLINE_ASSIGN_OR_RETURN(
      const cluster::Rediscovery rediscovery,
      cluster::Rediscovery::Create(shown, SeedOf(view), threads_));
  const std::vector<double> ties = rediscovery.TieWeights();
  FAULTLINE_ASSIGN_OR_RETURN(
      std::vector<double> shuffled,
      cluster::HeaviestShuffledTies(shown, blocks, task_type, kShuffles,
                                    SeedOf(view), threads_));
  std::sort(shuffled.begin(), shuffled.end());
  const auto count = static_cast<double>(shuffled.size());
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view) || ties[c] < 0) continue;
    const auto above = static_cast<double>(
        shuffled.end() -
        std::lower_bound(shuffled.begin(), shuffled.end(), ties[c]));
    v1::ShuffleNull& null =
        *output_.findings[c].validity.mutable_shuffle_null();
    null.set_replicates(shuffled.size());
    null.set_tie_weight(ties[c]);
    null.set_null_tie_weight(
        shuffled[static_cast<size_t>(std::ceil(0.95 * count)) - 1]);
    null.set_p_value((1 + above) / (1 + count));
    null.set_epoch(input_.embedder->epoch());
  }
  return absl::OkStatus();
}

// Clusters held-out failures on their own, to see whether they keep together
// what is assigned to one mode.
absl::Status Validation::PredictHeldOut(const Assignment& assignment) {
  const v1::View view = assignment.view;
  std::vector<int32_t> places;  // of the held-out failures
  for (size_t i = 0; i < held_out_rows_.size(); ++i) {
    if (held_out_failed_[i]) places.push_back(static_cast<int32_t>(i));
  }
  places = DrawRows(std::move(places), kSampleFailures, SeedOf(view));
  std::vector<int32_t> rows, assigned;
  rows.reserve(places.size());
  assigned.reserve(places.size());
  for (const int32_t place : places) {
    rows.push_back(held_out_rows_[place]);
    assigned.push_back(assignment.mode[place]);
  }
  const Matrix vectors = input_.space->Vectors(view, rows);
  const int modes = static_cast<int>(subjects_.size());
  FAULTLINE_ASSIGN_OR_RETURN(
      const cluster::Rediscovery own,
      cluster::Rediscovery::Create(
          {vectors.dimension, vectors.values, assigned, modes}, SeedOf(view),
          threads_));
  const std::vector<double> strength = cluster::PredictionStrengths(
      assigned, own.Communities({}, kCoarseResolution), modes);
  for (size_t c = 0; c < subjects_.size(); ++c) {
    if (!Primary(c, view) || strength[c] < 0) continue;
    output_.findings[c].validity.set_prediction_strength(strength[c]);
  }
  return absl::OkStatus();
}

void Validation::SummarizeSlices(size_t subject) {
  v1::Validity& validity = output_.findings[subject].validity;
  bool transferable = true;
  for (const v1::SliceCheck& slice : validity.slices()) {
    transferable &= cluster::HoldsAcross(slice);
    if (slice.largest_share() >= kSliceBoundShare &&
        slice.expected_share() < kSliceBoundShare) {
      validity.add_slice_bound(
          absl::StrCat(slice.variable(), " = ", slice.largest_value()));
    }
  }
  validity.set_transferable(transferable);
}

void Validation::DecideStatus(size_t subject) {
  ValidityFinding& finding = output_.findings[subject];
  cluster::Standing standing;
  standing.stability = subjects_[subject].stability;
  standing.enrichment = finding.enrichment;
  standing.validity = finding.validity;
  standing.min_odds_ratio = input_.config->min_odds_ratio();
  if (const v1::Cluster* before = Before(subject)) {
    standing.refused_before =
        before->status() == v1::Cluster::STATUS_ARTIFACT &&
        before->validity().evidence().batches() ==
            finding.validity.evidence().batches();
  }
  cluster::Verdict verdict = cluster::Judge(standing);
  finding.status = verdict.status;
  finding.reason = std::move(verdict.reason);
  for (std::string& concern : verdict.concerns) {
    finding.validity.add_concerns(std::move(concern));
  }
}

}  // namespace

absl::StatusOr<ValidityOutput> ValidateModes(
    const ValidityInput& input, absl::Span<const ValiditySubject> subjects) {
  return Validation(input, subjects).Run();
}

}  // namespace faultline::slowloop
