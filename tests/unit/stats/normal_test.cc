#include "lib/stats/normal.h"

#include <limits>

#include "gtest/gtest.h"

namespace faultline::stats {
namespace {

TEST(Normal, AgreesWithTables) {
  EXPECT_NEAR(NormalCdf(0), 0.5, 1e-15);
  EXPECT_NEAR(NormalCdf(1.959963984540054), 0.975, 1e-15);
  EXPECT_NEAR(NormalCdf(-6) / 9.865876450376981e-10, 1, 1e-12);
  EXPECT_NEAR(NormalQuantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_NEAR(NormalQuantile(0.05), -1.6448536269514722, 1e-14);
  EXPECT_NEAR(NormalQuantile(0.5), 0, 1e-15);
}

TEST(Normal, QuantileInvertsCdf) {
  for (double p = 1e-300; p < 0.4; p *= 7) {
    EXPECT_NEAR(NormalCdf(NormalQuantile(p)) / p, 1, 1e-10) << p;
  }
  for (double p = 0.01; p < 1; p += 0.01) {
    EXPECT_NEAR(NormalCdf(NormalQuantile(p)), p, 1e-14);
  }
}

TEST(Normal, QuantileOfTheEndsIsInfinite) {
  EXPECT_EQ(NormalQuantile(0), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(NormalQuantile(1), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace faultline::stats
