#include "lib/slowloop/identity.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/base/ulid.h"

namespace faultline::slowloop {
namespace {

using cluster::LabelledPoints;
using cluster::Mode;
using cluster::Overlap;
using cluster::OverlapTable;
using embedding::Run;
using v1::ClusterReview;
using v1::LineageEvent;

// Members by which a cluster is known again (METHODS 2.4), and those of all
// clusters: beyond it, those that were not found for longest are forgotten.
constexpr size_t kMaxExemplars = 200;
constexpr size_t kMaxAllExemplars = 10000;
// Failures of no cluster that take part in a vote.
constexpr size_t kMaxNoise = 1000;
// Ticks after which an unseen cluster retires (METHODS 2.4).
constexpr uint64_t kDormantTicks = 5;
// Share of a mode from which on a side of it is cut off that a reviewer set
// apart, and the fewest failures that are: as many as a vote needs.
constexpr double kLeastSide = 0.1;
constexpr size_t kLeastPart = 5;
constexpr uint64_t kSampleSalt = 0x1de;
// Runs that one task embeds.
constexpr size_t kEmbedBlock = 256;

constexpr std::array<v1::View, 2> kViews = {v1::VIEW_BEHAVIOR,
                                            v1::VIEW_TRAJECTORY};

bool FoundIn(v1::View view, const std::vector<v1::View>& views) {
  return std::find(views.begin(), views.end(), view) != views.end();
}

// The `limit` items whose runs come first by a hash of their ids: the same ones
// wherever they are held.
template <typename T, typename RunOf>
void TakeSample(size_t limit, const RunOf& run_of, std::vector<T>* items) {
  if (items->size() <= limit) return;
  std::vector<std::pair<uint64_t, T>> ranked;
  ranked.reserve(items->size());
  for (const T& item : *items) {
    ranked.emplace_back(base::Hash64(run_of(item)->trace_id, kSampleSalt),
                        item);
  }
  std::sort(ranked.begin(), ranked.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first
               ? a.first < b.first
               : run_of(a.second)->trace_id < run_of(b.second)->trace_id;
  });
  items->clear();
  for (size_t i = 0; i < limit; ++i) items->push_back(ranked[i].second);
}

// A mode of this tick.
struct Found : Mode {
  explicit Found(Mode mode) : Mode(std::move(mode)) {}

  int32_t side = -1;  // known cluster that it was cut out for; -1: none
};

// A cluster of earlier ticks.
struct Old {
  v1::Cluster value;
  v1::ClusterMembers members;
  std::vector<v1::View> views;
};

class IdentityStage {
 public:
  IdentityStage(const IdentityInput& input, std::vector<Mode> modes)
      : input_(input),
        modes_(std::make_move_iterator(modes.begin()),
               std::make_move_iterator(modes.end())),
        decisions_(std::make_shared<ClusterDecisions>(*input.previous)),
        random_(base::Mix64(input.seed) ^ input.tick) {}

  absl::StatusOr<Identities> Identify();

 private:
  using Sequences = std::vector<uint64_t>;

  void Load();

  // Decisions since the previous tick.
  void ApplyReviews();
  // Returns why it cannot be applied; empty: it was.
  std::string Apply(ClusterReview* review);
  std::string MergeInto(const std::string& root, const std::string& other);
  std::string SplitOff(const std::string& root, const Sequences& part,
                       ClusterReview* review);
  Sequences SideOfSecond(const Old& old, uint64_t first, uint64_t second) const;
  std::string NewId() { return base::MakeUlid(input_.now, &random_); }

  // How what was found compares with what is known.
  void ListKnown();
  absl::StatusOr<OverlapTable> Compare() const;
  LabelledPoints PointsOfModes(v1::View view) const;

  // What reviewers decided holds of the modes; true where it changed them.
  bool CutApart(const OverlapTable& overlaps);
  std::vector<Found> Cut(const Found& mode,
                         const std::vector<size_t>& sides) const;
  bool JoinWhole(const OverlapTable& overlaps);
  void SortModes();

  void Track(const OverlapTable& overlaps);
  void TakeIn(size_t known, size_t group, const Overlap& overlap);
  void KeepExemplars();
  void KeepUnseen();
  void Forget();

