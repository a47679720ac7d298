#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/intervene/type_list.h"
#include "lib/policy/predicate.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::DiagnosedCluster;
using ::faultline::testing::RunWorld;
using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 24 * kHour;

const InterventionType& Type() {
  return *FindInterventionType(v1::INTERVENTION_KIND_MEMORY_SCHEMA);
}

void AddRead(const std::string& record_class, int64_t age, v1::Trace* trace) {
  v1::MemoryState::Read& read = *trace->mutable_memory()->add_reads();
  read.set_record_id("r");
  read.set_record_class(record_class);
  read.mutable_age()->set_seconds(age);
  read.set_used(true);
}

int64_t Age(const v1::Trace& trace) {
  return trace.memory().reads(0).age().seconds();
}

// Quotes from remembered prices fail where the price is older than three days;
// notes are old, and that does no harm.
RunWorld MakeStaleWorld(uint64_t seed, double rate) {
  RunWorld world(seed);
  for (int i = 0; i < 2500; ++i) {
    v1::Trace trace = world.Draw(world.Pick({"quote", "chat", "sum"}), "q",
                                 world.Pick({"small", "large"}));
    AddRead("price",
            kHour * static_cast<int64_t>(1 + world.random().Below(240)),
            &trace);
    AddRead("note", kDay * static_cast<int64_t>(world.random().Below(90)),
            &trace);
    const bool stale = trace.task().type() == "quote" && Age(trace) > 3 * kDay;
    world.Add(trace, world.random().Bernoulli(stale ? rate : .15));
  }
  return world;
}

bool IsQuote(const v1::Trace& trace) { return trace.task().type() == "quote"; }

TEST(MemorySchemaTest, BoundsTheAgeOfTheClassThatGoesStale) {
  const RunWorld world = MakeStaleWorld(1, .8);
  const DiagnosedCluster cluster(world, IsQuote);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const Proposal& proposal = proposals.front();
  const v1::MemorySchema& schema = proposal.action.memory_schema();
  EXPECT_EQ(schema.record_class(), "price");
  EXPECT_NEAR(schema.max_age().seconds(), 3 * kDay, kDay);
  EXPECT_EQ(schema.max_age().seconds() % kDay, 0);
  EXPECT_EQ(schema.required_field(), "");
  EXPECT_FALSE(schema.refuse_conflicting_writes());
  EXPECT_EQ(policy::PredicateText(proposal.scope), "task.type = \"quote\"");
  // A third of the runs, .7 of which fail in .8 instead of .15.
  EXPECT_NEAR(proposal.expected_reduction, .7 * .65 / 3, .03);
  EXPECT_THAT(proposal.summary,
              AllOf(HasSubstr("of class price older than 3 days"),
                    HasSubstr("held-out")));
}

TEST(MemorySchemaTest, BoundsEveryClassWhereTheRuntimeHasNone) {
  RunWorld world(2);
  for (int i = 0; i < 2000; ++i) {
    v1::Trace trace = world.Draw("quote", "q", "small");
    AddRead("", static_cast<int64_t>(60 * (1 + world.random().Below(600))),
            &trace);
    world.Add(trace,
              world.random().Bernoulli(Age(trace) > 5 * kHour ? .7 : .1));
  }
  const DiagnosedCluster cluster(world, IsQuote);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const v1::MemorySchema& schema = proposals[0].action.memory_schema();
  EXPECT_EQ(schema.record_class(), "");
  EXPECT_NEAR(schema.max_age().seconds(), 5 * kHour, kHour);
}

TEST(MemorySchemaTest, RequiresTheFieldThatMisleadingRecordsLack) {
  RunWorld world(3);
  for (int i = 0; i < 1500; ++i) {
    v1::Trace trace = world.Draw("quote", "q", world.Pick({"small", "large"}));
    v1::Step& lookup =
        RunWorld::AddStep(v1::Step::KIND_MEMORY, "recall", &trace);
    const bool unconfirmed = world.random().Bernoulli(.3);
    (*lookup.mutable_attributes())["memory.missing.confirmed_at"] =
        unconfirmed ? "2" : "0";
    (*lookup.mutable_attributes())["memory.missing.source"] =
        world.random().Bernoulli(.5) ? "true" : "false";
    world.Add(trace, world.random().Bernoulli(unconfirmed ? .8 : .1));
  }
  const DiagnosedCluster cluster(world, IsQuote);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const v1::MemorySchema& schema = proposals[0].action.memory_schema();
  EXPECT_EQ(schema.required_field(), "confirmed_at");
  EXPECT_FALSE(schema.has_max_age());
  EXPECT_NEAR(proposals[0].expected_reduction, .3 * .7, .03);
}

TEST(MemorySchemaTest, GuardsWritesWhereMemoryContradictsItself) {
  for (const bool by_number : {true, false}) {
    RunWorld world(4);
    for (int i = 0; i < 1500; ++i) {
      v1::Trace trace =
          world.Draw("quote", "q", world.Pick({"small", "large"}));
      AddRead("price", kHour, &trace);
      const bool torn = world.random().Bernoulli(.3);
      if (by_number) {
        (*trace.mutable_memory()->mutable_stats())["conflict_share"] =
            (torn ? .5 : 0) + .1 * world.random().Uniform();
      } else if (torn) {
        v1::MemoryState::Skip& skip = *trace.mutable_memory()->add_skipped();
        skip.set_record_id("s");
        skip.set_reason("Conflict with r");
      }
      world.Add(trace, world.random().Bernoulli(torn ? .8 : .1));
    }
    const DiagnosedCluster cluster(world, IsQuote);
    const std::vector<Proposal> proposals = cluster.Propose(Type());
    ASSERT_THAT(proposals, SizeIs(1)) << by_number;
    const v1::MemorySchema& schema = proposals[0].action.memory_schema();
    EXPECT_TRUE(schema.refuse_conflicting_writes());
    EXPECT_FALSE(schema.has_max_age());
    EXPECT_NEAR(proposals[0].expected_reduction, .3 * .7, .03);
    // Not the state of memory, which the guard is there to change.
    EXPECT_THAT(proposals[0].scope.ShortDebugString(),
                Not(HasSubstr("memory.")));
  }
}

