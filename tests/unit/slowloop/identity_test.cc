#include "lib/slowloop/identity.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"

namespace faultline::slowloop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using v1::ClusterReview;
using v1::LineageEvent;

// Failed runs of several kinds, each with tools of its own. What a tick finds
// is up to the test: a mode is every failure of some kinds.
class Project {
 public:
  explicit Project(size_t window, int threads = 1)
      : threads_(threads), window_({window, window, window}) {
    embedder_ = *embedding::Embedder::Create({.dimension = 128}, {});
  }

  void AddRuns(const std::string& kind, int count) {
    for (int i = 0; i < count; ++i) {
      v1::LogRecord record;
      record.set_sequence(++sequence_);
      v1::Trace& trace = *record.mutable_trace();
      trace.set_trace_id(absl::StrCat(kind, "-", sequence_));
      trace.mutable_start_time()->set_seconds(1'800'000'000);
      trace.mutable_evaluation()->set_outcome(v1::OUTCOME_FAIL);
      const auto step = [&](const std::string& name) {
        v1::Step& tool = *trace.add_steps();
        tool.set_kind(v1::Step::KIND_TOOL);
        tool.set_name(name);
      };
      for (int s = 0; s < 3; ++s) step(absl::StrCat(kind, "-", s));
      step(random_.Bernoulli(.5) ? "search" : "fetch");
      step(random_.Bernoulli(.5) ? "read" : "write");
      window_.Apply(record);
    }
  }

  void Delete(const std::vector<uint64_t>& sequences) {
    v1::LogRecord record;
    record.set_sequence(++sequence_);
    record.mutable_deletion()->mutable_sequences()->Assign(sequences.begin(),
                                                           sequences.end());
    window_.Apply(record);
  }

  void Review(ClusterReview review) {
    review.set_sequence(++sequence_);
    review.set_reviewer("ann");
    review.set_reason("seen it");
    reviews_.push_back(std::move(review));
  }

  // A tick that finds a mode of each list of kinds. Returns their ids, largest
  // first.
  std::vector<std::string> Tick(
      const std::vector<std::vector<std::string>>& found,
      v1::View view = v1::VIEW_BEHAVIOR) {
    const std::vector<const embedding::Run*> runs = window_.KnownRuns();
    const auto d = static_cast<size_t>(embedder_->dimension());
    std::vector<float> behavior(runs.size() * d);
    std::vector<float> trajectory(runs.size() * d);
    std::vector<int32_t> rows(runs.size());
    std::vector<cluster::Mode> modes(found.size());
    for (size_t i = 0; i < runs.size(); ++i) {
      rows[i] = static_cast<int32_t>(i);
      embedder_->EmbedViews(*runs[i],
                            absl::MakeSpan(trajectory).subspan(i * d, d),
                            absl::MakeSpan(behavior).subspan(i * d, d));
      for (size_t m = 0; m < found.size(); ++m) {
        if (std::count(found[m].begin(), found[m].end(), KindOf(*runs[i]))) {
          modes[m].members.push_back(rows[i]);
          modes[m].strengths.push_back(1);
        }
      }
    }
    for (cluster::Mode& mode : modes) {
      mode.views = {view};
      mode.group.members = mode.members;
      mode.group.strengths = mode.strengths;
      mode.group.medoid = mode.members.front();
      mode.group.exemplars = {mode.members.front(), mode.members.back()};
    }
    const v1::TickState previous = state_;
    IdentityInput input;
    input.project = "p";
    input.tick = previous.tick().tick() + 1;
    input.now = absl::FromUnixSeconds(1'800'000'000);
    input.seed = 1;
    input.threads = threads_;
    input.previous = &previous;
    input.reviews = reviews_;
    input.window = &window_;
    input.embedder = embedder_.get();
    input.runs = runs;
    input.behavior = behavior;
    input.trajectory = trajectory;
    input.failure_rows = rows;
    input.failures = {embedder_->dimension(), behavior, trajectory};
    auto identities = IdentifyClusters(input, std::move(modes));
    EXPECT_OK(identities.status());
    reviews_.clear();
    return Store(input, *std::move(identities));
  }

  const v1::TickState& state() const { return state_; }
  const RunWindow& window() const { return window_; }

  const v1::Cluster& Get(const std::string& id) const {
    for (const v1::Cluster& cluster : state_.clusters()) {
      if (cluster.cluster_id() == id) return cluster;
    }
    ADD_FAILURE() << "no cluster " << id;
    return v1::Cluster::default_instance();
  }

  // Kinds of the members of a cluster, and how many they are.
  std::map<std::string, int> KindsOf(const std::string& id) const {
    std::map<std::string, int> kinds;
    for (const v1::ClusterMembers& members : state_.members()) {
      if (members.cluster_id() != id) continue;
      for (const uint64_t sequence : members.sequences()) {
        const embedding::Run* run = window_.Find(sequence);
        ++kinds[run == nullptr ? "gone" : KindOf(*run)];
      }
    }
    return kinds;
  }

  // Events of the last tick about a cluster.
  std::vector<LineageEvent::Kind> EventsOf(const std::string& id) const {
    std::vector<LineageEvent::Kind> kinds;
    for (const LineageEvent& event : state_.tick().lineage()) {
      if (event.cluster_id() == id) kinds.push_back(event.kind());
    }
    return kinds;
  }
  const LineageEvent& Event(LineageEvent::Kind kind) const {
    for (const LineageEvent& event : state_.tick().lineage()) {
      if (event.kind() == kind) return event;
    }
    ADD_FAILURE() << "no event " << LineageEvent::Kind_Name(kind);
    return LineageEvent::default_instance();
  }

 private:
  static std::string KindOf(const embedding::Run& run) {
    return run.trace_id.substr(0, run.trace_id.find('-'));
  }

  // What a tick keeps of it.
  std::vector<std::string> Store(const IdentityInput& input,
                                 Identities identities) {
    v1::TickState next;
    next.mutable_tick()->set_tick(input.tick);
    next.mutable_tick()->set_watermark(sequence_);
    std::vector<std::string> ids;
    for (const TrackedMode& tracked : identities.modes) {
      ids.push_back(tracked.id);
      v1::Cluster& value = *next.add_clusters();
      value.set_cluster_id(tracked.id);
      value.set_birth_tick(tracked.birth_tick);
      value.set_last_seen_tick(input.tick);
      value.set_ticks_seen(tracked.ticks_seen);
      value.set_size(tracked.mode.members.size());
      value.set_status(v1::Cluster::STATUS_STABLE);
      value.set_title("as diagnosed");
      for (const v1::View view : tracked.mode.views) value.add_views(view);
      for (const std::string& parent : tracked.parents) {
        value.add_parents(parent);
      }
      const auto id_of = [&](int32_t row) { return input.runs[row]->trace_id; };
      value.set_medoid(id_of(tracked.mode.group.medoid));
      for (const int32_t row : tracked.mode.group.exemplars) {
        value.add_exemplars(id_of(row));
      }
      ShowDecisions(*identities.decisions, &value);
      v1::ClusterMembers& members = *next.add_members();
      members.set_cluster_id(tracked.id);
      std::set<uint64_t> sequences;
      for (const int32_t row : tracked.mode.members) {
        sequences.insert(input.runs[row]->sequence);
      }
      for (const uint64_t sequence : sequences) {
        members.add_sequences(sequence);
        members.add_strengths(1);
      }
    }
    for (v1::Cluster& unseen : identities.unseen) {
      ShowDecisions(*identities.decisions, &unseen);
      *next.add_clusters() = unseen;
    }
    for (const auto& members : identities.unseen_members) {
      *next.add_members() = members;
    }
    for (const auto& set : identities.exemplars) *next.add_exemplars() = set;
    for (const auto& event : identities.events) {
      *next.mutable_tick()->add_lineage() = event;
    }
    identities.decisions->StoreTo(&next);
    state_ = next;
    window_.Pin(ExemplarsOf(state_));
    return ids;
  }

  const int threads_;
  base::Random random_{7};
  uint64_t sequence_ = 0;
  RunWindow window_;
  std::unique_ptr<const embedding::Embedder> embedder_;
  std::vector<ClusterReview> reviews_;
  v1::TickState state_;
};

ClusterReview Make(ClusterReview::Decision decision, const std::string& id) {
  ClusterReview review;
  review.set_decision(decision);
  review.set_cluster_id(id);
  return review;
}

// New runs only: 60 of the first kind, 40 of each other.
void MoveOn(Project* project, const std::vector<std::string>& kinds) {
  for (size_t k = 0; k < kinds.size(); ++k) {
    project->AddRuns(kinds[k], k == 0 ? 60 : 40);
  }
}

TEST(IdentityTest, IsKeptWithoutARunInCommon) {
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    Project project(100);
    MoveOn(&project, {"loop", "stale"});
    const auto before = project.Tick({{"loop"}, {"stale"}}, view);
    EXPECT_THAT(project.EventsOf(before[0]),
                ElementsAre(LineageEvent::KIND_BORN));
    for (int tick = 0; tick < 3; ++tick) {
      MoveOn(&project, {"loop", "stale"});
      EXPECT_EQ(project.Tick({{"loop"}, {"stale"}}, view), before);
    }
    EXPECT_EQ(project.Get(before[0]).ticks_seen(), 4);
    const LineageEvent& event = project.Event(LineageEvent::KIND_SURVIVED);
    EXPECT_GT(event.overlap(), .9);
    EXPECT_GT(event.new_share(), .9);
    EXPECT_GT(event.old_share(), .9);
  }
}

TEST(IdentityTest, WhatIsNewIsBornThoughSomethingOldIsNearest) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  MoveOn(&project, {"loop", "stale", "late"});
  const auto after = project.Tick({{"loop"}, {"late"}});
  EXPECT_EQ(after[0], before[0]);
  EXPECT_NE(after[1], before[1]);
  EXPECT_THAT(project.EventsOf(after[1]), ElementsAre(LineageEvent::KIND_BORN));
  EXPECT_THAT(project.EventsOf(before[1]),
              ElementsAre(LineageEvent::KIND_DORMANT));
}

