#include "lib/diagnose/run_set.h"

#include <set>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::diagnose {
namespace {

TEST(RunSetTest, CountsAsASetOfNumbersDoes) {
  base::Random random(1);
  for (const size_t n : {1, 63, 64, 65, 200}) {
    RunSet a(n);
    RunSet b(n);
    RunSet c(n);
    size_t in_a = 0;
    size_t in_a_b = 0;
    size_t in_all = 0;
    size_t in_either = 0;
    for (size_t i = 0; i < n; ++i) {
      const bool x = random.Bernoulli(.5);
      const bool y = random.Bernoulli(.5);
      const bool z = random.Bernoulli(.5);
      if (x) a.Add(i);
      if (y) b.Add(i);
      if (z) c.Add(i);
      in_a += x ? 1 : 0;
      in_a_b += x && y ? 1 : 0;
      in_all += x && y && z ? 1 : 0;
      in_either += x || y ? 1 : 0;
      EXPECT_EQ(a.Has(i), x);
    }
    EXPECT_EQ(a.Count(), in_a);
    EXPECT_EQ(a.CountBoth(b), in_a_b);
    EXPECT_EQ((a & b).Count(), in_a_b);
    EXPECT_EQ(a.CountAll(b, c), in_all);
    EXPECT_EQ((a | b).Count(), in_either);
    EXPECT_EQ((~a).Count(), n - in_a);
  }
}

TEST(RunSetTest, ComplementOfNothingIsEverythingAndNoMore) {
  EXPECT_EQ(RunSet::All(70).Count(), 70u);
  EXPECT_EQ((~RunSet::All(70)).Count(), 0u);
  EXPECT_EQ(RunSet::All(0).Count(), 0u);
}

}  // namespace
}  // namespace faultline::diagnose
