#include "lib/embedding/whitening.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::embedding {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::FloatNear;

std::vector<float> Applied(const Whitening& whitening,
                           std::vector<float> vector) {
  whitening.Apply(absl::MakeSpan(vector));
  return vector;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// 50 runs at (2, 0, 0) and 50 at (0, 0, 2), in channels of two columns and of
// one: S is diag(4 / 3, 0, 4 / 3), and the ridge 3 (8 / 3) / 3 = 8 / 3.
std::vector<float> TwoPlaces() {
  std::vector<float> reference;
  for (int i = 0; i < 50; ++i) {
    reference.insert(reference.end(), {2, 0, 0, 0, 0, 2});
  }
  return reference;
}

TEST(Whitening, DividesByWhatTheReferenceVariesBy) {
  const Whitening whitening(TwoPlaces(), 3, {{0, 2}, {2, 1}});
  // (1, 1, 0) becomes (1 / sqrt(4), 1 / sqrt(8 / 3), 0), at unit length.
  const double x = std::sqrt(1. / 4), y = std::sqrt(3. / 8);
  const double length = std::sqrt(x * x + y * y);
  EXPECT_THAT(Applied(whitening, {1, 1, 0}),
              ElementsAre(FloatNear(static_cast<float>(x / length), 1e-6F),
                          FloatNear(static_cast<float>(y / length), 1e-6F), 0));
  EXPECT_THAT(Applied(whitening, {0, 0, -5}), ElementsAre(0, 0, -1));
}

// x' (S + 3 m I)^-1 y of a channel of two columns, by the formula for 2 x 2
// matrices, is the inner product of what x and y become.
TEST(Whitening, MakesInnerProductsThoseOfTheInverseMoments) {
  base::Random random(3);
  std::vector<float> reference;
  double a = 0, b = 0, c = 0;
  for (int i = 0; i < 200; ++i) {
    const double shared = random.Normal();
    const double first = shared + .3 * random.Normal();
    const double second = -shared;
    reference.push_back(static_cast<float>(first));
    reference.push_back(static_cast<float>(second));
    a += first * first / 250;
    b += first * second / 250;
    c += second * second / 250;
  }
  const double ridge = 3 * (a + c) / 2;
  a += ridge;
  c += ridge;
  const auto product = [&](double x0, double x1, double y0, double y1) {
    return (x0 * (c * y0 - b * y1) + x1 * (a * y1 - b * y0)) / (a * c - b * b);
  };
  const Whitening whitening(reference, 2, {{0, 2}});
  const std::vector<float> x = Applied(whitening, {.6F, .8F});
  const std::vector<float> y = Applied(whitening, {1, 0});
  EXPECT_NEAR(Dot(x, x), 1, 1e-6);
  EXPECT_NEAR(Dot(x, y),
              product(.6, .8, 1, 0) /
                  std::sqrt(product(.6, .8, .6, .8) * product(1, 0, 1, 0)),
              1e-5);
}

TEST(Whitening, KeepsChannelsApart) {
  // Both columns vary together, but they are of two channels.
  std::vector<float> reference;
  for (int i = 0; i < 100; ++i) reference.insert(reference.end(), {1, 1});
  const Whitening apart(reference, 2, {{0, 1}, {1, 1}});
  EXPECT_THAT(Applied(apart, {1, 0}), ElementsAre(1, 0));
  const Whitening together(reference, 2, {{0, 2}});
  EXPECT_LT(Applied(together, {1, 0})[1], -.1);
}

TEST(Whitening, OfNothingTurnsNoVector) {
  EXPECT_THAT(Applied(Whitening(), {3, 4}), ElementsAre(3, 4));
  EXPECT_THAT(Applied(Whitening({}, 2, {{0, 2}}), {3, 4}),
              ElementsAre(FloatEq(.6), FloatEq(.8)));
  EXPECT_THAT(Applied(Whitening({0, 0, 0, 0}, 2, {{0, 2}}), {3, 4}),
              ElementsAre(FloatEq(.6), FloatEq(.8)));
}

TEST(Whitening, ColumnsOfNoChannelAreLeftOut) {
  EXPECT_THAT(Applied(Whitening({}, 3, {{1, 2}}), {5, 3, 4}),
              ElementsAre(0, FloatEq(.6), FloatEq(.8)));
}

TEST(Whitening, LeavesZeroWhereItIs) {
  EXPECT_THAT(Applied(Whitening(TwoPlaces(), 3, {{0, 2}, {2, 1}}), {0, 0, 0}),
              Each(0));
}

}  // namespace
}  // namespace faultline::embedding