  const Run* Held(uint64_t sequence) const {
    const Run* run = input_.window->Find(sequence);
    return run != nullptr && run->failed() ? run : nullptr;
  }
  Sequences SampleOf(std::vector<const Run*> runs, size_t limit) const;
  std::vector<const Run*> HeldRuns(const Sequences& sequences) const;
  std::vector<std::string> UnitsOf(const std::string& root) const;
  // Whether a reviewer said what is part of it.
  bool IsDecided(const std::string& id) const {
    return set_apart_.count(id) > 0 || decisions_->IsWhole(id);
  }
  // Of all its units.
  std::vector<const Run*> ExemplarRuns(const std::string& root) const;
  // Of runs that the window may have left behind.
  std::vector<float> VectorsOf(v1::View view,
                               const std::vector<const Run*>& runs) const;
  absl::Span<const float> VectorOf(v1::View view, int32_t failure) const {
    const auto d = static_cast<size_t>(input_.embedder->dimension());
    return (view == v1::VIEW_TRAJECTORY ? input_.trajectory : input_.behavior)
        .subspan(static_cast<size_t>(input_.failure_rows[failure]) * d, d);
  }
  const Run* RunOf(int32_t failure) const {
    return input_.runs[input_.failure_rows[failure]];
  }
  LineageEvent& AddEvent(LineageEvent::Kind kind, const std::string& id,
                         const Overlap& overlap = {});

  const IdentityInput& input_;
  std::vector<Found> modes_;
  const std::shared_ptr<ClusterDecisions> decisions_;
  base::Random random_;
  Identities output_;

  // Row of each failure of the tick.
  absl::flat_hash_map<const Run*, size_t> row_of_;
  std::map<std::string, Old> old_;  // by id
  // By cluster, or alias of one that a reviewer merged: a unit.
  std::map<std::string, Sequences> exemplars_;