TEST(IdentityTest, ADormantClusterDiesAndIsRevivedUnderItsId) {
  for (const int away : {3, 9}) {
    Project project(100);
    MoveOn(&project, {"loop", "stale"});
    const auto before = project.Tick({{"loop"}, {"stale"}});
    std::vector<LineageEvent::Kind> events;
    for (int tick = 0; tick < away; ++tick) {
      MoveOn(&project, {"loop", "other"});
      project.Tick({{"loop"}});
      for (const auto kind : project.EventsOf(before[1])) {
        events.push_back(kind);
      }
      EXPECT_EQ(project.Get(before[1]).status() == v1::Cluster::STATUS_RETIRED,
                tick >= 5)
          << tick;
    }
    if (away == 3) {
      EXPECT_THAT(events, ElementsAre(LineageEvent::KIND_DORMANT));
    } else {
      EXPECT_THAT(events, ElementsAre(LineageEvent::KIND_DORMANT,
                                      LineageEvent::KIND_DEAD));
    }
    MoveOn(&project, {"loop", "stale"});
    EXPECT_EQ(project.Tick({{"loop"}, {"stale"}}), before);
    EXPECT_THAT(project.EventsOf(before[1]),
                ElementsAre(LineageEvent::KIND_REVIVED));
  }
}

