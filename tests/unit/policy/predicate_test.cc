#include "lib/policy/predicate.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace faultline::policy {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

v1::Predicate Parse(const std::string& text) {
  v1::Predicate predicate;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &predicate));
  return predicate;
}

v1::Trace ExampleTrace() {
  v1::Trace trace;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(task {
             type: "qa"
             input: "Is it NOT so, or don't we know?"
             labels { key: "region" value: "eu" }
           }
           system { model: "small" }
           memory { size: 12 }
           evaluation { signals { key: "confidence" value: 0.25 } }
      )pb",
      &trace));
  return trace;
}

bool Matches(const std::string& text) {
  auto predicate = CompiledPredicate::Compile(Parse(text));
  EXPECT_OK(predicate) << text;
  return predicate.ok() && predicate->Matches(ExampleTrace());
}

std::string Compare(const std::string& rest) {
  return "comparison { " + rest + " }";
}

TEST(CompiledPredicate, EqualComparesText) {
  EXPECT_TRUE(
      Matches(Compare("field: 'task.type' op: OPERATOR_EQUAL text: 'qa'")));
  EXPECT_FALSE(
      Matches(Compare("field: 'task.type' op: OPERATOR_EQUAL text: 'q'")));
  EXPECT_TRUE(Matches(
      Compare("field: 'task.labels.region' op: OPERATOR_EQUAL text: 'eu'")));
}

TEST(CompiledPredicate, NotEqualNeedsThePresentField) {
  EXPECT_TRUE(
      Matches(Compare("field: 'task.type' op: OPERATOR_NOT_EQUAL text: 'x'")));
  EXPECT_FALSE(
      Matches(Compare("field: 'task.type' op: OPERATOR_NOT_EQUAL text: 'qa'")));
  EXPECT_FALSE(Matches(
      Compare("field: 'task.labels.none' op: OPERATOR_NOT_EQUAL text: 'x'")));
}

TEST(CompiledPredicate, InFindsOneOfTheValuesInAnyOrder) {
  EXPECT_TRUE(Matches(
      Compare("field: 'task.type' op: OPERATOR_IN values: ['z', 'qa', 'a']")));
  EXPECT_FALSE(
      Matches(Compare("field: 'task.type' op: OPERATOR_IN values: ['z']")));
  EXPECT_FALSE(Matches(Compare("field: 'task.type' op: OPERATOR_IN")));
}

TEST(CompiledPredicate, NumbersAreHalfOpen) {
  const std::string field = "field: 'signals.confidence' ";
  EXPECT_TRUE(Matches(Compare(field + "op: OPERATOR_AT_LEAST number: 0.25")));
  EXPECT_FALSE(Matches(Compare(field + "op: OPERATOR_AT_LEAST number: 0.26")));
  EXPECT_FALSE(Matches(Compare(field + "op: OPERATOR_BELOW number: 0.25")));
  EXPECT_TRUE(Matches(Compare(field + "op: OPERATOR_BELOW number: 0.26")));
}

TEST(CompiledPredicate, AFieldOfTheOtherTypeIsOnlyEverUnequal) {
  EXPECT_FALSE(
      Matches(Compare("field: 'memory.size' op: OPERATOR_EQUAL text: '12'")));
  EXPECT_TRUE(Matches(
      Compare("field: 'memory.size' op: OPERATOR_NOT_EQUAL text: '12'")));
  EXPECT_FALSE(
      Matches(Compare("field: 'task.type' op: OPERATOR_AT_LEAST number: 0")));
  EXPECT_FALSE(
      Matches(Compare("field: 'task.type' op: OPERATOR_BELOW number: 0")));
}

