#include "lib/cluster/duplicates.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FoldDuplicates, NumbersPointsByFirstAppearanceAndZeroLast) {
  const std::vector<float> rows = {0, 0,  //
                                   1, 0,  //
                                   0, 1,  //
                                   1, 0,  //
                                   0, 0,  //
                                   0, 1.000001f};
  const Folding folding = FoldDuplicates(rows, 2);
  EXPECT_THAT(folding.point, ElementsAre(2, 0, 1, 0, 2, 1));
  EXPECT_THAT(folding.first_row, ElementsAre(1, 2, 0));
  EXPECT_EQ(folding.located, 2);
  EXPECT_THAT(folding.vectors, ElementsAre(1, 0, 0, 1));
}

TEST(FoldDuplicates, KeepsApartWhatDiffers) {
  const std::vector<float> rows = {1, 0, .999f, .001f, -1, 0};
  EXPECT_THAT(FoldDuplicates(rows, 2).point, ElementsAre(0, 1, 2));
}

TEST(FoldDuplicates, OfSomeRowsNamesRowsOfTheMatrix) {
  const std::vector<float> rows = {1, 0, 0, 1, 0, 1, 1, 0};
  const Folding folding = FoldDuplicates(rows, 2, {1, 2});
  EXPECT_THAT(folding.point, ElementsAre(0, 0));
  EXPECT_THAT(folding.first_row, ElementsAre(1));
}

TEST(FoldDuplicates, OfNothingIsEmpty) {
  const Folding folding = FoldDuplicates({}, 4);
  EXPECT_THAT(folding.point, IsEmpty());
  EXPECT_EQ(folding.located, 0);
}

}  // namespace
}  // namespace faultline::cluster