  // What the modes are compared with.
  std::vector<cluster::KnownCluster> known_;
  std::vector<std::vector<bool>> apart_;
  std::set<std::string> set_apart_;                         // from any other
  std::array<LabelledPoints, kViews.size()> known_points_;  // by view
};

void IdentityStage::Load() {
  for (const int32_t row : input_.failure_rows) {
    row_of_[input_.runs[row]] = row;
  }
  for (const v1::Cluster& cluster : input_.previous->clusters()) {
    Old& old = old_[cluster.cluster_id()];
    old.value = cluster;
    for (const int view : cluster.views()) {
      old.views.push_back(static_cast<v1::View>(view));
    }
  }
  for (const v1::ClusterMembers& members : input_.previous->members()) {
    const auto old = old_.find(members.cluster_id());
    if (old != old_.end()) old->second.members = members;
  }
  for (const v1::ClusterExemplars& set : input_.previous->exemplars()) {
    Sequences held;
    std::copy_if(set.sequences().begin(), set.sequences().end(),
                 std::back_inserter(held),
                 [this](uint64_t sequence) { return Held(sequence); });
    if (!held.empty()) exemplars_[set.cluster_id()] = std::move(held);
  }
}

IdentityStage::Sequences IdentityStage::SampleOf(std::vector<const Run*> runs,
                                                 size_t limit) const {
  TakeSample(
      limit, [](const Run* run) { return run; }, &runs);
  Sequences sequences;
  sequences.reserve(runs.size());
  for (const Run* run : runs) sequences.push_back(run->sequence);
  std::sort(sequences.begin(), sequences.end());
  return sequences;
}

std::vector<const Run*> IdentityStage::HeldRuns(
    const Sequences& sequences) const {
  std::vector<const Run*> runs;
  for (const uint64_t sequence : sequences) {
    if (const Run* run = Held(sequence); run != nullptr) runs.push_back(run);
  }
  return runs;
}

std::vector<std::string> IdentityStage::UnitsOf(const std::string& root) const {
  std::vector<std::string> units;
  for (const auto& [unit, sequences] : exemplars_) {
    if (decisions_->Root(unit) == root) units.push_back(unit);
  }
  return units;
}

std::vector<const Run*> IdentityStage::ExemplarRuns(
    const std::string& root) const {
  std::vector<const Run*> runs;
  for (const std::string& unit : UnitsOf(root)) {
    const std::vector<const Run*> held = HeldRuns(exemplars_.at(unit));
    runs.insert(runs.end(), held.begin(), held.end());
  }
  return runs;
}

LineageEvent& IdentityStage::AddEvent(LineageEvent::Kind kind,
                                      const std::string& id,
                                      const Overlap& overlap) {
  LineageEvent& event = output_.events.emplace_back();
  event.set_kind(kind);
  event.set_cluster_id(id);
  event.set_tick(input_.tick);
  event.set_overlap(overlap.o);
  event.set_new_share(overlap.p);
  event.set_old_share(overlap.q);
  return event;
}

void IdentityStage::ApplyReviews() {
  for (ClusterReview review : input_.reviews) {
    if (decisions_->Has(review.request_id())) continue;
    review.set_tick(input_.tick);
    const size_t events = output_.events.size();
    review.set_problem(Apply(&review));
    review.clear_parts();
    LineageEvent& event =
        AddEvent(LineageEvent::KIND_REVIEWED, review.cluster_id());
    *event.mutable_review() = review;
    for (size_t e = events; e + 1 < output_.events.size(); ++e) {
      *output_.events[e].mutable_review() = review;
    }
    decisions_->Add(std::move(review));
  }
}

std::string IdentityStage::Apply(ClusterReview* review) {
  const std::string root = decisions_->Root(review->cluster_id());
  if (old_.count(root) == 0) return "the cluster is not known any more";
  const bool rejected = decisions_->Rejection(root) != nullptr;
  switch (review->decision()) {
    case ClusterReview::DECISION_LABEL:
      return "";
    case ClusterReview::DECISION_REJECT:
      return rejected ? "the cluster is rejected already" : "";
    case ClusterReview::DECISION_MERGE:
    case ClusterReview::DECISION_MUST_LINK: {
      std::string problem;
      for (const std::string& other : review->other_ids()) {
        if (problem.empty()) problem = MergeInto(root, other);
      }
      return problem;
    }
    case ClusterReview::DECISION_SPLIT: {
      if (rejected) return "the cluster is rejected";
      std::string problem;
      for (const ClusterReview::Part& part : review->parts()) {
        if (problem.empty()) {
          problem = SplitOff(
              root, {part.sequences().begin(), part.sequences().end()}, review);
        }
      }
      return problem;
    }
    case ClusterReview::DECISION_CANNOT_LINK: {
      if (rejected) return "the cluster is rejected";
      if (review->other_ids_size() != 1 || review->runs_size() != 2) {
        return "it does not name two runs";
      }
      if (decisions_->Root(review->other_ids(0)) != root) return "";
      return SplitOff(
          root, SideOfSecond(old_.at(root), review->runs(0), review->runs(1)),
          review);
    }
    default:
      return "the decision is not known";
  }
}

std::string IdentityStage::MergeInto(const std::string& root,
                                     const std::string& other) {
  const std::string joins = decisions_->Root(other);
  if (joins == root) return "";
  const auto from = old_.find(joins);
  if (from == old_.end()) return "another cluster is not known any more";
  if (decisions_->Rejection(root) || decisions_->Rejection(joins)) {
    return "one of the clusters is rejected";
  }
  Old& into = old_.at(root);
  std::map<uint64_t, float> strengths;
  const Old* const both[] = {&from->second, &into};
  for (const Old* old : both) {
    for (int i = 0; i < old->members.sequences_size(); ++i) {
      float& strength = strengths[old->members.sequences(i)];
      strength = std::max(strength, old->members.strengths(i));
    }
  }
  into.members.Clear();
  into.members.set_cluster_id(root);
  for (const auto& [sequence, strength] : strengths) {
    into.members.add_sequences(sequence);
    into.members.add_strengths(strength);
  }
  for (const v1::View view : from->second.views) {
    if (!FoundIn(view, into.views)) into.views.push_back(view);
  }
  into.value.set_size(strengths.size());
  into.value.set_birth_tick(
      std::min(into.value.birth_tick(), from->second.value.birth_tick()));
  into.value.set_last_seen_tick(std::max(into.value.last_seen_tick(),
                                         from->second.value.last_seen_tick()));
  decisions_->AddAlias(joins, root);
  LineageEvent& event = AddEvent(LineageEvent::KIND_MERGED, root);
  event.add_aliases(joins);
  event.set_size(strengths.size());
  old_.erase(from);
  return "";
}

// The members that are nearer to the second run, in the view in which the
// cluster was found first.
IdentityStage::Sequences IdentityStage::SideOfSecond(const Old& old,
                                                     uint64_t first,
                                                     uint64_t second) const {
  const Run* const seeds[] = {Held(first), Held(second)};
  if (!seeds[0] || !seeds[1] || old.views.empty()) return {};
  std::vector<const Run*> runs = {seeds[0], seeds[1]};
  for (const Run* member : HeldRuns(
           {old.members.sequences().begin(), old.members.sequences().end()})) {
    runs.push_back(member);
  }
  const std::vector<bool> on_second = cluster::DivideBySeeds(
      VectorsOf(old.views.front(), runs), input_.embedder->dimension(), 0, 1);
  Sequences side;
  for (size_t i = 2; i < runs.size(); ++i) {
    const uint64_t sequence = runs[i]->sequence;
    if (sequence == first) continue;
    if (on_second[i] || sequence == second) side.push_back(sequence);
  }
  return side;
}

std::string IdentityStage::SplitOff(const std::string& root,
                                    const Sequences& part,
                                    ClusterReview* review) {
  Old& from = old_.at(root);
  const std::set<uint64_t> leaving(part.begin(), part.end());
  Old made;
  v1::ClusterMembers staying;
  staying.set_cluster_id(root);
  for (int i = 0; i < from.members.sequences_size(); ++i) {
    const uint64_t sequence = from.members.sequences(i);
    v1::ClusterMembers& side =
        leaving.count(sequence) > 0 ? made.members : staying;
    side.add_sequences(sequence);
    side.add_strengths(from.members.strengths(i));
  }
  const auto held = [this](const v1::ClusterMembers& members) {
    return HeldRuns({members.sequences().begin(), members.sequences().end()});
  };
  const std::vector<const Run*> gone = held(made.members);
  const std::vector<const Run*> left = held(staying);
  if (std::min(gone.size(), left.size()) < kLeastPart) {
    return absl::StrCat("one side would have fewer than ", kLeastPart, " runs");
  }
  const std::string id = NewId();
  made.views = from.views;
  made.members.set_cluster_id(id);
  made.value.set_name(
      absl::StrCat("projects/", input_.project, "/clusters/", id));
  made.value.set_cluster_id(id);
  made.value.set_status(v1::Cluster::STATUS_HYPOTHESIS);
  made.value.set_status_reason(absl::StrCat("a reviewer split it from ", root));
  for (const v1::View view : made.views) made.value.add_views(view);
  made.value.set_size(gone.size());
  made.value.set_birth_tick(input_.tick);
  made.value.set_last_seen_tick(from.value.last_seen_tick());
  made.value.add_parents(root);
  from.members = std::move(staying);
  from.value.set_size(left.size());

  const std::vector<std::string> units = UnitsOf(root);
  for (const std::string& unit : units) {
    Sequences& set = exemplars_[unit];
    set.erase(
        std::remove_if(set.begin(), set.end(),
                       [&](uint64_t run) { return leaving.count(run) > 0; }),
        set.end());
    if (set.empty()) exemplars_.erase(unit);
  }
  if (units.size() <= 1) exemplars_[root] = SampleOf(left, kMaxExemplars);
  exemplars_[id] = SampleOf(gone, kMaxExemplars);

  review->add_new_ids(id);
  AddEvent(LineageEvent::KIND_SPLIT, root).add_children(id);
  LineageEvent& born = AddEvent(LineageEvent::KIND_BORN, id);
  born.add_parents(root);
  born.set_size(gone.size());
  old_[id] = std::move(made);
  return "";
}

std::vector<float> IdentityStage::VectorsOf(
    v1::View view, const std::vector<const Run*>& runs) const {
  const bool trajectory = view == v1::VIEW_TRAJECTORY;
  const auto d = static_cast<size_t>(input_.embedder->dimension());
  std::vector<float> vectors(runs.size() * d);
  const size_t blocks = (runs.size() + kEmbedBlock - 1) / kEmbedBlock;
  base::ParallelFor(blocks, input_.threads, [&](size_t block) {
    const size_t end = std::min(runs.size(), (block + 1) * kEmbedBlock);
    for (size_t i = block * kEmbedBlock; i < end; ++i) {
      const auto out = absl::MakeSpan(vectors).subspan(i * d, d);
      if (const auto row = row_of_.find(runs[i]); row != row_of_.end()) {
        const auto known = (trajectory ? input_.trajectory : input_.behavior)
                               .subspan(row->second * d, d);
        std::copy(known.begin(), known.end(), out.begin());
      } else {
        input_.embedder->Embed(*runs[i],
                               trajectory ? embedding::Map::kTrajectory
                                          : embedding::Map::kBehavior,
                               nullptr, out);
      }
    }
  });
  return vectors;
}

void IdentityStage::ListKnown() {
  const auto pairs = decisions_->ApartPairs();
  for (const auto& [a, b] : pairs) set_apart_.insert(a);
  std::map<std::string, size_t> place;
  std::array<std::vector<const Run*>, kViews.size()> runs;
  for (const auto& [id, old] : old_) {
    const auto k = static_cast<int32_t>(known_.size());
    place[id] = known_.size();
    cluster::KnownCluster& known = known_.emplace_back();
    known.id = id;
    known.birth_tick = old.value.birth_tick();
    known.size = old.value.size();
    known.may_merge = old.value.status() != v1::Cluster::STATUS_RETIRED &&
                      decisions_->Rejection(id) == nullptr;
    // What a reviewer decided holds in both views.
    const bool decided = IsDecided(id);
    for (const Run* run : ExemplarRuns(id)) {
      for (size_t v = 0; v < kViews.size(); ++v) {
        if (!decided && !FoundIn(kViews[v], old.views)) continue;
        runs[v].push_back(run);
        known_points_[v].label.push_back(k);
      }
    }
  }
  for (size_t v = 0; v < kViews.size(); ++v) {
    known_points_[v].vectors = VectorsOf(kViews[v], runs[v]);
  }
  apart_.assign(known_.size(), std::vector<bool>(known_.size()));
  for (const auto& [a, b] : pairs) {
    const auto first = place.find(a);
    const auto second = place.find(b);
    if (first != place.end() && second != place.end()) {
      apart_[first->second][second->second] = true;
    }
  }
}

// A sample of each mode that the view found, and of what it found in none.
LabelledPoints IdentityStage::PointsOfModes(v1::View view) const {
  LabelledPoints points;
  const auto add = [&](std::vector<int32_t> failures, size_t limit,
                       int32_t label) {
    TakeSample(
        limit, [this](int32_t failure) { return RunOf(failure); }, &failures);
    for (const int32_t failure : failures) {
      const auto vector = VectorOf(view, failure);
      points.vectors.insert(points.vectors.end(), vector.begin(), vector.end());
      points.label.push_back(label);
    }
  };
  std::vector<bool> in_mode(input_.failure_rows.size());
  for (size_t g = 0; g < modes_.size(); ++g) {
    if (!FoundIn(view, modes_[g].views)) continue;
    for (const int32_t failure : modes_[g].members) in_mode[failure] = true;
    add(modes_[g].members, kMaxExemplars, static_cast<int32_t>(g));
  }
  std::vector<int32_t> noise;
  for (size_t failure = 0; failure < in_mode.size(); ++failure) {
    if (!in_mode[failure]) noise.push_back(static_cast<int32_t>(failure));
  }
  add(std::move(noise), kMaxNoise, -1);
  return points;
}

absl::StatusOr<OverlapTable> IdentityStage::Compare() const {
  OverlapTable best(modes_.size(), known_.size());
  const auto take = [&](const OverlapTable& table) {
    for (size_t g = 0; g < modes_.size(); ++g) {
      for (size_t k = 0; k < known_.size(); ++k) {
        const Overlap& one = table.at(g, k);
        Overlap& most = best.at(g, k);
        if (std::tie(one.o, one.q) > std::tie(most.o, most.q)) most = one;
      }
    }
  };
  for (size_t v = 0; v < kViews.size(); ++v) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const OverlapTable voted,
        cluster::VoteOverlaps(known_points_[v], known_.size(),
                              PointsOfModes(kViews[v]), modes_.size(),
                              input_.embedder->dimension(), input_.threads));
    take(voted);
  }
  // Runs that both windows could have held: in today's, and up to the previous
  // watermark.
  uint64_t first = UINT64_MAX;
  std::vector<Sequences> groups;
  for (const int32_t row : input_.failure_rows) {
    first = std::min(first, input_.runs[row]->sequence);
  }
  for (const Mode& mode : modes_) {
    Sequences& group = groups.emplace_back();
    for (const int32_t failure : mode.members) {
      group.push_back(RunOf(failure)->sequence);
    }
    std::sort(group.begin(), group.end());
  }
  std::vector<Sequences> known;
  for (const cluster::KnownCluster& cluster : known_) {
    const auto& members = old_.at(cluster.id).members.sequences();
    known.emplace_back(members.begin(), members.end());
  }
  take(cluster::SharedOverlaps(known, groups, first,
                               input_.previous->tick().watermark()));
  return best;
}