TEST(CompiledPredicate, HasWordTakesWholeWordsLetterCaseAside) {
  const std::string field = "field: 'task.input' op: OPERATOR_HAS_WORD text: ";
  EXPECT_TRUE(Matches(Compare(field + "'not'")));
  EXPECT_TRUE(Matches(Compare(field + "'NOT'")));
  EXPECT_TRUE(Matches(Compare(field + "\"don't\"")));
  EXPECT_FALSE(Matches(Compare(field + "'no'")));
  EXPECT_FALSE(Matches(Compare(field + "'don'")));
}

TEST(CompiledPredicate, PresenceAndAbsence) {
  EXPECT_TRUE(Matches(Compare("field: 'task.type' op: OPERATOR_PRESENT")));
  EXPECT_FALSE(Matches(Compare("field: 'task.id' op: OPERATOR_PRESENT")));
  EXPECT_TRUE(Matches(Compare("field: 'task.id' op: OPERATOR_ABSENT")));
  EXPECT_FALSE(Matches(Compare("field: 'memory.size' op: OPERATOR_ABSENT")));
}

TEST(CompiledPredicate, ListsAndNotCombine) {
  const std::string yes = Compare("field: 'task.type' op: OPERATOR_PRESENT");
  const std::string no = Compare("field: 'task.type' op: OPERATOR_ABSENT");
  const auto list = [](const std::string& kind, const std::string& a,
                       const std::string& b) {
    return kind + " { predicates { " + a + " } predicates { " + b + " } }";
  };
  EXPECT_TRUE(Matches(list("all", yes, yes)));
  EXPECT_FALSE(Matches(list("all", yes, no)));
  EXPECT_TRUE(Matches(list("any", no, yes)));
  EXPECT_FALSE(Matches(list("any", no, no)));
  EXPECT_TRUE(Matches("not { " + list("any", no, no) + " }"));
  EXPECT_TRUE(Matches(list("all", list("any", no, yes), "not { " + no + " }")));
}

TEST(CompiledPredicate, EmptyAllHoldsAndEmptyAnyOrNothingFails) {
  EXPECT_TRUE(Matches("all {}"));
  EXPECT_FALSE(Matches("any {}"));
  EXPECT_FALSE(Matches(""));
}

TEST(CompiledPredicate, NamesTheUnknownOperator) {
  v1::Predicate predicate = Parse(Compare("field: 'task.type'"));
  EXPECT_THAT(CompiledPredicate::Compile(predicate),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("comparison.op: is 0")));
  predicate.mutable_comparison()->set_op(
      static_cast<v1::Comparison::Operator>(99));
  EXPECT_THAT(CompiledPredicate::Compile(predicate),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("comparison.op: is 99")));
}

TEST(CompiledPredicate, NamesTheUnknownPath) {
  EXPECT_THAT(
      CompiledPredicate::Compile(
          Parse(Compare("field: 'task.color' op: OPERATOR_PRESENT"))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("task.color")));
}

TEST(CompiledPredicate, RefusesAnExpressionOfALaterVersionEvenUnderNot) {
  v1::Predicate predicate;
  predicate.mutable_not_()
      ->GetReflection()
      ->MutableUnknownFields(predicate.mutable_not_())
      ->AddVarint(17, 1);
  EXPECT_THAT(CompiledPredicate::Compile(predicate),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not known to this version")));
}

TEST(CompiledPredicate, EightLevelsAreTheLimit) {
  v1::Predicate predicate =
      Parse(Compare("field: 'task.type' op: OPERATOR_PRESENT"));
  for (int depth = 2; depth <= 8; ++depth) {
    v1::Predicate outer;
    *outer.mutable_not_() = predicate;
    predicate = outer;
  }
  EXPECT_OK(CompiledPredicate::Compile(predicate));
  v1::Predicate outer;
  *outer.mutable_not_() = predicate;
  EXPECT_THAT(
      CompiledPredicate::Compile(outer),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("8 levels")));
}

