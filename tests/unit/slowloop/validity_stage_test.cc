#include "lib/slowloop/validity_stage.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/slowloop/project_config.h"
#include "lib/slowloop/tick.h"
#include "lib/stats/evidence.h"
#include "tests/support/status_matchers.h"

namespace faultline::slowloop {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

struct Share {
  double signature;  // of the runs that bear the signature
  double inside;     // of those, runs that fail
  double outside;    // of the others, runs that fail
};

// A window of runs, a tenth or so of which bear the signature of one mode; its
// cluster are the failures of the discovery side that do.
class Scene {
 public:
  explicit Scene(uint64_t seed) : random_(seed) {
    config_ = *ResolveConfig({}, {});
  }

  void Add(int count, const Share& share) {
    for (int i = 0; i < count; ++i) {
      const bool bears = random_.Bernoulli(share.signature);
      v1::Trace trace;
      trace.set_trace_id(absl::StrCat("run-", next_));
      trace.mutable_task()->set_type(random_.Bernoulli(.5) ? "ask" : "book");
      trace.mutable_system()->set_model(
          absl::StrCat("model-", random_.Below(3)));
      trace.mutable_system()->set_prompt_strategy(
          random_.Bernoulli(.5) ? "plan" : "direct");
      for (int step = 0; step < 6; ++step) {
        v1::Step& tool = *trace.add_steps();
        tool.set_kind(v1::Step::KIND_TOOL);
        tool.set_name(
            std::string(3, 'a' + static_cast<char>(random_.Below(8))));
      }
      if (bears) {
        for (int step = 0; step < 4; ++step) {
          v1::Step& tool = *trace.add_steps();
          tool.set_kind(v1::Step::KIND_TOOL);
          tool.set_name("loop");
          tool.set_status(v1::Step::STATUS_ERROR);
          tool.set_error_type("again");
        }
      }
      trace.mutable_evaluation()->set_outcome(
          random_.Bernoulli(bears ? share.inside : share.outside)
              ? v1::OUTCOME_FAIL
              : v1::OUTCOME_PASS);
      embedding::Run& run =
          runs_.emplace_back(embedding::ExtractRun(trace, &names_));
      run.sequence = run.known_sequence = ++next_;
      bears_.push_back(bears);
    }
  }

  // The runs before are no longer in the window.
  void Forget() {
    runs_.clear();
    bears_.clear();
  }

  // Validates and becomes the state before the next tick.
  ValidityFinding Tick(double stability = .8, int threads = 1,
                       const std::string& id = "c") {
    ++tick_;
    std::vector<const embedding::Run*> runs;
    std::vector<bool> discovery;
    std::vector<int32_t> failures;
    std::vector<int32_t> successes;
    std::vector<const embedding::Run*> counted;
    ValiditySubject subject;
    subject.cluster_id = id;
    subject.views = {v1::VIEW_BEHAVIOR};
    subject.stability = stability;
    for (size_t i = 0; i < runs_.size(); ++i) {
      runs.push_back(&runs_[i]);
      discovery.push_back(OnDiscoverySide(runs_[i].trace_id, .6));
      if (!discovery.back()) continue;
      counted.push_back(&runs_[i]);
      (runs_[i].failed() ? failures : successes)
          .push_back(static_cast<int32_t>(i));
      if (!runs_[i].failed()) continue;
      if (bears_[i]) subject.members.push_back(static_cast<int32_t>(i));
    }
    if (!embedder_) {
      v1::CorpusSnapshot corpus = embedding::CountCorpus(counted, nullptr);
      corpus.set_epoch(1);
      embedding::Embedder::Options options;
      options.dimension = 128;
      embedder_ = *embedding::Embedder::Create(options, corpus);
    }
    Matrix behavior{128, {}}, trajectory{128, {}};
    behavior.values.resize(runs.size() * 128);
    trajectory.values.resize(runs.size() * 128);
    for (size_t i = 0; i < runs.size(); ++i) {
      embedder_->EmbedViews(*runs[i], trajectory.row(i), behavior.row(i));
    }
    EmbeddedRuns embedded;
    embedded.embedder = embedder_.get();
    embedded.runs = runs;
    embedded.trajectory = &trajectory;
    embedded.failures = failures;
    embedded.successes = successes;
    const ClusterSpace space(embedded);
    ValidityInput input;
    input.runs = runs;
    input.discovery = &discovery;
    input.failure_rows = failures;
    input.behavior = &behavior;
    input.trajectory = &trajectory;
    input.embedder = embedder_.get();
    input.space = &space;
    input.names = &names_;
    input.config = &config_;
    input.previous = &state_;
    input.tick = tick_;
    input.watermark = next_;
    input.threads = threads;
    absl::StatusOr<ValidityOutput> output = ValidateModes(input, {subject});
    EXPECT_OK(output.status());
    output_ = *std::move(output);
    state_.clear_clusters();
    v1::Cluster& cluster = *state_.add_clusters();
    cluster.set_cluster_id(id);
    cluster.add_views(v1::VIEW_BEHAVIOR);
    cluster.set_status(output_.findings[0].status);
    *cluster.mutable_validity() = output_.findings[0].validity;
    state_.mutable_corpus()->set_epoch(1);
    state_.set_clusters_tested(output_.clusters_tested);
    state_.set_clusters_confirmed(output_.clusters_confirmed);
    state_.set_first_test_watermark(output_.first_test_watermark);
    return output_.findings[0];
  }