// Each member goes to the side whose exemplars' mean is nearest, however few
// these are: by a vote, the larger side would take in the smaller one.
std::vector<Found> IdentityStage::Cut(const Found& mode,
                                      const std::vector<size_t>& sides) const {
  const v1::View view = mode.views.front();
  const auto d = static_cast<size_t>(input_.embedder->dimension());
  std::vector<std::vector<double>> mean(sides.size(), std::vector<double>(d));
  for (size_t side = 0; side < sides.size(); ++side) {
    const std::vector<float> vectors =
        VectorsOf(view, ExemplarRuns(known_[sides[side]].id));
    for (size_t i = 0; i < vectors.size(); ++i) mean[side][i % d] += vectors[i];
    const double count = static_cast<double>(vectors.size()) / d;
    for (double& x : mean[side]) x /= count;
  }
  std::vector<std::vector<int32_t>> parts(sides.size());
  for (const int32_t failure : mode.members) {
    const auto vector = VectorOf(view, failure);
    size_t nearest = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t side = 0; side < sides.size(); ++side) {
      double distance = 0;
      for (size_t j = 0; j < d; ++j) {
        distance += (vector[j] - mean[side][j]) * (vector[j] - mean[side][j]);
      }
      if (distance >= least) continue;
      nearest = side;
      least = distance;
    }
    parts[nearest].push_back(failure);
  }
  std::vector<Found> cut;
  for (size_t side = 0; side < sides.size(); ++side) {
    if (parts[side].size() < kLeastPart) continue;
    cut.emplace_back(cluster::TakePart(mode, parts[side], input_.failures));
    cut.back().side = static_cast<int32_t>(sides[side]);
  }
  if (cut.empty()) cut.push_back(mode);
  return cut;
}

