#include "lib/evaluate/slice_metrics.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "lib/base/random.h"
#include "lib/stats/contingency.h"
#include "tests/support/status_matchers.h"

namespace faultline::evaluate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using v1::GetSliceMetricsRequest;

v1::Predicate Equals(const std::string& field, const std::string& text) {
  v1::Predicate predicate;
  predicate.mutable_comparison()->set_field(field);
  predicate.mutable_comparison()->set_op(v1::Comparison::OPERATOR_EQUAL);
  predicate.mutable_comparison()->set_text(text);
  return predicate;
}

v1::Trace Typed(const std::string& type) {
  v1::Trace trace;
  trace.mutable_task()->set_type(type);
  return trace;
}

// Runs with what became of them.
class SliceCounterTest : public ::testing::Test {
 protected:
  void Add(const v1::Trace& trace, v1::Outcome outcome) {
    traces_.push_back(trace);
    outcomes_.push_back(outcome);
  }
  void Add(const v1::Trace& trace, int failed, int passed) {
    for (int i = 0; i < failed; ++i) Add(trace, v1::OUTCOME_FAIL);
    for (int i = 0; i < passed; ++i) Add(trace, v1::OUTCOME_PASS);
  }

  v1::GetSliceMetricsResponse Count(const std::string& intervention = "") {
    auto counter = SliceCounter::Create(request_, intervention);
    EXPECT_OK(counter);
    if (!counter.ok()) return {};
    for (size_t r = 0; r < traces_.size(); ++r) (*counter)->Add(r, traces_[r]);
    return (*counter)->Count(outcomes_);
  }

  // The field that the request is refused for.
  std::string Refused(const std::string& intervention = "") {
    const auto counter = SliceCounter::Create(request_, intervention);
    EXPECT_EQ(counter.status().code(), absl::StatusCode::kInvalidArgument);
    const auto detail = base::GetErrorDetail(counter.status());
    return detail.has_value() ? detail->field() : "";
  }

  GetSliceMetricsRequest request_;
  std::vector<v1::Trace> traces_;
  std::vector<v1::Outcome> outcomes_;
};

TEST_F(SliceCounterTest, ASliceIsHeldAgainstTheOtherRuns) {
  Add(Typed("qa"), 30, 70);
  Add(Typed("sum"), 10, 190);
  Add(Typed("qa"), v1::OUTCOME_UNSPECIFIED);
  *request_.add_slices() = Equals("task.type", "qa");
  const auto response = Count();
  EXPECT_EQ(response.stretch().runs(), 300);
  EXPECT_EQ(response.stretch().pending(), 1);
  EXPECT_EQ(response.aggregate().failures(), 40);
  EXPECT_NEAR(response.aggregate().rate(), 40. / 300, 1e-12);
  ASSERT_EQ(response.slices_size(), 1);
  const v1::SliceMetrics& slice = response.slices(0);
  EXPECT_EQ(slice.text(), "task.type = \"qa\"");
  EXPECT_EQ(slice.failures().runs(), 100);
  EXPECT_NEAR(slice.failures().rate(), .3, 1e-12);
  EXPECT_LT(slice.failures().lower(), .3);
  // .3 against 10 / 200, and not against the aggregate.
  EXPECT_NEAR(slice.difference().value(), .25, 1e-12);
  EXPECT_GT(slice.difference().lower(), .15);
  EXPECT_LT(slice.difference().upper(), .36);
  EXPECT_LT(slice.difference().p_value(), 1e-6);
}

TEST_F(SliceCounterTest, ASliceOfAllRunsOrOfNoneHasNoDifference) {
  Add(Typed("qa"), 3, 7);
  *request_.add_slices() = Equals("task.type", "qa");
  *request_.add_slices() = Equals("task.type", "none");
  const auto response = Count();
  for (const v1::SliceMetrics& slice : response.slices()) {
    EXPECT_FALSE(slice.difference().defined());
    EXPECT_EQ(slice.difference().p_value(), 1);
    EXPECT_EQ(slice.difference().adjusted_p_value(), 1);
  }
  EXPECT_EQ(response.slices(1).failures().runs(), 0);
}

