#include "lib/diagnose/diagnoser.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/diagnose/evidence_table.h"
#include "lib/policy/predicate.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::diagnose {
namespace {

using ::faultline::testing::RunWorld;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kRuns = 1200;

// A healthy run: it searches, reads memory, calculates, answers.
v1::Trace DrawRun(RunWorld* world, const std::string& type = "qa") {
  v1::Trace trace =
      world->Draw(type, "a question", world->Pick({"m1", "m2", "m3"}));
  (*trace.mutable_memory()->mutable_stats())["stale_share"] =
      world->random().Uniform();
  return trace;
}

void AddUsualSteps(v1::Trace* trace) {
  v1::Step& search =
      RunWorld::AddStep(v1::Step::KIND_RETRIEVAL, "search", trace);
  search.set_output("a document");
  (*search.mutable_attributes())["retrieval.hits"] = "3";
  RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", trace);
  RunWorld::AddStep(v1::Step::KIND_LLM, "answer", trace);
}

// How a test's failures come about: gives the run its steps and says whether it
// failed in the mode.
using Behave = std::function<bool(v1::Trace* trace)>;

// Runs of which some fail in one mode, and a few fail like that for no reason.
struct ModeWorld {
  RunWorld world;
  Subject subject;
};

ModeWorld MakeModeWorld(uint64_t seed, const Behave& behave) {
  ModeWorld result{RunWorld(seed), {}};
  std::set<std::string> struck;
  for (int i = 0; i < kRuns; ++i) {
    v1::Trace trace = DrawRun(&result.world);
    const bool mode = behave(&trace);
    if (mode) struck.insert(trace.trace_id());
    result.world.Add(trace, mode || result.world.random().Bernoulli(.1));
  }
  result.subject = result.world.MakeSubject([&](const v1::Trace& trace) {
    return struck.count(trace.trace_id()) > 0;
  });
  return result;
}

v1::Diagnosis DiagnoseOne(const ModeWorld& mode) {
  const std::vector<v1::Diagnosis> diagnoses =
      Diagnose(mode.world.input(), {mode.subject});
  EXPECT_EQ(diagnoses.size(), 1u);
  return diagnoses.front();
}

TEST(DiagnoserTest, ReadsReasoningBreakdownFromLoops) {
  base::Random random(1);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(1, [&](v1::Trace* trace) {
        if (!random.Bernoulli(.15)) {
          AddUsualSteps(trace);
          return false;
        }
        for (int i = 0; i < 7; ++i) {
          RunWorld::AddStep(v1::Step::KIND_LLM, "think", trace);
          RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", trace);
        }
        return true;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_REASONING_BREAKDOWN)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsReasoningBreakdownFromOscillation) {
  base::Random random(2);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(2, [&](v1::Trace* trace) {
        AddUsualSteps(trace);
        if (!random.Bernoulli(.15)) return false;
        for (int i = 0; i < 4; ++i) {
          RunWorld::AddStep(v1::Step::KIND_TOOL, "open", trace);
          RunWorld::AddStep(v1::Step::KIND_TOOL, "close", trace);
        }
        return true;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_REASONING_BREAKDOWN)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsRetrievalFailureFromEmptyResults) {
  base::Random random(3);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(3, [&](v1::Trace* trace) {
        if (!random.Bernoulli(.15)) {
          AddUsualSteps(trace);
          return false;
        }
        v1::Step& search =
            RunWorld::AddStep(v1::Step::KIND_RETRIEVAL, "search", trace);
        (*search.mutable_attributes())["retrieval.hits"] = "0";
        RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", trace);
        return true;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_RETRIEVAL_FAILURE)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsHallucinationFromConfidentAnswersWithoutSupport) {
  base::Random random(4);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(4, [&](v1::Trace* trace) {
        auto& signals = *trace->mutable_evaluation()->mutable_signals();
        if (!random.Bernoulli(.15)) {
          AddUsualSteps(trace);
          signals["confidence"] = random.Uniform();
          return false;
        }
        RunWorld::AddStep(v1::Step::KIND_LLM, "answer", trace);
        signals["confidence"] = .9 + .1 * random.Uniform();
        return true;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_HALLUCINATION)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsHallucinationFromMissingSupportAlone) {
  base::Random random(14);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(14, [&](v1::Trace* trace) {
        const bool mode = random.Bernoulli(.15);
        if (!mode) AddUsualSteps(trace);
        if (mode) RunWorld::AddStep(v1::Step::KIND_LLM, "answer", trace);
        return mode;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_HALLUCINATION)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsToolMisuseFromRefusedArguments) {
  base::Random random(5);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(5, [&](v1::Trace* trace) {
        AddUsualSteps(trace);
        if (!random.Bernoulli(.15)) return false;
        RunWorld::AddFailedStep(v1::Step::KIND_TOOL, "calculator",
                                "bad_argument", trace);
        RunWorld::AddFailedStep(v1::Step::KIND_TOOL, "calculator",
                                "bad_argument", trace);
        return true;
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_TOOL_MISUSE)
      << diagnosis.DebugString();
  ASSERT_FALSE(diagnosis.behavior().empty());
  EXPECT_GT(diagnosis.behavior(0).member_share(), .9);
  EXPECT_LT(diagnosis.behavior(0).success_share(), .1);
}

TEST(DiagnoserTest, ReadsMemoryMisalignmentFromAStaleState) {
  base::Random random(6);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(6, [&](v1::Trace* trace) {
        AddUsualSteps(trace);
        const bool stale = trace->memory().stats().at("stale_share") > .7;
        RunWorld::AddStep(v1::Step::KIND_MEMORY, "recall", trace);
        return random.Bernoulli(stale ? .5 : .02);
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_MEMORY_MISALIGNMENT)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ReadsRoutingFailureFromTheModelThatFailsAlone) {
  base::Random random(7);
  ModeWorld mode = MakeModeWorld(7, [&](v1::Trace* trace) {
    AddUsualSteps(trace);
    const bool negated = random.Bernoulli(.4);
    trace->mutable_task()->set_input(negated ? "is it not so" : "is it so");
    return negated &&
           random.Bernoulli(trace->system().model() == "m1" ? .8 : .05);
  });
  mode.subject.trajectory_only = true;
  const v1::Diagnosis diagnosis = DiagnoseOne(mode);
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_ROUTING_FAILURE)
      << diagnosis.DebugString();
  EXPECT_EQ(policy::PredicateText(diagnosis.scope()),
            "task.input has word \"not\"");
  ASSERT_FALSE(diagnosis.causes().empty());
  EXPECT_THAT(diagnosis.causes(0).text(), HasSubstr("\"m1\""));
  EXPECT_THAT(diagnosis.summary(), HasSubstr("Routing failure"));
  EXPECT_THAT(diagnosis.summary(), HasSubstr("has word \"not\""));
}

TEST(DiagnoserTest, SaysUnknownWhereTheEvidenceDoesNotDecide) {
  base::Random random(8);
  const v1::Diagnosis diagnosis =
      DiagnoseOne(MakeModeWorld(8, [&](v1::Trace* trace) {
        AddUsualSteps(trace);
        return random.Bernoulli(.15);
      }));
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_UNKNOWN)
      << diagnosis.DebugString();
  EXPECT_EQ(diagnosis.confidence(), 0);
  EXPECT_THAT(diagnosis.causes(), IsEmpty());
}

TEST(DiagnoserTest, StepsThatTheTaskNeverNeedsAreNotMissing) {
  base::Random random(9);
  RunWorld world(9);
  for (int i = 0; i < kRuns; ++i) {
    const bool logic = random.Bernoulli(.5);
    v1::Trace trace = DrawRun(&world, logic ? "logic" : "qa");
    if (!logic) AddUsualSteps(&trace);
    RunWorld::AddStep(v1::Step::KIND_LLM, "answer", &trace);
    world.Add(trace, random.Bernoulli(logic ? .5 : .05));
  }
  const Subject subject = world.MakeSubject(
      [](const v1::Trace& trace) { return trace.task().type() == "logic"; });
  const v1::Diagnosis diagnosis = Diagnose(world.input(), {subject}).front();
  EXPECT_EQ(diagnosis.failure_mode(), v1::FAILURE_MODE_UNKNOWN)
      << diagnosis.DebugString();
}

TEST(DiagnoserTest, ConfidenceFallsWithCohesionAndEnrichment) {
  base::Random random(10);
  ModeWorld mode = MakeModeWorld(10, [&](v1::Trace* trace) {
    AddUsualSteps(trace);
    if (!random.Bernoulli(.15)) return false;
    RunWorld::AddFailedStep(v1::Step::KIND_TOOL, "calculator", "bad_argument",
                            trace);
    return true;
  });
  const double full = DiagnoseOne(mode).confidence();
  EXPECT_GT(full, .9);
  mode.subject.cohesion = .375;
  EXPECT_NEAR(DiagnoseOne(mode).confidence(), full / 2, 1e-9);
  mode.subject.cohesion = .9;
  mode.subject.enrichment_p = 1;
  EXPECT_EQ(DiagnoseOne(mode).confidence(), 0);
}

TEST(DiagnoserTest, AnswersEachSubjectInOrderAndTwiceTheSame) {
  base::Random random(11);
  ModeWorld mode = MakeModeWorld(11, [&](v1::Trace* trace) {
    AddUsualSteps(trace);
    return random.Bernoulli(.3);
  });
  Subject half = mode.subject;
  half.cluster = "projects/p/clusters/half";
  half.members.resize(half.members.size() / 2);
  const auto first = Diagnose(mode.world.input(), {mode.subject, half});
  const auto second = Diagnose(mode.world.input(), {mode.subject, half});
  ASSERT_THAT(first, SizeIs(2));
  EXPECT_EQ(first[0].cluster(), mode.subject.cluster);
  EXPECT_EQ(first[1].cluster(), half.cluster);
  EXPECT_EQ(first[0].tick(), 3u);
  EXPECT_GT(first[0].features_tested(), 0u);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].SerializeAsString(), second[i].SerializeAsString());
  }
}

TEST(DiagnoserTest, ToleratesSubjectsWithoutRuns) {
  ModeWorld mode = MakeModeWorld(12, [](v1::Trace* trace) {
    AddUsualSteps(trace);
    return false;
  });
  EXPECT_THAT(Diagnose(mode.world.input(), {}), IsEmpty());
  EXPECT_EQ(DiagnoseOne({mode.world, Subject()}).failure_mode(),
            v1::FAILURE_MODE_UNKNOWN);
}

}  // namespace
}  // namespace faultline::diagnose