bool IdentityStage::CutApart(const OverlapTable& overlaps) {
  std::vector<bool> found(known_.size());  // as a mode of its own
  for (size_t k = 0; k < known_.size(); ++k) {
    for (size_t g = 0; g < modes_.size(); ++g) {
      if (overlaps.at(g, k).o >= cluster::kLeastOverlap) found[k] = true;
    }
  }
  bool changed = false;
  std::vector<Found> modes;
  for (size_t g = 0; g < modes_.size(); ++g) {
    const auto holds = [&](size_t k) {
      return overlaps.at(g, k).p >= kLeastSide &&
             overlaps.at(g, k).q >= cluster::kLeastReturn;
    };
    std::vector<size_t> sides;
    for (size_t k = 0; k < known_.size(); ++k) {
      // A small side has few votes in a large mode: it is looked for where the
      // other one is.
      if (found[k] && !holds(k)) continue;
      for (size_t other = 0; other < known_.size(); ++other) {
        if (!apart_[k][other] || (found[other] && !holds(other))) continue;
        if (!holds(k) && !holds(other)) continue;
        sides.push_back(k);
        break;
      }
    }
    if (sides.empty()) {
      modes.push_back(std::move(modes_[g]));
      continue;
    }
    std::vector<Found> parts = Cut(modes_[g], sides);
    changed |= parts.front().members.size() < modes_[g].members.size();
    for (Found& part : parts) modes.push_back(std::move(part));
  }
  modes_ = std::move(modes);
  return changed;
}