TEST(CompiledPredicate, SixtyFourComparisonsInAllAreTheLimit) {
  v1::Predicate predicate;
  for (int i = 0; i < 2; ++i) {
    v1::PredicateList* const list =
        predicate.mutable_all()->add_predicates()->mutable_any();
    for (int j = 0; j < 32; ++j) {
      *list->add_predicates() =
          Parse(Compare("field: 'task.type' op: OPERATOR_PRESENT"));
    }
  }
  EXPECT_OK(CompiledPredicate::Compile(predicate));
  *predicate.mutable_all()->add_predicates() =
      Parse(Compare("field: 'task.type' op: OPERATOR_PRESENT"));
  EXPECT_THAT(CompiledPredicate::Compile(predicate),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("64 comparisons")));
}

TEST(CompiledPredicate, RefusesOperandsThatCannotBeMeant) {
  EXPECT_THAT(
      CompiledPredicate::Compile(Parse(Compare(
          "field: 'task.input' op: OPERATOR_HAS_WORD text: 'two words'"))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one word")));
  EXPECT_THAT(
      CompiledPredicate::Compile(Parse(
          Compare("field: 'memory.size' op: OPERATOR_BELOW number: inf"))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("finite")));
  EXPECT_THAT(CompiledPredicate::Compile(Parse(
                  Compare("field: 'task.type' op: OPERATOR_EQUAL text: '" +
                          std::string(257, 'x') + "'"))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 256 bytes")));
}

TEST(PredicateSet, PredicatesThatShareFieldsAndWordsStaySeparate) {
  PredicateSet set;
  const auto word = [](const std::string& text) {
    return Parse(Compare("field: 'task.input' op: OPERATOR_HAS_WORD text: '" +
                         text + "'"));
  };
  ASSERT_OK_AND_ASSIGN(const int has_not, set.Add(word("not")));
  ASSERT_OK_AND_ASSIGN(const int has_never, set.Add(word("never")));
  EXPECT_FALSE(set.Add(Parse("not { comparison {} }")).ok());
  ASSERT_OK_AND_ASSIGN(const int has_we, set.Add(word("we")));
  const v1::Trace trace = ExampleTrace();
  PredicateSet::Reader reader(set, trace);
  EXPECT_TRUE(reader.Matches(has_not));
  EXPECT_FALSE(reader.Matches(has_never));
  EXPECT_TRUE(reader.Matches(has_we));
}

TEST(PredicateText, ReadsLikeASentence) {
  EXPECT_EQ(
      PredicateText(Parse(
          R"pb(all {
                 predicates {
                   comparison {
                     field: "task.type"
                     op: OPERATOR_EQUAL
                     text: "qa"
                   }
                 }
                 predicates {
                   not {
                     comparison {
                       field: "task.input"
                       op: OPERATOR_HAS_WORD
                       text: "not"
                     }
                   }
                 }
                 predicates {
                   any {
                     predicates {
                       comparison {
                         field: "signals.confidence"
                         op: OPERATOR_BELOW
                         number: 0.3
                       }
                     }
                     predicates {
                       comparison {
                         field: "system.model"
                         op: OPERATOR_IN
                         values: "a"
                         values: "b\"c"
                       }
                     }
                   }
                 }
               })pb")),
      "task.type = \"qa\" and not (task.input has word \"not\") and "
      "(signals.confidence < 0.3 or system.model in (\"a\", \"b\\\"c\"))");
}

TEST(PredicateText, NamesTheEdges) {
  EXPECT_EQ(PredicateText(Parse("")), "nothing");
  EXPECT_EQ(PredicateText(Parse("all {}")), "everything");
  EXPECT_EQ(PredicateText(Parse("any {}")), "nothing");
  EXPECT_EQ(PredicateText(Parse(Compare(
                "field: 'memory.size' op: OPERATOR_AT_LEAST number: 1000"))),
            "memory.size >= 1000");
  EXPECT_EQ(
      PredicateText(Parse(Compare("field: 'task.id' op: OPERATOR_PRESENT"))),
      "task.id is present");
}

}  // namespace
}  // namespace faultline::policy