  const ValidityOutput& output() const { return output_; }
  v1::TickState& state() { return state_; }

 private:
  base::Random random_;
  v1::ProjectConfig config_;
  std::deque<embedding::Run> runs_;
  std::vector<bool> bears_;
  embedding::FeatureNames names_;
  std::unique_ptr<const embedding::Embedder> embedder_;
  v1::TickState state_;
  ValidityOutput output_;
  uint64_t next_ = 0;
  uint64_t tick_ = 0;
};

constexpr Share kPlanted = {.15, .9, .2};
constexpr Share kNothing = {.3, .4, .4};

TEST(ValidateModes, WhatHeldOutRunsConfirmIsStable) {
  Scene scene(1);
  scene.Add(1500, kPlanted);
  const ValidityFinding found = scene.Tick();
  EXPECT_EQ(found.status, v1::Cluster::STATUS_STABLE) << found.reason;
  const v1::Validity& validity = found.validity;
  EXPECT_EQ(validity.evidence().confirmed_tick(), 1);
  EXPECT_EQ(validity.evidence().rank(), 1);
  EXPECT_EQ(validity.evidence().batches(), 1);
  EXPECT_EQ(validity.evidence().watermark(), 1500);
  EXPECT_EQ(validity.evidence().assigned(), found.enrichment.assigned());
  EXPECT_NEAR(validity.evidence().log_e_value(),
              stats::LogEValue(found.enrichment.p_value()), 1e-9);
  EXPECT_NEAR(validity.evidence().first_level(), .05, 1e-12);
  EXPECT_GT(validity.failure_information_bits(),
            2 * validity.model_information_bits());
  EXPECT_TRUE(validity.transferable());
  EXPECT_THAT(validity.slice_bound(), IsEmpty());
  ASSERT_THAT(validity.slices(), SizeIs(3));
  for (const v1::SliceCheck& slice : validity.slices()) {
    EXPECT_GE(slice.values_left_out(), 2) << slice.variable();
    EXPECT_GE(slice.transfer(), .7) << slice.variable();
    EXPECT_EQ(slice.replication(), 1) << slice.variable();
    EXPECT_LT(slice.agreement(), .05) << slice.variable();
    EXPECT_LT(slice.information_bits(), .02) << slice.variable();
  }
  EXPECT_TRUE(validity.has_shuffle_null());
  EXPECT_GE(validity.prediction_strength(), .5);
  EXPECT_THAT(found.held_out_members, Not(IsEmpty()));
  EXPECT_EQ(scene.output().clusters_confirmed, 1);
  ASSERT_THAT(scene.output().views, SizeIs(1));
  EXPECT_THAT(scene.output().views[0].slice_agreements, SizeIs(3));
}

TEST(ValidateModes, WhatFailsNoMoreThanTheRestIsAnArtifact) {
  Scene scene(2);
  scene.Add(1500, kNothing);
  const ValidityFinding found = scene.Tick();
  ASSERT_GE(found.enrichment.assigned(), 50);
  ASSERT_GT(found.enrichment.p_value(), .2) << "choose another seed";
  EXPECT_EQ(found.status, v1::Cluster::STATUS_ARTIFACT) << found.reason;
}

TEST(ValidateModes, AnArtifactNeedsNewRunsToComeBack) {
  Scene scene(1);
  scene.Add(1500, kPlanted);
  EXPECT_EQ(scene.Tick(.4).status, v1::Cluster::STATUS_ARTIFACT);
  EXPECT_EQ(scene.Tick(.8).status, v1::Cluster::STATUS_ARTIFACT);
  scene.Add(600, kPlanted);
  EXPECT_EQ(scene.Tick(.8).status, v1::Cluster::STATUS_STABLE);
}

TEST(ValidateModes, FewHeldOutRunsMakeACandidateAtMost) {
  Scene scene(3);
  scene.Add(220, kPlanted);
  const ValidityFinding found = scene.Tick();
  ASSERT_LT(found.enrichment.assigned(), 20) << "choose another size";
  ASSERT_LE(found.enrichment.p_value(), .05) << "choose another seed";
  EXPECT_EQ(found.status, v1::Cluster::STATUS_CANDIDATE) << found.reason;
  EXPECT_EQ(found.validity.evidence().batches(), 0);
  EXPECT_EQ(found.validity.evidence().rank(), 0);
}

TEST(ValidateModes, NoEvidenceMakesAHypothesis) {
  Scene scene(4);
  scene.Add(160, kNothing);
  const ValidityFinding found = scene.Tick();
  ASSERT_LT(found.enrichment.assigned(), 50) << "choose another size";
  ASSERT_GT(found.enrichment.p_value(), .05) << "choose another seed";
  EXPECT_EQ(found.status, v1::Cluster::STATUS_HYPOTHESIS) << found.reason;
}

TEST(ValidateModes, EveryRunCountsOnce) {
  Scene scene(5);
  scene.Add(900, kPlanted);
  const v1::SequentialEvidence first = scene.Tick().validity.evidence();
  const v1::SequentialEvidence same = scene.Tick().validity.evidence();
  EXPECT_EQ(first.SerializeAsString(), same.SerializeAsString());

  scene.Add(600, kPlanted);
  const ValidityFinding later = scene.Tick();
  const v1::SequentialEvidence& evidence = later.validity.evidence();
  EXPECT_EQ(evidence.batches(), 2);
  EXPECT_EQ(evidence.runs(), later.enrichment.held_out_runs())
      << "together the batches are the window";
  EXPECT_EQ(evidence.watermark(), 1500);
  EXPECT_EQ(evidence.rank(), 1);
  EXPECT_NEAR(evidence.log_e_value(),
              first.log_e_value() + stats::LogEValue(evidence.batch_p_value()),
              1e-9);
}

TEST(ValidateModes, FreshBatchesConfirmOverTicksWhatOneDoesNot) {
  Scene scene(6);
  // The first test has no rate left to spend.
  scene.state().set_first_test_watermark(1'000'000);
  scene.state().set_clusters_tested(40);
  constexpr Share kWeak = {.25, .6, .35};
  int ticks = 0;
  ValidityFinding found;
  do {
    scene.Forget();
    scene.Add(700, kWeak);
    found = scene.Tick();
    ++ticks;
  } while (found.validity.evidence().confirmed_tick() == 0 && ticks < 20);
  EXPECT_GT(ticks, 1);
  EXPECT_LT(ticks, 20);
  EXPECT_EQ(found.validity.evidence().rank(), 41);
  EXPECT_EQ(found.validity.evidence().first_level(), 0);
  EXPECT_GE(found.validity.evidence().log_e_value(),
            -std::log(found.validity.evidence().level()));
  EXPECT_EQ(found.status, v1::Cluster::STATUS_STABLE) << found.reason;
}

TEST(ValidateModes, AFirstTestSpendsTheShareOfItsFreshRuns) {
  Scene scene(7);
  scene.Add(1000, kPlanted);
  scene.Tick(.8, 1, "first");
  scene.Add(1000, kPlanted);
  const ValidityFinding later = scene.Tick(.8, 1, "second");
  EXPECT_NEAR(later.validity.evidence().first_level(), .025, .003);
  EXPECT_EQ(later.validity.evidence().rank(), 2);
  EXPECT_EQ(later.validity.evidence().runs(), later.enrichment.held_out_runs());
}

TEST(ValidateModes, NullModesAreSeldomConfirmedHoweverLongOneLooks) {
  int confirmed = 0;
  constexpr int kWorlds = 40;
  for (int world = 0; world < kWorlds; ++world) {
    Scene scene(100 + world);
    for (int tick = 0; tick < 5; ++tick) {
      scene.Forget();
      scene.Add(250, kNothing);
      scene.Tick();
    }
    confirmed += scene.output().clusters_confirmed > 0 ? 1 : 0;
  }
  // 5 % for the first test and .03 for the rest; 7 is beyond the 99 % quantile.
  EXPECT_LE(confirmed, 7);
}

TEST(ValidateModes, TheSameWithTwoThreads) {
  std::vector<std::string> figures;
  for (const int threads : {1, 2}) {
    Scene scene(8);
    scene.Add(900, kPlanted);
    const ValidityFinding found = scene.Tick(.8, threads);
    figures.push_back(found.validity.SerializeAsString() +
                      found.enrichment.SerializeAsString() + found.reason);
  }
  EXPECT_EQ(figures[0], figures[1]);
}

TEST(ValidateModes, NothingIsSaidOfNoModes) {
  v1::TickState state;
  state.set_clusters_tested(3);
  ValidityInput input;
  input.previous = &state;
  const v1::ProjectConfig config;
  input.config = &config;
  ASSERT_OK_AND_ASSIGN(const ValidityOutput output, ValidateModes(input, {}));
  EXPECT_THAT(output.findings, IsEmpty());
  EXPECT_EQ(output.clusters_tested, 3);
}

}  // namespace
}  // namespace faultline::slowloop