bool IdentityStage::JoinWhole(const OverlapTable& overlaps) {
  std::vector<bool> gone(modes_.size());
  for (size_t k = 0; k < known_.size(); ++k) {
    if (!decisions_->IsWhole(known_[k].id)) continue;
    std::vector<size_t> parts;
    std::vector<const Mode*> joined;
    for (size_t g = 0; g < modes_.size(); ++g) {
      const Overlap& overlap = overlaps.at(g, k);
      if (!gone[g] && overlap.p >= cluster::kMostlyPart &&
          overlap.q >= cluster::kLeastReturn) {
        parts.push_back(g);
        joined.push_back(&modes_[g]);
      }
    }
    if (parts.size() < 2) continue;
    Mode whole = cluster::JoinModes(joined, input_.failures);
    for (const size_t g : parts) gone[g] = true;
    gone[parts.front()] = false;
    modes_[parts.front()] = Found(std::move(whole));
  }
  size_t kept = 0;
  for (size_t g = 0; g < gone.size(); ++g) {
    if (gone[g]) continue;
    if (kept != g) modes_[kept] = std::move(modes_[g]);
    ++kept;
  }
  const bool changed = kept < modes_.size();
  modes_.erase(modes_.begin() + static_cast<ptrdiff_t>(kept), modes_.end());
  return changed;
}

void IdentityStage::SortModes() {
  std::stable_sort(modes_.begin(), modes_.end(),
                   [](const Found& a, const Found& b) {
                     return a.members.size() != b.members.size()
                                ? a.members.size() > b.members.size()
                                : a.members[0] < b.members[0];
                   });
}

void IdentityStage::TakeIn(size_t known, size_t group, const Overlap& overlap) {
  const std::string id = known_[known].id;
  const std::string& root = output_.modes[group].id;
  if (!decisions_->IsWhole(id)) exemplars_.erase(id);
  decisions_->AddAlias(id, root);
  LineageEvent& event = AddEvent(LineageEvent::KIND_MERGED, root, overlap);
  event.add_aliases(id);
  event.set_size(output_.modes[group].mode.members.size());
  old_.erase(id);
}

