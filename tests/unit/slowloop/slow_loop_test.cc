#include "lib/slowloop/slow_loop.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/slowloop/tick.h"
#include "lib/store/memory_store.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"
#include "tests/support/status_matchers.h"

namespace faultline::slowloop {
namespace {

using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kProject[] = "p";

// Runs of two agents. Four in five runs of `weak` on tasks of region `north`
// call a tool with a bad argument and fail; every other run fails one time in
// ten for no visible reason.
v1::Trace MakeTrace(int i, base::Random* random) {
  const bool north = random->Bernoulli(0.4);
  const bool weak = random->Bernoulli(0.5);
  const bool planted = north && weak && random->Bernoulli(0.8);
  v1::Trace trace;
  trace.set_trace_id(absl::StrCat("run-", i));
  trace.mutable_start_time()->set_seconds(1'800'000'000 + i);
  trace.mutable_task()->set_type("lookup");
  (*trace.mutable_task()->mutable_labels())["region"] =
      north ? "north" : "south";
  // Few runs are copies of each other.
  trace.mutable_task()->set_input(
      absl::StrCat("find ", std::string(1 + i % 7, 'a'), " near ",
                   std::string(1 + i % 11, 'b')));
  trace.mutable_system()->set_model(weak ? "weak" : "strong");
  v1::Decision& route = *trace.add_decisions();
  route.set_kind(v1::Decision::KIND_ROUTE);
  route.add_candidates()->set_name("weak");
  route.add_candidates()->set_name("strong");
  route.set_chosen(weak ? "weak" : "strong");
  route.set_propensity(0.5);
  const int calls = 1 + static_cast<int>(random->Below(3));
  for (int c = 0; c < calls; ++c) {
    trace.add_steps()->set_kind(v1::Step::KIND_LLM);
    v1::Step& tool = *trace.add_steps();
    tool.set_kind(v1::Step::KIND_TOOL);
    tool.set_name(random->Bernoulli(0.5) ? "search" : "fetch");
    tool.set_status(v1::Step::STATUS_OK);
    tool.set_input("id-1");
  }
  if (planted) {
    v1::Step& tool = *trace.add_steps();
    tool.set_kind(v1::Step::KIND_TOOL);
    tool.set_name("search");
    tool.set_status(v1::Step::STATUS_ERROR);
    tool.set_error_type("bad_argument");
    tool.set_input("1");
  }
  trace.mutable_evaluation()->set_outcome(
      planted || random->Bernoulli(0.1) ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
  return trace;
}

// A log, a board and a loop over one store.
class Fixture {
 public:
  explicit Fixture(store::KeyValueStore* store, int threads = 2)
      : store_(store) {
    log_ = *trace::TraceLog::Create({}, store, &clock_);
    Open(threads);
  }

  void Open(int threads) {
    loop_.reset();
    board_ = *policy::PolicyBoard::Create(store_, &clock_);
    SlowLoop::Options options;
    options.embedder.dimension = 128;
    options.threads = threads;
    loop_ = *SlowLoop::Create(kProject, options,
                              {log_.get(), store_, board_.get(), &clock_});
  }

  void Append(int first, int last, uint64_t seed = 5) {
    base::Random random(seed);
    std::vector<v1::LogRecord> records;
    for (int i = 0; i < last; ++i) {
      v1::Trace trace = MakeTrace(i, &random);
      if (i < first) continue;
      *records.emplace_back().mutable_trace() = std::move(trace);
    }
    ASSERT_OK(log_->AppendAndWait(kProject, std::move(records)));
  }

  // The latest run first.
  void AppendBackwards(int count) {
    base::Random random(5);
    std::vector<v1::LogRecord> records(count);
    for (int i = 0; i < count; ++i) {
      *records[count - 1 - i].mutable_trace() = MakeTrace(i, &random);
    }
    ASSERT_OK(log_->AppendAndWait(kProject, std::move(records)));
  }

  void Append(v1::LogRecord record) {
    ASSERT_OK(log_->AppendAndWait(kProject, {std::move(record)}));
  }

  void Delete(std::vector<uint64_t> sequences) {
    ASSERT_OK(log_->Delete(kProject, std::move(sequences),
                           v1::DELETION_REASON_REQUESTED));
  }

  SlowLoop& loop() { return *loop_; }
  policy::PolicyBoard& board() { return *board_; }
  fakes::FakeClock& clock() { return clock_; }

 private:
  store::KeyValueStore* const store_;
  fakes::FakeClock clock_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<policy::PolicyBoard> board_;
  std::unique_ptr<SlowLoop> loop_;
};

TEST(SlowLoopTest, TickOverAnEmptyLogFindsNothing) {
  store::MemoryStore store;
  Fixture fixture(&store);
  ASSERT_OK_AND_ASSIGN(const v1::Tick tick, fixture.loop().RunOnce());
  EXPECT_EQ(tick.tick(), 1);
  EXPECT_EQ(tick.watermark(), 0);
  EXPECT_EQ(tick.clusters(), 0);
  EXPECT_THAT(fixture.board().Current(kProject)->policy().rules(), IsEmpty());
  EXPECT_THAT(tick.stages(), Not(IsEmpty()));
}

TEST(SlowLoopTest, PlantedModeIsFoundConfirmedAndKeepsItsIdentity) {
  store::MemoryStore store;
  Fixture fixture(&store);
  fixture.Append(0, 1500);
  ASSERT_OK_AND_ASSIGN(const v1::Tick first, fixture.loop().RunOnce());
  ASSERT_THAT(first.stable_clusters(), Ge(1));
  const auto stable = [&] {
    std::vector<std::string> ids;
    for (const auto& cluster : fixture.loop().Snapshot()->state.clusters()) {
      if (cluster.status() == v1::Cluster::STATUS_STABLE) {
        ids.push_back(cluster.cluster_id());
      }
    }
    return ids;
  };
  const std::vector<std::string> before = stable();
  fixture.clock().Advance(absl::Minutes(1));
  fixture.Append(1500, 2000);
  ASSERT_OK(fixture.loop().RunOnce());
  EXPECT_THAT(stable(), ::testing::IsSupersetOf(before));
}

TEST(SlowLoopTest, HeldOutRunsTestAClusterOnceOverItsTicks) {
  store::MemoryStore store;
  Fixture fixture(&store);
  fixture.Append(0, 1200);
  ASSERT_OK(fixture.loop().RunOnce());
  const auto stable = [&] {
    std::map<std::string, v1::Cluster> found;
    for (const auto& cluster : fixture.loop().Snapshot()->state.clusters()) {
      if (cluster.status() == v1::Cluster::STATUS_STABLE) {
        found[cluster.cluster_id()] = cluster;
      }
    }
    return found;
  };
  const auto first = stable();
  ASSERT_THAT(first, Not(IsEmpty()));
  const v1::TickState state = fixture.loop().Snapshot()->state;
  EXPECT_GE(state.clusters_tested(), first.size());
  EXPECT_GE(state.clusters_confirmed(), first.size());
  EXPECT_EQ(state.first_test_watermark(), 1200);
  EXPECT_THAT(state.tick().clustering(0).slice_agreements(), Not(IsEmpty()));

  fixture.clock().Advance(absl::Minutes(1));
  ASSERT_OK(fixture.loop().RunOnce());
  const auto same = stable();
  for (const auto& [id, cluster] : first) {
    ASSERT_TRUE(same.contains(id));
    EXPECT_EQ(same.at(id).validity().evidence().SerializeAsString(),
              cluster.validity().evidence().SerializeAsString());
  }

  fixture.clock().Advance(absl::Minutes(1));
  fixture.Append(1200, 2400);
  ASSERT_OK(fixture.loop().RunOnce());
  for (const auto& [id, cluster] : stable()) {
    if (!first.contains(id)) continue;
    const v1::SequentialEvidence& evidence = cluster.validity().evidence();
    EXPECT_EQ(evidence.batches(), 2);
    EXPECT_EQ(evidence.confirmed_tick(), 1);
    EXPECT_EQ(evidence.runs(), cluster.enrichment().held_out_runs());
  }
}

TEST(SlowLoopTest, ApprovedInterventionReachesThePolicy) {
  store::MemoryStore store;
  Fixture fixture(&store);
  fixture.Append(0, 2500);
  ASSERT_OK(fixture.loop().RunOnce());
  const auto proposed = fixture.loop().Snapshot()->state.interventions();
  ASSERT_THAT(proposed, Not(IsEmpty()));
  EXPECT_EQ(proposed[0].status(), v1::Intervention::STATUS_PROPOSED);
  const v1::Policy before = fixture.board().Current(kProject)->policy();
  EXPECT_THAT(before.rules(), IsEmpty());

  v1::LogRecord review;
  review.mutable_review()->set_intervention_id(proposed[0].intervention_id());
  review.mutable_review()->set_decision(
      v1::InterventionReview::DECISION_APPROVE);
  review.mutable_review()->set_reviewer("ada");
  fixture.Append(review);
  ASSERT_OK_AND_ASSIGN(const v1::Tick tick, fixture.loop().RunOnce());
  EXPECT_EQ(tick.trials(), 1);
  EXPECT_EQ(tick.policy_version(), before.version() + 1);
  const v1::Policy policy = fixture.board().Current(kProject)->policy();
  ASSERT_THAT(policy.rules(), SizeIs(1));
  EXPECT_EQ(policy.rules(0).intervention_id(), proposed[0].intervention_id());

  // The review acts once; an unchanged policy keeps its version.
  ASSERT_OK_AND_ASSIGN(const v1::Tick next, fixture.loop().RunOnce());
  EXPECT_EQ(next.policy_version(), policy.version());
}

TEST(SlowLoopTest, DigestDependsOnNeitherThreadsNorRestarts) {
  std::vector<std::vector<std::string>> digests;
  for (const bool restart : {false, true}) {
    store::MemoryStore store;
    Fixture fixture(&store, restart ? 1 : 2);
    std::vector<std::string>& run = digests.emplace_back();
    for (int tick = 0; tick < 3; ++tick) {
      fixture.Append(tick * 600, (tick + 1) * 600);
      if (restart) fixture.Open(1);
      ASSERT_OK_AND_ASSIGN(const v1::Tick done, fixture.loop().RunOnce());
      run.push_back(done.digest());
      fixture.clock().Advance(absl::Minutes(1));
    }
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST(SlowLoopTest, ClustersDoNotDependOnTheOrderOfTheLog) {
  // What is said of a cluster without its place in the log or its evidence.
  const auto describe = [](SlowLoop& loop) {
    std::vector<std::string> clusters;
    for (v1::Cluster cluster : loop.Snapshot()->state.clusters()) {
      cluster.clear_etag();
      clusters.push_back(cluster.SerializeAsString());
    }
    return clusters;
  };
  store::MemoryStore forwards_store, backwards_store;
  Fixture forwards(&forwards_store), backwards(&backwards_store);
  forwards.Append(0, 1500);
  backwards.AppendBackwards(1500);
  ASSERT_OK(forwards.loop().RunOnce());
  ASSERT_OK(backwards.loop().RunOnce());
  EXPECT_THAT(describe(forwards.loop()), Not(IsEmpty()));
  EXPECT_EQ(describe(forwards.loop()), describe(backwards.loop()));
}

TEST(SlowLoopTest, ClustersSayHowTheyWereFound) {
  for (const v1::ClusterEngine engine :
       {v1::CLUSTER_ENGINE_LEIDEN, v1::CLUSTER_ENGINE_HDBSCAN}) {
    store::MemoryStore store;
    Fixture fixture(&store);
    v1::LogRecord settings;
    settings.mutable_config()->set_cluster_engine(engine);
    fixture.Append(settings);
    fixture.Append(0, 1500);
    ASSERT_OK_AND_ASSIGN(const v1::Tick tick, fixture.loop().RunOnce());
    ASSERT_THAT(tick.clustering(), SizeIs(2));
    EXPECT_EQ(tick.clustering(0).view(), v1::VIEW_BEHAVIOR);
    EXPECT_EQ(tick.clustering(1).view(), v1::VIEW_TRAJECTORY);
    for (const v1::ViewClustering& view : tick.clustering()) {
      EXPECT_EQ(view.engine(), engine);
      EXPECT_GT(view.failures(), view.noise());
      EXPECT_LE(view.filtered() + view.boundary(), view.noise());
      EXPECT_THAT(view.groups(), Ge(1));
    }
    const v1::TickState& state = fixture.loop().Snapshot()->state;
    ASSERT_THAT(state.clusters(), Not(IsEmpty()));
    bool any_stability = false;
    for (const v1::Cluster& cluster : state.clusters()) {
      any_stability |= cluster.has_stability() && cluster.stability() > .5;
      EXPECT_EQ(cluster.view_overlap() > .5, cluster.views().size() == 2);
    }
    EXPECT_TRUE(any_stability);
    for (const v1::ClusterMembers& members : state.members()) {
      EXPECT_THAT(members.sub_modes().size(),
                  ::testing::AnyOf(0, members.sequences().size()));
    }
  }
}

TEST(SlowLoopTest, FailedWriteLeavesTheLastTickInForce) {
  store::MemoryStore memory;
  fakes::FaultStore store(&memory);
  Fixture fixture(&store);
  fixture.Append(0, 600);
  ASSERT_OK_AND_ASSIGN(const v1::Tick first, fixture.loop().RunOnce());
  fixture.Append(600, 800);
  store.FailWrites(0, 1, fakes::FaultStore::Fault::kBeforeApplying);
  EXPECT_THAT(fixture.loop().RunOnce(), Not(testing::IsOk()));
  EXPECT_EQ(fixture.loop().Snapshot()->state.tick().tick(), first.tick());
  ASSERT_OK_AND_ASSIGN(const v1::Tick second, fixture.loop().RunOnce());
  EXPECT_EQ(second.tick(), first.tick() + 1);
  EXPECT_EQ(second.watermark(), 800);
}

TEST(SlowLoopTest, RecordedSettingsApplyFromTheNextTick) {
  store::MemoryStore store;
  Fixture fixture(&store);
  fixture.Append(0, 1500);
  v1::LogRecord config;
  config.mutable_config()->set_max_failures(100);
  config.mutable_config()->set_max_successes(100);
  fixture.Append(config);
  ASSERT_OK_AND_ASSIGN(const v1::Tick tick, fixture.loop().RunOnce());
  EXPECT_EQ(tick.runs(), 200);
  EXPECT_EQ(fixture.loop().Snapshot()->state.config().max_failures(), 100);
}

// Three ticks with a review and settings between them.
void RunThreeTicks(Fixture* fixture) {
  fixture->Append(0, 2500);
  ASSERT_OK(fixture->loop().RunOnce());
  const auto proposed = fixture->loop().Snapshot()->state.interventions();
  ASSERT_THAT(proposed, Not(IsEmpty()));
  v1::LogRecord review;
  review.mutable_review()->set_intervention_id(proposed[0].intervention_id());
  review.mutable_review()->set_decision(
      v1::InterventionReview::DECISION_APPROVE);
  review.mutable_review()->set_reviewer("ada");
  fixture->Append(review);
  fixture->clock().Advance(absl::Minutes(1));
  ASSERT_OK(fixture->loop().RunOnce());
  v1::LogRecord config;
  config.mutable_config()->set_max_failures(500);
  fixture->Append(config);
  fixture->Append(2500, 3000);
  fixture->clock().Advance(absl::Minutes(1));
  ASSERT_OK(fixture->loop().RunOnce());
}

TEST(SlowLoopTest, AReplayLeavesWhatTheTicksLeft) {
  store::MemoryStore store;
  Fixture fixture(&store);
  RunThreeTicks(&fixture);
  fixture.Append(3000, 3100);  // seen by no tick
  fixture.Open(1);
  std::vector<ReplayedTick> replayed;
  ASSERT_OK(fixture.loop().Replay([&](const ReplayedTick& tick) {
    replayed.push_back(tick);
    return true;
  }));
  ASSERT_THAT(replayed, SizeIs(3));
  for (size_t i = 0; i < replayed.size(); ++i) {
    EXPECT_TRUE(replayed[i].same());
    EXPECT_EQ(replayed[i].recorded.tick(), i + 1);
    EXPECT_EQ(replayed[i].digest, replayed[i].recorded.digest());
    EXPECT_EQ(replayed[i].embedder, replayed[i].recorded.embedder());
  }
  // The policy of any version can be made again.
  ASSERT_THAT(replayed[1].policy.rules(), SizeIs(1));
  EXPECT_EQ(replayed[1].policy.SerializeAsString(),
            (*fixture.board().Version(kProject, replayed[1].policy.version()))
                .SerializeAsString());
  EXPECT_EQ(replayed[2].recorded.config().max_failures(), 500);
}

TEST(SlowLoopTest, AReplayEndsWhenAsked) {
  store::MemoryStore store;
  Fixture fixture(&store);
  RunThreeTicks(&fixture);
  int visits = 0;
  ASSERT_OK(
      fixture.loop().Replay([&](const ReplayedTick&) { return ++visits < 2; }));
  EXPECT_EQ(visits, 2);
}

TEST(SlowLoopTest, AReplayTellsATickThatTheLogDoesNotGive) {
  store::MemoryStore store;
  Fixture fixture(&store);
  RunThreeTicks(&fixture);
  // One outcome in the log is another than the ticks saw.
  std::string forged_key, forged_value;
  ASSERT_OK(store.Scan(
      store::Family::kLog, "", "",
      [&](absl::string_view key, absl::string_view value) {
        v1::LogRecord record;
        if (!record.ParseFromArray(value.data(),
                                   static_cast<int>(value.size()))) {
          return true;
        }
        if (record.sequence() != 2700) return true;
        v1::Evaluation& evaluation =
            *record.mutable_trace()->mutable_evaluation();
        evaluation.set_outcome(evaluation.outcome() == v1::OUTCOME_PASS
                                   ? v1::OUTCOME_FAIL
                                   : v1::OUTCOME_PASS);
        forged_key = std::string(key);
        forged_value = record.SerializeAsString();
        return false;
      }));
  ASSERT_FALSE(forged_key.empty());
  store::WriteBatch batch;
  batch.Put(store::Family::kLog, forged_key, forged_value);
  ASSERT_OK(store.Write(batch, true));
  std::vector<bool> same;
  ASSERT_OK(fixture.loop().Replay([&](const ReplayedTick& tick) {
    same.push_back(tick.same());
    return true;
  }));
  EXPECT_THAT(same, ::testing::ElementsAre(true, true, false));
}

TEST(SlowLoopTest, AReplayRefusesATickWhoseRunsAreGone) {
  store::MemoryStore store;
  Fixture fixture(&store);
  RunThreeTicks(&fixture);
  fixture.Delete({2600});
  int visits = 0;
  const absl::Status status =
      fixture.loop().Replay([&](const ReplayedTick&) { return ++visits > 0; });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("tick 3"));
  EXPECT_EQ(visits, 2);
}

TEST(SlowLoopTest, TicksAreListedLatestFirst) {
  store::MemoryStore store;
  Fixture fixture(&store);
  for (int i = 0; i < 3; ++i) ASSERT_OK(fixture.loop().RunOnce());
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Tick> two,
                       fixture.loop().Ticks(0, 2));
  ASSERT_THAT(two, SizeIs(2));
  EXPECT_EQ(two[0].tick(), 3);
  EXPECT_EQ(two[1].tick(), 2);
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Tick> rest,
                       fixture.loop().Ticks(2, 10));
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_EQ(rest[0].tick(), 1);
}

TEST(SlowLoopTest, EpochBeginsWhenThereIsEnoughToCount) {
  store::MemoryStore store;
  Fixture fixture(&store);
  fixture.Append(0, 20);
  ASSERT_OK(fixture.loop().RunOnce());
  EXPECT_EQ(fixture.loop().Snapshot()->embedder->epoch(), 0);
  fixture.Append(20, 400);
  ASSERT_OK(fixture.loop().RunOnce());
  EXPECT_EQ(fixture.loop().Snapshot()->embedder->epoch(), 1);
}

}  // namespace
}  // namespace faultline::slowloop
