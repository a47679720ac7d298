#include "lib/slowloop/known_modes.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/slowloop/tick.h"

namespace faultline::slowloop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Failed runs of several kinds, each with tools of its own, and a state that
// knows some kinds as clusters.
class Project {
 public:
  Project() {
    embedder_ = *embedding::Embedder::Create({.dimension = 128}, {});
  }

  void AddRuns(const std::string& kind, int count, bool failed = true) {
    for (int i = 0; i < count; ++i) {
      v1::LogRecord record;
      record.set_sequence(++sequence_);
      v1::Trace& trace = *record.mutable_trace();
      trace.set_trace_id(absl::StrCat(kind, "-", sequence_));
      trace.mutable_start_time()->set_seconds(1'800'000'000);
      trace.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                     : v1::OUTCOME_PASS);
      const auto step = [&](const std::string& name) {
        v1::Step& tool = *trace.add_steps();
        tool.set_kind(v1::Step::KIND_TOOL);
        tool.set_name(name);
      };
      // Letters: digits of a tool's name count for nothing.
      for (const char* part : {"a", "b", "c", "d"}) {
        step(absl::StrCat(kind, "-", part));
      }
      for (int s = 0; s < 2; ++s) {
        step(std::string("other-") + "abcdefgh"[random_.Below(8)]);
      }
      window_.Apply(record);
    }
  }

  // A cluster whose exemplars are the runs of a kind, at most 200.
  void AddCluster(const std::string& kind, v1::View view = v1::VIEW_BEHAVIOR) {
    v1::Cluster& cluster = *state_.add_clusters();
    cluster.set_cluster_id(kind);
    cluster.add_views(view);
    v1::ClusterExemplars& set = *state_.add_exemplars();
    set.set_cluster_id(kind);
    for (const embedding::Run* run : window_.KnownRuns()) {
      if (KindOf(*run) == kind && set.sequences_size() < 200) {
        set.add_sequences(run->sequence);
      }
    }
  }

  // What a tick leaves.
  void FinishTick(int threads = 1) {
    state_.clear_known_modes();
    for (v1::KnownMode& mode :
         DescribeKnownModes(state_, window_, *embedder_, threads)) {
      *state_.add_known_modes() = std::move(mode);
    }
    state_.mutable_tick()->set_watermark(sequence_);
  }

  v1::Novelty Measure(int threads = 1) const {
    const std::vector<const embedding::Run*> runs = window_.KnownRuns();
    Matrix behavior{embedder_->dimension(), {}};
    Matrix trajectory{embedder_->dimension(), {}};
    std::vector<bool> discovery;
    for (const embedding::Run* run : runs) {
      for (const auto& [matrix, view] :
           {std::make_pair(&behavior, v1::VIEW_BEHAVIOR),
            std::make_pair(&trajectory, v1::VIEW_TRAJECTORY)}) {
        const std::vector<float> vector =
            embedding::EmbedInView(*embedder_, *run, view);
        matrix->values.insert(matrix->values.end(), vector.begin(),
                              vector.end());
      }
      discovery.push_back(OnDiscoverySide(run->trace_id, .6));
    }
    NoveltyInput input;
    input.runs = runs;
    input.discovery = &discovery;
    input.behavior = &behavior;
    input.trajectory = &trajectory;
    input.previous = &state_;
    input.window = &window_;
    input.embedder = embedder_.get();
    input.threads = threads;
    return MeasureNovelty(input);
  }

  std::vector<ModeDistance> Locate(const embedding::Run& run) const {
    return LocateRun(state_, *embedder_, run);
  }

  static std::string KindOf(const embedding::Run& run) {
    return run.trace_id.substr(0, run.trace_id.find('-'));
  }
  std::vector<const embedding::Run*> RunsOf(const std::string& kind) const {
    std::vector<const embedding::Run*> runs;
    for (const embedding::Run* run : window_.KnownRuns()) {
      if (KindOf(*run) == kind) runs.push_back(run);
    }
    return runs;
  }

