#include "lib/intervene/argument_pattern.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "re2/re2.h"

namespace faultline::intervene {
namespace {

using ::testing::Eq;
using ::testing::Optional;

std::vector<std::string> Make(int n, uint64_t seed,
                              std::string (*make)(base::Random* random)) {
  base::Random random(seed);
  std::vector<std::string> texts;
  texts.reserve(n);
  for (int i = 0; i < n; ++i) texts.push_back(make(&random));
  return texts;
}

std::string Digits(base::Random* random) {
  return absl::StrCat(1000000 + random->Below(9000000));
}

std::string Sum(base::Random* random) {
  const char* signs[] = {" + ", " - ", " * ", " / "};
  std::string text = absl::StrCat(random->Below(99));
  for (uint64_t i = 0; i <= random->Below(4); ++i) {
    absl::StrAppend(&text, signs[random->Below(4)], random->Below(99));
  }
  return random->Bernoulli(.3) ? absl::StrCat("(", text, ")") : text;
}

TEST(ArgumentPatternTest, LearnsThePrefixOfAnOrderId) {
  const auto good = Make(60, 1, [](base::Random* random) {
    return absl::StrCat("#W", Digits(random));
  });
  const auto bad = Make(20, 2, [](base::Random* random) {
    return absl::StrCat("W", Digits(random));
  });
  EXPECT_THAT(DerivePattern(good, bad), Optional(Eq("#W[0-9]+")));
}

TEST(ArgumentPatternTest, LearnsTheAlphabetOfACalculator) {
  const auto bad = Make(30, 4, [](base::Random* random) {
    return absl::StrCat(random->Below(99),
                        random->Bernoulli(.5) ? " percent of " : " times ",
                        random->Below(9), ",000");
  });
  const auto pattern = DerivePattern(Make(200, 3, Sum), bad);
  EXPECT_THAT(pattern, Optional(Eq(R"([0-9 ()*+\-./]+)")));
  EXPECT_TRUE(RE2::FullMatch("12 * (3 - 4)", *pattern));
  EXPECT_FALSE(RE2::FullMatch("1,250 + 3", *pattern));
}

TEST(ArgumentPatternTest, LearnsAShapeWhereTheAlphabetIsTheSame) {
  const auto good = Make(60, 5, [](base::Random* random) {
    return absl::StrCat("anna_", random->Bernoulli(.5) ? "lopez" : "rossi", "_",
                        Digits(random));
  });
  const auto bad = Make(20, 6, [](base::Random* random) {
    return absl::StrCat("anna_", Digits(random), "_lopez");
  });
  const auto pattern = DerivePattern(good, bad);
  ASSERT_TRUE(pattern.has_value());
  EXPECT_TRUE(RE2::FullMatch("anna_smith_77", *pattern)) << *pattern;
}

TEST(ArgumentPatternTest, ForgivesTwoInAHundred) {
  auto good = Make(198, 7, Sum);
  good.push_back("pi");
  good.push_back("e");
  const auto pattern = DerivePattern(
      good,
      Make(20, 8, [](base::Random*) -> std::string { return "half of it"; }));
  ASSERT_TRUE(pattern.has_value());
  EXPECT_FALSE(RE2::FullMatch("pi", *pattern));
}

TEST(ArgumentPatternTest, NoneWhereFormDoesNotTellThemApart) {
  EXPECT_EQ(DerivePattern(Make(100, 9, Digits), Make(50, 10, Digits)),
            std::nullopt);
}

TEST(ArgumentPatternTest, NoneFromTooFew) {
  const auto bad = Make(20, 2, [](base::Random* random) {
    return absl::StrCat("W", Digits(random));
  });
  EXPECT_EQ(DerivePattern(Make(19, 1, Digits), bad), std::nullopt);
  EXPECT_EQ(DerivePattern(Make(60, 1, Digits), {"W1", "W2"}), std::nullopt);
  EXPECT_EQ(DerivePattern({}, {}), std::nullopt);
}

TEST(ArgumentPatternTest, EscapesWhatAClassOrAnIdMayHold) {
  const auto good = Make(60, 11, [](base::Random* random) {
    return absl::StrCat("[x^y]\\-", Digits(random));
  });
  const auto bad = Make(20, 12, [](base::Random* random) {
    return absl::StrCat("{", Digits(random), "}");
  });
  const auto pattern = DerivePattern(good, bad);
  ASSERT_TRUE(pattern.has_value());
  for (const std::string& text : good) {
    EXPECT_TRUE(RE2::FullMatch(text, *pattern)) << *pattern;
  }
}

TEST(ArgumentPatternTest, TakesLettersBeyondAsciiAsOneClass) {
  const auto good = Make(60, 13, [](base::Random* random) -> std::string {
    return random->Bernoulli(.5) ? "größe" : "maß";
  });
  const auto bad = Make(20, 14, Digits);
  const auto pattern = DerivePattern(good, bad);
  ASSERT_TRUE(pattern.has_value());
  EXPECT_TRUE(RE2::FullMatch("süß", *pattern)) << *pattern;
}

}  // namespace
}  // namespace faultline::intervene