TEST(MemorySchemaTest, ProposesNothingInNullWorlds) {
  int proposed = 0;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    const RunWorld world = MakeStaleWorld(seed, .15);
    const DiagnosedCluster cluster(world, IsQuote);
    proposed += cluster.Propose(Type()).empty() ? 0 : 1;
  }
  EXPECT_LE(proposed, 1);
}

TEST(MemorySchemaTest, IsNotFooledByHardTasksThatReadOldRecords) {
  RunWorld world(5);
  for (int i = 0; i < 4000; ++i) {
    const bool hard = world.random().Bernoulli(.5);
    v1::Trace trace = world.Draw(hard ? "hard" : "easy", "q", "small");
    const bool old = world.random().Bernoulli(hard ? .85 : .15);
    AddRead("price", (old ? 9 : 1) * kDay, &trace);
    world.Add(trace, world.random().Bernoulli(hard ? .6 : .1));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

// Many runs fail anyway, so that the cluster's cause makes little of a
// difference to all of them.
TEST(MemorySchemaTest, ASmallDifferenceIsEnoughWhereACauseSpeaksForIt) {
  RunWorld world(8);
  for (int i = 0; i < 6000; ++i) {
    v1::Trace trace = world.Draw("quote", "q", "small");
    AddRead("price",
            kHour * static_cast<int64_t>(1 + world.random().Below(240)),
            &trace);
    world.Add(trace,
              world.random().Bernoulli(Age(trace) > 3 * kDay ? .57 : .5));
  }
  DiagnosedCluster cluster(
      world, [](const v1::Trace& trace) { return Age(trace) > 3 * kDay; });
  cluster.cluster().mutable_diagnosis()->clear_causes();
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
  cluster.cluster()
      .mutable_diagnosis()
      ->add_causes()
      ->mutable_feature()
      ->mutable_comparison()
      ->set_field("memory.stats.stale_share");
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_TRUE(proposals[0].answers_cause);
  EXPECT_NEAR(proposals[0].action.memory_schema().max_age().seconds(), 3 * kDay,
              kDay);
}

TEST(MemorySchemaTest, HeldOutRunsMustConfirmIt) {
  RunWorld world(6);
  for (int i = 0; i < 2500; ++i) {
    v1::Trace trace = world.Draw("quote", "q", "small");
    AddRead("price",
            kHour * static_cast<int64_t>(1 + world.random().Below(240)),
            &trace);
    const bool stale = RunWorld::IsDiscovery(trace) && Age(trace) > 3 * kDay;
    world.Add(trace, world.random().Bernoulli(stale ? .8 : .15));
  }
  const DiagnosedCluster cluster(world, IsQuote);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(MemorySchemaTest, NeedsToBeToldAges) {
  RunWorld world(7);
  for (int i = 0; i < 1000; ++i) {
    v1::Trace trace = world.Draw("quote", "q", "small");
    AddRead("price", 0, &trace);
    trace.mutable_memory()->mutable_reads(0)->clear_age();
    world.Add(trace, world.random().Bernoulli(.5));
  }
  const DiagnosedCluster cluster(world, IsQuote);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(MemorySchemaTest, ValidatesEachField) {
  const auto make = [] {
    v1::Action action;
    v1::MemorySchema& schema = *action.mutable_memory_schema();
    schema.set_record_class("price");
    schema.mutable_max_age()->set_seconds(kDay);
    return action;
  };
  EXPECT_OK(Type().Validate(make()));
  struct Case {
    const char* names;
    std::function<void(v1::MemorySchema* schema)> change;
  };
  const std::string long_name(129, 'x');
  const Case cases[] = {
      {"bounds nothing", [](auto* m) { m->clear_max_age(); }},
      {"record_class", [&](auto* m) { m->set_record_class(long_name); }},
      {"required_field", [&](auto* m) { m->set_required_field(long_name); }},
      {"max_age", [](auto* m) { m->mutable_max_age()->set_seconds(0); }},
      {"max_age", [](auto* m) { m->mutable_max_age()->set_seconds(-1); }},
      {"max_age", [](auto* m) { m->mutable_max_age()->set_nanos(-1); }},
      {"max_age",
       [](auto* m) { m->mutable_max_age()->set_nanos(1'000'000'000); }},
      {"max_age",
       [](auto* m) {
         m->mutable_max_age()->set_seconds(std::numeric_limits<int64_t>::max());
       }},
  };
  for (const Case& test : cases) {
    v1::Action action = make();
    test.change(action.mutable_memory_schema());
    EXPECT_THAT(Type().Validate(action),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("action.memory_schema"),
                               HasSubstr(test.names))));
  }
}

}  // namespace
}  // namespace faultline::intervene