  v1::TickState& state() { return state_; }
  const embedding::Embedder& embedder() const { return *embedder_; }

 private:
  std::unique_ptr<const embedding::Embedder> embedder_;
  base::Random random_{1};
  uint64_t sequence_ = 0;
  RunWindow window_{RunWindow::Capacity{}};
  v1::TickState state_;
};

TEST(KnownModesTest, TheReachIsTheNinetyFifthPercentileOfItsOwnDistances) {
  Project project;
  project.AddRuns("a", 120);
  project.AddCluster("a");
  project.FinishTick();
  ASSERT_THAT(project.state().known_modes(), SizeIs(1));
  const v1::KnownMode& mode = project.state().known_modes(0);
  EXPECT_EQ(mode.cluster_id(), "a");
  ASSERT_THAT(mode.sequences(), SizeIs(32));
  ASSERT_THAT(mode.vectors(), SizeIs(32 * 128));
  // By definition, from the runs themselves.
  std::vector<double> distances;
  for (const embedding::Run* run : project.RunsOf("a")) {
    double nearest = 9;
    for (const embedding::Run* other : project.RunsOf("a")) {
      if (other == run ||
          std::count(mode.sequences().begin(), mode.sequences().end(),
                     other->sequence) == 0) {
        continue;
      }
      nearest = std::min(
          nearest,
          embedding::Distance(embedding::EmbedInView(project.embedder(), *run,
                                                     v1::VIEW_BEHAVIOR),
                              embedding::EmbedInView(project.embedder(), *other,
                                                     v1::VIEW_BEHAVIOR)));
    }
    distances.push_back(nearest);
  }
  std::sort(distances.begin(), distances.end());
  EXPECT_NEAR(mode.reach(), std::max(.05, distances[113]), 1e-9);  // of 120
}

TEST(KnownModesTest, ARunIsNoExemplarToItself) {
  Project project;
  project.AddRuns("a", 6);  // fewer than exemplars
  project.AddCluster("a");
  project.FinishTick();
  std::vector<double> distances;
  for (const embedding::Run* run : project.RunsOf("a")) {
    distances.push_back(project.Locate(*run)[0].distance);
  }
  // The 95 % quantile of six is the largest.
  EXPECT_DOUBLE_EQ(project.state().known_modes(0).reach(),
                   *std::max_element(distances.begin(), distances.end()));
  EXPECT_GT(project.state().known_modes(0).reach(), .1);
}

TEST(KnownModesTest, ARunIsNearestToItsOwnModeAndAStrangerToNone) {
  Project project;
  project.AddRuns("a", 60);
  project.AddRuns("b", 60);
  project.AddRuns("new", 1);
  project.AddCluster("a");
  project.AddCluster("b", v1::VIEW_TRAJECTORY);
  project.FinishTick();
  int novel = 0;
  for (const embedding::Run* run : project.RunsOf("b")) {
    const auto located = project.Locate(*run);
    ASSERT_THAT(located, SizeIs(2));
    EXPECT_EQ(located[0].mode->cluster_id(), "b");
    EXPECT_GT(located[1].relative(), 1);
    novel += located[0].relative() > 1 ? 1 : 0;
  }
  EXPECT_LE(novel, 3);  // 5 % of 60
  const auto stranger = project.Locate(*project.RunsOf("new")[0]);
  EXPECT_GT(stranger[0].relative(), 1);
  EXPECT_LE(stranger[0].relative(), stranger[1].relative());
}

TEST(KnownModesTest, AMergedClusterHasAModeForEachPartAndAGoneOneNone) {
  Project project;
  project.AddRuns("a", 40);
  project.AddRuns("b", 40);
  project.AddCluster("a");
  v1::ClusterExemplars& part = *project.state().add_exemplars();
  part.set_cluster_id("b");
  for (const embedding::Run* run : project.RunsOf("b")) {
    part.add_sequences(run->sequence);
  }
  part.add_sequences(999);  // not held any more
  (*project.state().mutable_aliases())["b"] = "a";
  project.state().add_exemplars()->set_cluster_id("c");
  project.FinishTick();
  std::vector<std::string> ids;
  for (const v1::KnownMode& mode : project.state().known_modes()) {
    ids.push_back(mode.cluster_id());
  }
  EXPECT_THAT(ids, ElementsAre("a", "a"));
  for (const embedding::Run* run : project.RunsOf("b")) {
    EXPECT_LT(project.Locate(*run)[0].relative(), 1.5);
  }
}