TEST(IdentityTest, ASplitNamesParentAndChild) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const std::string whole = project.Tick({{"loop", "stale"}})[0];
  MoveOn(&project, {"loop", "stale"});
  const auto parts = project.Tick({{"loop"}, {"stale"}});
  EXPECT_EQ(parts[0], whole) << "the largest part keeps the id";
  EXPECT_THAT(project.Get(parts[1]).parents(), ElementsAre(whole));
  EXPECT_THAT(project.Event(LineageEvent::KIND_SPLIT).children(),
              ElementsAre(parts[1]));
  EXPECT_THAT(project.Event(LineageEvent::KIND_BORN).parents(),
              ElementsAre(whole));
  EXPECT_GT(project.Event(LineageEvent::KIND_BORN).new_share(), .9);
}

TEST(IdentityTest, AMergedIdLeadsToTheOldestCluster) {
  Project project(100);
  MoveOn(&project, {"other", "stale"});
  const std::string oldest = project.Tick({{"stale"}})[0];
  MoveOn(&project, {"loop", "stale"});
  const std::string larger = project.Tick({{"loop"}, {"stale"}})[0];
  ASSERT_NE(larger, oldest);
  MoveOn(&project, {"loop", "stale"});
  EXPECT_THAT(project.Tick({{"loop", "stale"}}), ElementsAre(oldest));
  EXPECT_EQ(project.state().aliases().at(larger), oldest);
  EXPECT_THAT(project.Event(LineageEvent::KIND_MERGED).aliases(),
              ElementsAre(larger));
  EXPECT_THAT(project.Get(oldest).aliases(), ElementsAre(larger));
  EXPECT_THAT(project.state().clusters(), SizeIs(1));
}