void IdentityStage::Track(const OverlapTable& overlaps) {
  std::vector<size_t> sizes;
  sizes.reserve(modes_.size());
  for (const Mode& mode : modes_) sizes.push_back(mode.members.size());
  // What was cut out for a cluster is it, and none that is set apart from it.
  OverlapTable decided = overlaps;
  for (size_t g = 0; g < modes_.size(); ++g) {
    const int32_t side = modes_[g].side;
    if (side < 0) continue;
    for (size_t k = 0; k < known_.size(); ++k) {
      if (apart_[side][k]) decided.at(g, k) = {};
    }
    decided.at(g, side) = {1, 1, 1};
  }
  const cluster::Tracking tracking =
      cluster::TrackIdentity(known_, sizes, decided, apart_);

  std::map<int32_t, std::vector<std::string>> children;
  for (size_t g = 0; g < modes_.size(); ++g) {
    TrackedMode& tracked = output_.modes.emplace_back();
    tracked.mode = std::move(modes_[g]);
    const int32_t k = tracking.cluster[g];
    if (k >= 0) {
      const v1::Cluster& old = old_.at(known_[k].id).value;
      tracked.id = known_[k].id;
      tracked.overlap = overlaps.at(g, k);
      tracked.birth_tick = old.birth_tick();
      tracked.ticks_seen = old.ticks_seen() + 1;
      tracked.parents.assign(old.parents().begin(), old.parents().end());
      const bool lasted = old.last_seen_tick() + 1 == input_.tick;
      AddEvent(
          lasted ? LineageEvent::KIND_SURVIVED : LineageEvent::KIND_REVIVED,
          tracked.id, tracked.overlap)
          .set_size(sizes[g]);
      continue;
    }
    tracked.id = NewId();
    tracked.birth_tick = input_.tick;
    tracked.ticks_seen = 1;
    const int32_t parent = tracking.parent[g];
    LineageEvent& born =
        AddEvent(LineageEvent::KIND_BORN, tracked.id,
                 parent < 0 ? Overlap() : overlaps.at(g, parent));
    born.set_size(sizes[g]);
    if (parent < 0) continue;
    tracked.parents = {known_[parent].id};
    born.add_parents(known_[parent].id);
    children[parent].push_back(tracked.id);
  }
  for (const auto& [parent, ids] : children) {
    LineageEvent& split = AddEvent(LineageEvent::KIND_SPLIT, known_[parent].id);
    for (const std::string& id : ids) split.add_children(id);
  }
  for (size_t k = 0; k < known_.size(); ++k) {
    const int32_t g = tracking.merged_in[k];
    if (g >= 0) TakeIn(k, g, overlaps.at(g, k));
  }
}

void IdentityStage::KeepExemplars() {
  for (const TrackedMode& tracked : output_.modes) {
    // What a reviewer decided about stays what was looked at then: a cluster
    // that takes in what is near to it would take in more with every tick.
    if (IsDecided(tracked.id) &&
        ExemplarRuns(tracked.id).size() >= kLeastPart) {
      continue;
    }
    std::vector<const Run*> members;
    members.reserve(tracked.mode.members.size());
    for (const int32_t failure : tracked.mode.members) {
      members.push_back(RunOf(failure));
    }
    // Those that are shown to people are among them, so that it is known of
    // each whether it was deleted.
    std::set<uint64_t> shown = {RunOf(tracked.mode.group.medoid)->sequence};
    for (const int32_t failure : tracked.mode.group.exemplars) {
      shown.insert(RunOf(failure)->sequence);
    }
    for (const uint64_t sequence :
         SampleOf(std::move(members), kMaxExemplars - shown.size())) {
      shown.insert(sequence);
    }
    exemplars_[tracked.id] = {shown.begin(), shown.end()};
  }
}