TEST_F(SliceCounterTest, ManySlicesAreAdjustedForBeingMany) {
  // Outcomes that depend on nothing, by thirty values.
  base::Random random(5);
  for (int i = 0; i < 6000; ++i) {
    Add(Typed(absl::StrCat("t", random.Below(30))),
        random.Bernoulli(.3) ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
  }
  request_.add_group_by("task.type");
  request_.set_max_values(30);
  const auto response = Count();
  ASSERT_EQ(response.slices_size(), 30);
  std::vector<double> p_values;
  double least = 1;
  for (const v1::SliceMetrics& slice : response.slices()) {
    p_values.push_back(slice.difference().p_value());
    least = std::min(least, slice.difference().p_value());
    EXPECT_GT(slice.difference().adjusted_p_value(), .05);
  }
  EXPECT_LT(least, .05);  // there is something to adjust
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(p_values);
  for (int s = 0; s < 30; ++s) {
    EXPECT_NEAR(response.slices(s).difference().adjusted_p_value(), adjusted[s],
                1e-12);
  }
}

TEST_F(SliceCounterTest, ValuesComeMostFrequentFirstAndTheRestIsCounted) {
  Add(Typed("a"), 1, 1);
  Add(Typed("b"), 4, 1);
  Add(Typed("c"), 0, 3);
  Add(Typed("d"), 1, 0);
  Add(v1::Trace(), 2, 2);
  Add(Typed(std::string(300, 'x')), 1, 0);
  request_.add_group_by("task.type");
  request_.set_max_values(2);
  const auto response = Count();
  ASSERT_EQ(response.slices_size(), 2);
  EXPECT_EQ(response.slices(0).predicate().comparison().text(), "b");
  EXPECT_EQ(response.slices(0).field(), "task.type");
  EXPECT_EQ(response.slices(1).predicate().comparison().text(), "c");
  const v1::GroupedField& field = response.fields(0);
  EXPECT_EQ(field.values(), 5);
  EXPECT_EQ(field.values_left_out(), 3);
  EXPECT_EQ(field.runs_left_out(), 4);  // a, a, d and the long one
  EXPECT_EQ(field.runs_without(), 4);
}

TEST_F(SliceCounterTest, NumbersArePartedAtTheirQuartiles) {
  for (int size = 0; size < 100; ++size) {
    v1::Trace trace;
    trace.mutable_memory()->set_size(size);
    trace.mutable_memory()->set_snapshot_id("s");
    Add(trace, size >= 75 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
  }
  request_.add_group_by("memory.size");
  const auto response = Count();
  ASSERT_EQ(response.slices_size(), 4);
  uint64_t runs = 0;
  for (const v1::SliceMetrics& slice : response.slices()) {
    runs += slice.failures().runs();
    EXPECT_NEAR(slice.failures().runs(), 25, 1);
  }
  EXPECT_EQ(runs, 100);
  EXPECT_EQ(response.slices(0).failures().failures(), 0);
  EXPECT_GT(response.slices(3).failures().rate(), .95);
  // The predicate is that of the counted runs.
  for (const v1::SliceMetrics& slice : response.slices()) {
    const auto predicate =
        policy::CompiledPredicate::Compile(slice.predicate());
    ASSERT_OK(predicate);
    uint64_t matching = 0;
    for (const v1::Trace& trace : traces_) {
      matching += predicate->Matches(trace) ? 1 : 0;
    }
    EXPECT_EQ(matching, slice.failures().runs()) << slice.text();
  }
}

TEST_F(SliceCounterTest, ANumberThatIsAlwaysTheSameIsOneSlice) {
  v1::Trace trace;
  trace.add_steps();
  Add(trace, 2, 2);
  request_.add_group_by("steps");
  const auto response = Count();
  ASSERT_EQ(response.slices_size(), 1);
  EXPECT_EQ(response.slices(0).failures().runs(), 4);
}

TEST_F(SliceCounterTest, OnlyRunsThatAreAskedForAreLookedAt) {
  for (int second = 0; second < 10; ++second) {
    v1::Trace trace = Typed(second % 2 == 0 ? "qa" : "sum");
    trace.mutable_start_time()->set_seconds(1000 + second);
    Add(trace, v1::OUTCOME_FAIL);
  }
  *request_.add_slices() = Equals("task.type", "qa");
  request_.mutable_start_time()->set_seconds(1002);
  request_.mutable_end_time()->set_seconds(1006);
  EXPECT_EQ(Count().stretch().runs(), 4);
  *request_.mutable_within() = Equals("task.type", "qa");
  EXPECT_EQ(Count().stretch().runs(), 2);
}

TEST_F(SliceCounterTest, ARowThatComesAgainIsCountedOnce) {
  *request_.add_slices() = Equals("task.type", "qa");
  const auto counter = *SliceCounter::Create(request_, "");
  counter->Add(0, Typed("qa"));
  counter->Add(0, Typed("sum"));
  const std::vector<v1::Outcome> outcomes = {v1::OUTCOME_FAIL};
  const auto response = counter->Count(outcomes);
  EXPECT_EQ(response.aggregate().runs(), 1);
  EXPECT_EQ(response.slices(0).failures().runs(), 0);
}

TEST_F(SliceCounterTest, SplitsByPolicyVersionLatestFirst) {
  for (const uint64_t version : {2, 0, 7}) {
    v1::Trace trace = Typed("qa");
    trace.mutable_exposure()->set_policy_version(version);
    Add(trace, version == 7 ? 1 : 3, 2);
  }
  *request_.add_slices() = Equals("task.type", "qa");
  request_.set_split(GetSliceMetricsRequest::SPLIT_POLICY_VERSION);
  const auto response = Count();
  std::vector<uint64_t> versions;
  for (const v1::SlicePart& part : response.slices(0).parts()) {
    versions.push_back(part.policy_version());
  }
  EXPECT_THAT(versions, ElementsAre(7, 2, 0));
  EXPECT_EQ(response.aggregate_parts(0).failures().failures(), 1);
  EXPECT_EQ(response.aggregate_parts(1).failures().runs(), 5);
}

TEST_F(SliceCounterTest, SplitsByArmAndComparesTheArms) {
  const auto carrying = [](const std::string& type, v1::Arm arm) {
    v1::Trace trace = Typed(type);
    auto* exposure = trace.mutable_exposure()->add_interventions();
    exposure->set_intervention_id("iv");
    exposure->set_arm(arm);
    return trace;
  };
  Add(carrying("qa", v1::ARM_TREATMENT), 10, 90);
  Add(carrying("qa", v1::ARM_HOLDOUT), 60, 40);
  Add(carrying("sum", v1::ARM_TREATMENT), 20, 30);
  Add(carrying("sum", v1::ARM_HOLDOUT), 20, 30);
  Add(Typed("qa"), 1, 1);
  request_.add_group_by("task.type");
  request_.set_split(GetSliceMetricsRequest::SPLIT_ARM);
  const auto response = Count("iv");
  ASSERT_EQ(response.slices_size(), 2);
  const v1::SliceMetrics& qa = response.slices(0);
  ASSERT_EQ(qa.parts_size(), 3);
  EXPECT_EQ(qa.parts(0).arm(), v1::ARM_UNSPECIFIED);
  EXPECT_EQ(qa.parts(0).failures().runs(), 2);
  EXPECT_EQ(qa.parts(1).arm(), v1::ARM_TREATMENT);
  EXPECT_NEAR(qa.treatment().value(), -.5, 1e-12);
  EXPECT_LT(qa.treatment().adjusted_p_value(), 1e-6);
  EXPECT_NEAR(response.slices(1).treatment().value(), 0, 1e-12);
  EXPECT_GT(response.slices(1).treatment().adjusted_p_value(), .5);
  EXPECT_NEAR(response.aggregate_treatment().value(), 30. / 150 - 80. / 150,
              1e-12);
}

TEST_F(SliceCounterTest, RefusalsNameTheFieldAndTheLimit) {
  EXPECT_EQ(Refused(), "slices");  // nothing is asked
  request_.add_group_by("task.typo");
  EXPECT_THAT(Refused(), HasSubstr("group_by[0]"));
  request_.clear_group_by();
  *request_.add_slices() = Equals("task.type", "qa");
  *request_.add_slices() = Equals("system.modle", "x");
  EXPECT_THAT(Refused(), HasSubstr("slices[1]"));
  request_.mutable_slices()->RemoveLast();
  *request_.mutable_within() = Equals("outcome", "fail");
  EXPECT_THAT(Refused(), HasSubstr("within"));
  request_.clear_within();
  request_.set_max_values(201);
  EXPECT_EQ(Refused(), "max_values");
  request_.clear_max_values();
  EXPECT_EQ(Refused("iv"), "intervention");
  request_.set_split(GetSliceMetricsRequest::SPLIT_ARM);
  EXPECT_EQ(Refused(), "intervention");
  request_.clear_split();
  for (int i = 0; i < kMaxSlices; ++i) {
    *request_.add_slices() = Equals("task.type", "qa");
  }
  EXPECT_EQ(Refused(), "slices");
}

}  // namespace
}  // namespace faultline::evaluate