TEST(IdentityTest, DeletedRunsAreExemplarsNoMore) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  MoveOn(&project, {"loop", "other"});
  project.Tick({{"loop"}});
  ASSERT_THAT(project.state().exemplars(), SizeIs(2));
  std::vector<uint64_t> of_stale;
  for (const v1::ClusterExemplars& set : project.state().exemplars()) {
    if (set.cluster_id() != before[1]) continue;
    of_stale.assign(set.sequences().begin(), set.sequences().end());
  }
  ASSERT_THAT(of_stale, SizeIs(40));
  ASSERT_THAT(project.Get(before[1]).exemplars(), SizeIs(2));
  project.Delete(of_stale);
  project.Tick({{"loop"}});
  EXPECT_THAT(project.state().exemplars(), SizeIs(1));
  EXPECT_THAT(project.Get(before[1]).exemplars(), IsEmpty());
  EXPECT_EQ(project.Get(before[1]).medoid(), "");
  MoveOn(&project, {"loop", "stale"});
  EXPECT_NE(project.Tick({{"loop"}, {"stale"}})[1], before[1])
      << "nothing is left by which it could be known again";
}

TEST(IdentityTest, ARejectedClusterStaysSoWhoeverFindsIt) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  project.Review(Make(ClusterReview::DECISION_REJECT, before[0]));
  for (int tick = 0; tick < 20; ++tick) {
    MoveOn(&project, {"loop", "stale"});
    ASSERT_EQ(project.Tick({{"loop"}, {"stale"}}), before);
    const v1::Cluster& rejected = project.Get(before[0]);
    EXPECT_EQ(rejected.status(), v1::Cluster::STATUS_RETIRED);
    EXPECT_EQ(rejected.status_reason(), "ann rejected it: seen it");
    ASSERT_THAT(rejected.reviews(), SizeIs(1));
    EXPECT_EQ(rejected.reviews(0).tick(), 2);
    EXPECT_EQ(project.Get(before[1]).status(), v1::Cluster::STATUS_STABLE);
  }
}

TEST(IdentityTest, ALabelIsTheTitle) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  ClusterReview label = Make(ClusterReview::DECISION_LABEL, before[0]);
  label.set_label("goes round in circles");
  project.Review(label);
  for (int tick = 0; tick < 2; ++tick) {
    MoveOn(&project, {"loop", "stale"});
    project.Tick({{"loop"}, {"stale"}});
    EXPECT_EQ(project.Get(before[0]).title(), "goes round in circles");
    EXPECT_EQ(project.Get(before[1]).title(), "as diagnosed");
  }
}

TEST(IdentityTest, MergedClustersStayMergedThoughTheyAreFoundApart) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  ClusterReview merge = Make(ClusterReview::DECISION_MERGE, before[1]);
  merge.add_other_ids(before[0]);
  project.Review(merge);
  for (int tick = 0; tick < 20; ++tick) {
    // In some ticks only one of them is found.
    const bool both = tick % 7 == 0;
    MoveOn(&project, {both ? "loop" : "other", "stale"});
    const auto ids =
        both ? project.Tick({{"loop"}, {"stale"}}) : project.Tick({{"stale"}});
    ASSERT_THAT(ids, ElementsAre(before[1])) << tick;
    EXPECT_EQ(project.state().aliases().at(before[0]), before[1]);
    EXPECT_THAT(project.KindsOf(before[1]), SizeIs(both ? 2 : 1));
  }
}

TEST(IdentityTest, ASplitClusterStaysSplitThoughItIsFoundWhole) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const std::string whole = project.Tick({{"loop", "stale"}})[0];
  ClusterReview split = Make(ClusterReview::DECISION_SPLIT, whole);
  ClusterReview::Part& part = *split.add_parts();
  for (const embedding::Run* run : project.window().KnownRuns()) {
    if (run->trace_id[0] == 's') part.add_sequences(run->sequence);
  }
  project.Review(split);
  std::string made;
  for (int tick = 0; tick < 20; ++tick) {
    // In some ticks there is only one part, in others they are found apart.
    const bool both = tick % 7 != 3;
    MoveOn(&project, {"loop", both ? "stale" : "other"});
    const auto ids = tick % 5 == 4 && both ? project.Tick({{"loop"}, {"stale"}})
                                           : project.Tick({{"loop", "stale"}});
    if (!both) {
      ASSERT_THAT(ids, ElementsAre(whole));
      continue;
    }
    ASSERT_THAT(ids, SizeIs(2)) << tick;
    EXPECT_EQ(ids[0], whole);
    if (tick == 0) made = ids[1];
    EXPECT_EQ(ids[1], made) << tick;
    EXPECT_THAT(project.KindsOf(made),
                ElementsAre(std::make_pair("stale", 40)));
    EXPECT_THAT(project.Get(made).parents(), ElementsAre(whole));
  }
  ASSERT_THAT(project.state().cluster_reviews(), SizeIs(1));
  EXPECT_THAT(project.state().cluster_reviews(0).new_ids(), ElementsAre(made));
}