void IdentityStage::KeepUnseen() {
  for (const TrackedMode& tracked : output_.modes) old_.erase(tracked.id);
  for (auto& [id, old] : old_) {
    std::set<std::string> held;
    for (const std::string& unit : UnitsOf(id)) {
      for (const Run* run : HeldRuns(exemplars_.at(unit))) {
        held.insert(run->trace_id);
      }
    }
    v1::Cluster& value = old.value;
    value.clear_boundary_exemplars();
    if (held.count(value.medoid()) == 0) value.clear_medoid();
    auto* shown = value.mutable_exemplars();
    shown->erase(std::remove_if(shown->begin(), shown->end(),
                                [&](const std::string& trace_id) {
                                  return held.count(trace_id) == 0;
                                }),
                 shown->end());
    const uint64_t unseen = input_.tick - value.last_seen_tick();
    if (unseen == 1) AddEvent(LineageEvent::KIND_DORMANT, id);
    if (unseen == kDormantTicks + 1) AddEvent(LineageEvent::KIND_DEAD, id);
    if (unseen <= kDormantTicks) {
      output_.unseen_members.push_back(std::move(old.members));
    } else if (value.status() != v1::Cluster::STATUS_RETIRED) {
      value.set_status(v1::Cluster::STATUS_RETIRED);
      value.set_status_reason(
          absl::StrCat("not found since tick ", value.last_seen_tick()));
    }
    output_.unseen.push_back(std::move(value));
  }
}

// Those that reviewers decided about go last.
void IdentityStage::Forget() {
  size_t total = 0;
  for (const auto& [unit, sequences] : exemplars_) total += sequences.size();
  std::vector<const v1::Cluster*> unseen;
  for (const v1::Cluster& cluster : output_.unseen) unseen.push_back(&cluster);
  std::stable_sort(unseen.begin(), unseen.end(),
                   [this](const v1::Cluster* a, const v1::Cluster* b) {
                     const auto rank = [this](const v1::Cluster& cluster) {
                       return std::make_pair(
                           !decisions_->ReviewsOf(cluster.cluster_id()).empty(),
                           cluster.last_seen_tick());
                     };
                     return rank(*a) < rank(*b);
                   });
  for (const v1::Cluster* cluster : unseen) {
    if (total <= kMaxAllExemplars) return;
    for (const std::string& unit : UnitsOf(cluster->cluster_id())) {
      total -= exemplars_.at(unit).size();
      exemplars_.erase(unit);
    }
  }
}

absl::StatusOr<Identities> IdentityStage::Identify() {
  Load();
  ApplyReviews();
  ListKnown();
  FAULTLINE_ASSIGN_OR_RETURN(OverlapTable overlaps, Compare());
  const bool cut = CutApart(overlaps);
  if (cut) {
    FAULTLINE_ASSIGN_OR_RETURN(overlaps, Compare());
  }
  const bool joined = JoinWhole(overlaps);
  if (cut || joined) {
    SortModes();
    FAULTLINE_ASSIGN_OR_RETURN(overlaps, Compare());
  }
  Track(overlaps);
  KeepExemplars();
  KeepUnseen();
  Forget();
  for (const auto& [unit, sequences] : exemplars_) {
    v1::ClusterExemplars& set = output_.exemplars.emplace_back();
    set.set_cluster_id(unit);
    set.mutable_sequences()->Assign(sequences.begin(), sequences.end());
  }
  std::stable_sort(output_.events.begin(), output_.events.end(),
                   [](const LineageEvent& a, const LineageEvent& b) {
                     return a.cluster_id() < b.cluster_id();
                   });
  output_.decisions = decisions_;
  return std::move(output_);
}

}  // namespace

absl::StatusOr<Identities> IdentifyClusters(const IdentityInput& input,
                                            std::vector<Mode> modes) {
  return IdentityStage(input, std::move(modes)).Identify();
}

void ShowDecisions(const ClusterDecisions& decisions, v1::Cluster* cluster) {
  const std::string& id = cluster->cluster_id();
  if (std::string label = decisions.Label(id); !label.empty()) {
    cluster->set_title(std::move(label));
  }
  if (const ClusterReview* rejection = decisions.Rejection(id);
      rejection != nullptr) {
    cluster->set_status(v1::Cluster::STATUS_RETIRED);
    cluster->set_status_reason(absl::StrCat(
        rejection->reviewer(), " rejected it: ", rejection->reason()));
  }
  cluster->clear_aliases();
  for (std::string& alias : decisions.AliasesOf(id)) {
    cluster->add_aliases(std::move(alias));
  }
  cluster->clear_reviews();
  for (const ClusterReview* review : decisions.ReviewsOf(id)) {
    *cluster->add_reviews() = *review;
  }
}

absl::flat_hash_set<uint64_t> ExemplarsOf(const v1::TickState& state) {
  absl::flat_hash_set<uint64_t> sequences;
  for (const v1::ClusterExemplars& set : state.exemplars()) {
    sequences.insert(set.sequences().begin(), set.sequences().end());
  }
  return sequences;
}

}  // namespace faultline::slowloop