TEST(KnownModesTest, WithoutAModeNothingIsNovel) {
  Project project;
  project.AddRuns("a", 30);
  project.FinishTick();
  project.AddRuns("b", 20);
  const v1::Novelty novelty = project.Measure();
  EXPECT_EQ(novelty.failures(), 20);
  EXPECT_EQ(novelty.compared(), 0);
  EXPECT_EQ(novelty.emerging(), 0);
  EXPECT_EQ(novelty.p_value(), 1);
  EXPECT_THAT(project.Locate(*project.RunsOf("a")[0]), IsEmpty());
}

TEST(KnownModesTest, NewFailuresThatAreLikeNothingKnownAreCounted) {
  Project project;
  project.AddRuns("a", 200);
  project.AddRuns("noise", 50);
  project.AddCluster("a");
  project.FinishTick();
  project.AddRuns("a", 100);
  project.AddRuns("new", 40);
  project.AddRuns("new", 25, /*failed=*/false);
  const v1::Novelty novelty = project.Measure();
  EXPECT_EQ(novelty.failures(), 140);
  EXPECT_EQ(novelty.compared(), 140);
  EXPECT_GE(novelty.emerging(), 40);
  EXPECT_LE(novelty.emerging(), 52);  // 5 % of the others, and some luck
  // What failed before and was no part of a mode is told, on the held-out side.
  EXPECT_GT(novelty.earlier_compared(), 60);
  EXPECT_LT(novelty.earlier_compared(), 140);
  EXPECT_GT(novelty.earlier_emerging(), 10);
  EXPECT_LT(novelty.earlier_emerging(), 45);
}

TEST(KnownModesTest, AnAlertIsMoreThanWhatIsUsual) {
  Project usual, rising;
  for (Project* project : {&usual, &rising}) {
    project->AddRuns("a", 200);
    project->AddRuns("noise", 100);
    project->AddCluster("a");
    project->FinishTick();
    project->AddRuns("a", project == &usual ? 100 : 60);
    project->AddRuns("noise", 50);
  }
  rising.AddRuns("new", 90);
  EXPECT_GT(usual.Measure().p_value(), .05);
  EXPECT_LT(rising.Measure().p_value(), .001);
}

TEST(KnownModesTest, AnotherEpochIsComparedInItsOwnVectors) {
  Project project;
  project.AddRuns("a", 100);
  project.AddCluster("a");
  project.FinishTick();
  project.AddRuns("a", 50);
  const v1::Novelty same = project.Measure();
  // The state's vectors are of an epoch that is over; they are not to be used.
  project.state().mutable_corpus()->set_epoch(7);
  for (float& value :
       *project.state().mutable_known_modes(0)->mutable_vectors()) {
    value = 0;
  }
  const v1::Novelty other = project.Measure();
  EXPECT_EQ(other.SerializeAsString(), same.SerializeAsString());
}

TEST(KnownModesTest, ThreadsDoNotMatter) {
  Project project;
  project.AddRuns("a", 300);
  project.AddRuns("b", 300);
  project.AddCluster("a");
  project.AddCluster("b", v1::VIEW_TRAJECTORY);
  project.FinishTick(1);
  const std::string one = project.state().SerializeAsString();
  project.FinishTick(2);
  EXPECT_EQ(project.state().SerializeAsString(), one);
  project.AddRuns("a", 700);
  EXPECT_EQ(project.Measure(1).SerializeAsString(),
            project.Measure(2).SerializeAsString());
}

}  // namespace
}  // namespace faultline::slowloop