TEST(IdentityTest, RunsThatMustNotBeLinkedHaveClustersOfTheirOwn) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});  // runs 1 to 60, 61 to 100
  const std::string whole = project.Tick({{"loop", "stale"}})[0];
  ClusterReview apart = Make(ClusterReview::DECISION_CANNOT_LINK, whole);
  apart.add_other_ids(whole);
  apart.add_runs(5);
  apart.add_runs(95);
  project.Review(apart);
  for (int tick = 0; tick < 5; ++tick) {
    MoveOn(&project, {"loop", "stale"});
    const auto ids = project.Tick({{"loop", "stale"}});
    ASSERT_THAT(ids, SizeIs(2));
    EXPECT_EQ(ids[0], whole);
    EXPECT_THAT(project.KindsOf(ids[1]),
                ElementsAre(std::make_pair("stale", 40)));
  }
}

TEST(IdentityTest, ClustersThatMustNotBeLinkedAreNotMerged) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  ClusterReview apart = Make(ClusterReview::DECISION_CANNOT_LINK, before[0]);
  apart.add_other_ids(before[1]);
  apart.add_runs(5);
  apart.add_runs(95);
  project.Review(apart);
  for (int tick = 0; tick < 3; ++tick) {
    MoveOn(&project, {"loop", "stale"});
    EXPECT_EQ(project.Tick({{"loop", "stale"}}), before);
  }
}

TEST(IdentityTest, RunsThatMustBeLinkedShareACluster) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  ClusterReview link = Make(ClusterReview::DECISION_MUST_LINK, before[0]);
  link.add_other_ids(before[1]);
  link.add_runs(5);
  link.add_runs(95);
  project.Review(link);
  for (int tick = 0; tick < 3; ++tick) {
    MoveOn(&project, {"loop", "stale"});
    EXPECT_THAT(project.Tick({{"loop"}, {"stale"}}), ElementsAre(before[0]));
  }
}

TEST(IdentityTest, ADecisionIsAppliedOnceAndSaysWhereItCouldNotBe) {
  Project project(100);
  MoveOn(&project, {"loop", "stale"});
  const auto before = project.Tick({{"loop"}, {"stale"}});
  ClusterReview label = Make(ClusterReview::DECISION_LABEL, before[0]);
  label.set_request_id("once");
  label.set_label("first");
  project.Review(label);
  label.set_label("second");
  project.Review(label);
  project.Review(Make(ClusterReview::DECISION_REJECT, "never seen"));
  ClusterReview merge = Make(ClusterReview::DECISION_MERGE, before[0]);
  merge.add_other_ids("never seen");
  project.Review(merge);
  project.Tick({{"loop"}, {"stale"}});
  project.Review(label);
  project.Tick({{"loop"}, {"stale"}});
  EXPECT_EQ(project.Get(before[0]).title(), "first");
  const auto& reviews = project.state().cluster_reviews();
  ASSERT_THAT(reviews, SizeIs(3));
  EXPECT_EQ(reviews[0].problem(), "");
  EXPECT_NE(reviews[1].problem(), "");
  EXPECT_NE(reviews[2].problem(), "");
}

TEST(IdentityTest, DoesNotDependOnThreads) {
  std::vector<std::string> states;
  for (const int threads : {1, 2}) {
    Project project(100, threads);
    for (int tick = 0; tick < 3; ++tick) {
      MoveOn(&project, {"loop", "stale", "late"});
      project.Tick({{"loop", "late"}, {"stale"}});
    }
    states.push_back(project.state().SerializeAsString());
  }
  EXPECT_EQ(states[0], states[1]);
}

}  // namespace
}  // namespace faultline::slowloop
