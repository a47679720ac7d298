#include "lib/space/vector_space.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/space/planted_points.h"

namespace faultline::space {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kD = 16;

std::vector<uint64_t> Ids(uint64_t first, size_t count) {
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

std::unique_ptr<VectorSpace> MakeSpace(const VectorSpace::Options& options) {
  auto space = VectorSpace::Create(options);
  EXPECT_OK(space);
  return *std::move(space);
}

std::vector<uint64_t> IdsOf(const std::vector<Neighbor>& neighbors) {
  std::vector<uint64_t> ids;
  ids.reserve(neighbors.size());
  for (const Neighbor& neighbor : neighbors) ids.push_back(neighbor.id);
  return ids;
}

std::string Save(const VectorSpace& space) {
  std::string bytes;
  EXPECT_OK(space.Freeze()->Save([&](absl::string_view part) {
    bytes.append(part.data(), part.size());
    return absl::OkStatus();
  }));
  return bytes;
}

absl::StatusOr<std::unique_ptr<VectorSpace>> Load(
    const VectorSpace::Options& options, absl::string_view bytes) {
  return VectorSpace::Load(options, [&](absl::Span<char> part) {
    if (part.size() > bytes.size()) return absl::OutOfRangeError("the end");
    bytes.copy(part.data(), part.size());
    bytes.remove_prefix(part.size());
    return absl::OkStatus();
  });
}

// What every space does, exact or not. The parameter is the exact limit.
class VectorSpaceTest : public ::testing::TestWithParam<size_t> {
 protected:
  VectorSpaceTest()
      : options_{.dimension = kD, .exact_limit = GetParam()},
        space_(MakeSpace(options_)),
        points_(PlantedPoints(400, kD, 5, 1)) {
    EXPECT_OK(space_->Add(Ids(1000, 400), points_));
  }

  absl::Span<const float> Point(size_t row) const {
    return absl::MakeConstSpan(points_).subspan(row * kD, kD);
  }

  const VectorSpace::Options options_;
  std::unique_ptr<VectorSpace> space_;
  const std::vector<float> points_;
};

TEST_P(VectorSpaceTest, FindsEveryPointAtItsOwnPlace) {
  EXPECT_EQ(space_->size(), 400);
  EXPECT_EQ(space_->dimension(), kD);
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search(points_, 1));
  ASSERT_THAT(found, SizeIs(400));
  for (size_t i = 0; i < 400; ++i) {
    ASSERT_THAT(found[i], SizeIs(1));
    EXPECT_EQ(found[i][0].id, 1000 + i);
    EXPECT_NEAR(found[i][0].distance, 0, 1e-4);
  }
}

TEST_P(VectorSpaceTest, NeighborsComeNearestFirst) {
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search(Point(3), 20));
  ASSERT_THAT(found[0], SizeIs(20));
  for (size_t j = 0; j < 20; ++j) {
    const Neighbor& neighbor = found[0][j];
    EXPECT_NEAR(
        neighbor.distance,
        SquaredDistance(Point(3).data(), Point(neighbor.id - 1000).data(), kD),
        1e-3);
    if (j > 0) {
      EXPECT_GE(neighbor.distance, found[0][j - 1].distance);
    }
  }
}

TEST_P(VectorSpaceTest, EqualDistancesTieById) {
  std::vector<float> copies;
  for (int i = 0; i < 3; ++i) {
    copies.insert(copies.end(), Point(7).begin(), Point(7).end());
  }
  ASSERT_OK(space_->Add({30, 10, 20}, copies));
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search(Point(7), 4));
  EXPECT_THAT(IdsOf(found[0]), ElementsAre(10, 20, 30, 1007));
}

TEST_P(VectorSpaceTest, EveryIdButTheGreatestIsPossible) {
  constexpr uint64_t kGreatest = std::numeric_limits<uint64_t>::max();
  constexpr uint64_t kHalf = uint64_t{1} << 63;
  std::vector<float> vectors(2 * kD, 50.0f);
  vectors[0] = 51;
  EXPECT_THAT(space_->Add({kHalf, kGreatest}, vectors),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("ids: has a greater one")));
  ASSERT_OK(space_->Add({kGreatest - 1, kHalf}, vectors));
  ASSERT_OK_AND_ASSIGN(
      const auto found,
      space_->Search(absl::MakeConstSpan(vectors).subspan(0, kD), 2));
  EXPECT_THAT(IdsOf(found[0]), ElementsAre(kGreatest - 1, kHalf));
  ASSERT_OK_AND_ASSIGN(const size_t removed, space_->Remove({kGreatest - 1}));
  EXPECT_EQ(removed, 1);
}

TEST_P(VectorSpaceTest, RemovedPointsAreGone) {
  ASSERT_OK_AND_ASSIGN(const size_t removed,
                       space_->Remove({1005, 1390, 77, 1005}));
  EXPECT_EQ(removed, 2);
  EXPECT_EQ(space_->size(), 398);
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search(Point(5), 1));
  EXPECT_NE(found[0][0].id, 1005);
  for (const size_t row : {0, 4, 6, 389, 391, 399}) {
    ASSERT_OK_AND_ASSIGN(const auto self, space_->Search(Point(row), 1));
    EXPECT_EQ(self[0][0].id, 1000 + row);
  }
  ASSERT_OK(space_->Add({1005}, Point(5)));
  ASSERT_OK_AND_ASSIGN(const auto again, space_->Search(Point(5), 1));
  EXPECT_EQ(again[0][0].id, 1005);
}

TEST_P(VectorSpaceTest, SnapshotAscendsAndStaysAsItWas) {
  ASSERT_OK(space_->Add({3}, Point(0)));
  ASSERT_OK_AND_ASSIGN(const auto snapshot, space_->TakeSnapshot());
  ASSERT_OK(space_->Remove(Ids(1000, 400)));
  EXPECT_EQ(space_->size(), 1);
  ASSERT_THAT(snapshot.ids, SizeIs(401));
  EXPECT_TRUE(std::is_sorted(snapshot.ids.begin(), snapshot.ids.end()));
  EXPECT_EQ(snapshot.ids[0], 3);
  const auto vectors = absl::MakeConstSpan(snapshot.vectors);
  EXPECT_EQ(vectors.subspan(0, kD), Point(0));
  EXPECT_EQ(vectors.subspan(kD), absl::MakeConstSpan(points_));
}

TEST_P(VectorSpaceTest, ComesBackAsItWasSaved) {
  ASSERT_OK(space_->Remove({1007}));
  const std::string saved = Save(*space_);
  ASSERT_OK_AND_ASSIGN(const auto loaded, Load(options_, saved));
  EXPECT_EQ(loaded->size(), 399);
  EXPECT_EQ(Save(*loaded), saved);
  ASSERT_OK_AND_ASSIGN(const auto before, space_->Search(points_, 5));
  ASSERT_OK_AND_ASSIGN(const auto after, loaded->Search(points_, 5));
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(IdsOf(after[i]), IdsOf(before[i]));
  }
  // It goes on from there.
  EXPECT_THAT(loaded->Add({1399}, Point(0)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("1399")));
  ASSERT_OK(loaded->Add({1007}, Point(7)));
  ASSERT_OK_AND_ASSIGN(const auto again, loaded->Search(Point(7), 1));
  EXPECT_EQ(again[0][0].id, 1007);
}

TEST_P(VectorSpaceTest, WhatIsFrozenStaysWhileTheSpaceGoesOn) {
  const std::string before = Save(*space_);
  const auto frozen = space_->Freeze();
  ASSERT_OK(space_->Remove(Ids(1100, 150)));
  ASSERT_OK(space_->Add(Ids(5000, 300), PlantedPoints(300, kD, 5, 9)));
  ASSERT_OK(space_->Remove(Ids(1300, 50)));
  std::string bytes;
  ASSERT_OK(frozen->Save([&](absl::string_view part) {
    bytes.append(part.data(), part.size());
    return absl::OkStatus();
  }));
  EXPECT_EQ(bytes, before);
}

TEST_P(VectorSpaceTest, RefusesToLoadLessThanASpace) {
  const std::string saved = Save(*space_);
  for (size_t size = 0; size < saved.size();
       size += 1 + size / 64 * 61) {  // every header, some of the body
    EXPECT_FALSE(Load(options_, saved.substr(0, size)).ok()) << size;
  }
}

TEST_P(VectorSpaceTest, AsksForMoreThanThereIs) {
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search(Point(0), 5000));
  EXPECT_THAT(found[0], SizeIs(::testing::Le(400)));
  EXPECT_FALSE(found[0].empty());
}

TEST_P(VectorSpaceTest, RefusedAddChangesNothing) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(space_->Add({1, 2}, Point(0)),
              StatusIs(kInvalid, HasSubstr("vectors: has 16 numbers")));
  std::vector<float> broken(2 * kD, 0);
  broken[kD + 2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(space_->Add({1, 2}, broken),
              StatusIs(kInvalid, HasSubstr("vectors[1]")));
  constexpr auto kPresent = absl::StatusCode::kAlreadyExists;
  const std::vector<float> pair(2 * kD, 0);
  EXPECT_THAT(space_->Add({1, 1399}, pair),
              StatusIs(kPresent, HasSubstr("1399")));
  EXPECT_THAT(space_->Add({1, 1}, pair), StatusIs(kPresent, HasSubstr("1")));
  EXPECT_EQ(space_->size(), 400);
  ASSERT_OK_AND_ASSIGN(const auto snapshot, space_->TakeSnapshot());
  EXPECT_EQ(snapshot.ids, Ids(1000, 400));
}

TEST_P(VectorSpaceTest, RefusesBadQueries) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const std::vector<float> odd(kD + 1, 0);
  EXPECT_THAT(space_->Search(odd, 1),
              StatusIs(kInvalid, HasSubstr("queries: has 17")));
  EXPECT_THAT(space_->Search(Point(0), 0),
              StatusIs(kInvalid, HasSubstr("k: is 0")));
  const std::vector<float> broken(kD, std::numeric_limits<float>::infinity());
  EXPECT_THAT(space_->Search(broken, 1),
              StatusIs(kInvalid, HasSubstr("queries[0]")));
}

TEST_P(VectorSpaceTest, EmptyCallsAreFine) {
  EXPECT_OK(space_->Add({}, {}));
  ASSERT_OK_AND_ASSIGN(const auto found, space_->Search({}, 3));
  EXPECT_THAT(found, IsEmpty());
  ASSERT_OK(space_->Remove(Ids(1000, 400)));
  ASSERT_OK_AND_ASSIGN(const auto nothing, space_->Search(Point(0), 3));
  EXPECT_THAT(nothing, ElementsAre(IsEmpty()));
}

TEST_P(VectorSpaceTest, SearchesRunBesideChanges) {
  std::thread writer([&] {
    for (uint64_t i = 0; i < 20; ++i) {
      EXPECT_OK(space_->Add(Ids(10000 + 100 * i, 100),
                            PlantedPoints(100, kD, 5, 10 + i)));
      EXPECT_OK(space_->Remove(Ids(10000 + 100 * i, 30)));
    }
  });
  for (int i = 0; i < 50; ++i) {
    const auto found = space_->Search(Point(i), 3);
    ASSERT_OK(found);
    EXPECT_EQ((*found)[0][0].id, 1000 + i);
    EXPECT_OK(space_->TakeSnapshot());
  }
  writer.join();
  EXPECT_EQ(space_->size(), 400 + 20 * 70);
}

INSTANTIATE_TEST_SUITE_P(Exact, VectorSpaceTest, ::testing::Values(100000));
INSTANTIATE_TEST_SUITE_P(InvertedFile, VectorSpaceTest, ::testing::Values(50));
INSTANTIATE_TEST_SUITE_P(Growing, VectorSpaceTest, ::testing::Values(401));

TEST(VectorSpaceRecallTest, InvertedFileFindsNineOfTen) {
  constexpr size_t kPoints = 25000;
  constexpr int kLength = 64;
  const std::vector<float> points = PlantedPoints(kPoints, kLength, 100, 1);
  const auto space = MakeSpace({.dimension = kLength, .exact_limit = 5000});
  // Trained at 10000 points; grows by batches.
  for (size_t at = 0; at < kPoints; at += 5000) {
    ASSERT_OK(space->Add(Ids(at, 5000), absl::MakeConstSpan(points).subspan(
                                            at * kLength, 5000 * kLength)));
  }
  size_t found = 0;
  const auto queries = absl::MakeConstSpan(points).subspan(0, 100 * kLength);
  ASSERT_OK_AND_ASSIGN(const auto results, space->Search(queries, 10));
  for (size_t i = 0; i < 100; ++i) {
    const auto ids = IdsOf(results[i]);
    for (const auto& [distance, row] :
         BruteForce(points, &points[i * kLength], kLength, 10, -1)) {
      found += std::count(ids.begin(), ids.end(), row);
    }
  }
  EXPECT_GE(found, 900);
}

TEST(VectorSpaceRecallTest, QuantizedPointsAreFoundNearTheirPlace) {
  constexpr size_t kPoints = 6000;
  constexpr int kLength = 256;
  const std::vector<float> points = PlantedPoints(kPoints, kLength, 100, 3);
  const auto queries = absl::MakeConstSpan(points).subspan(0, 100 * kLength);
  for (const auto& [quantization, wanted] :
       {std::pair(Quantization::kFp16, 0.99),
        std::pair(Quantization::kInt8, 0.95)}) {
    const VectorSpace::Options options = {.dimension = kLength,
                                          .exact_limit = 1000,
                                          .probes = 32,
                                          .quantization = quantization};
    const auto space = MakeSpace(options);
    for (size_t at = 0; at < kPoints; at += 1500) {
      ASSERT_OK(space->Add(Ids(at, 1500), absl::MakeConstSpan(points).subspan(
                                              at * kLength, 1500 * kLength)));
    }
    ASSERT_OK_AND_ASSIGN(const auto results, space->Search(queries, 10));
    size_t found = 0;
    for (size_t i = 0; i < 100; ++i) {
      const auto ids = IdsOf(results[i]);
      for (const auto& [distance, row] :
           BruteForce(points, &points[i * kLength], kLength, 10, -1)) {
        found += std::count(ids.begin(), ids.end(), row);
      }
    }
    EXPECT_GE(static_cast<double>(found), 1000 * wanted)
        << static_cast<int>(quantization);
    ASSERT_OK_AND_ASSIGN(const auto loaded, Load(options, Save(*space)));
    EXPECT_EQ(Save(*loaded), Save(*space));
    EXPECT_THAT(Load({.dimension = kLength}, Save(*space)),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("quantization")));
  }
}

TEST(VectorSpaceRecallTest, RetrainsAsPointsGrow) {
  const auto space =
      MakeSpace({.dimension = kD, .exact_limit = 1, .probes = 1});
  const std::vector<float> points = PlantedPoints(3000, kD, 30, 2);
  for (size_t at = 0; at < 3000; at += 100) {
    ASSERT_OK(space->Add(
        Ids(at, 100), absl::MakeConstSpan(points).subspan(at * kD, 100 * kD)));
  }
  ASSERT_OK_AND_ASSIGN(const auto found, space->Search(points, 3000));
  // One list of many: far fewer than all.
  EXPECT_LT(found[0].size(), 600);
  EXPECT_EQ(space->size(), 3000);
}

TEST(VectorSpaceRecallTest, EveryPointIsInTheListNearestToIt) {
  const auto space =
      MakeSpace({.dimension = kD, .exact_limit = 1000, .probes = 1});
  constexpr size_t kPoints = 3000;
  const std::vector<float> points = PlantedPoints(kPoints, kD, 30, 4);
  // Batches of every size: small ones are multiplied in another way.
  for (size_t at = 0, size = 1; at < kPoints; at += size++) {
    size = std::min(size, kPoints - at);
    ASSERT_OK(space->Add(Ids(at, size), absl::MakeConstSpan(points).subspan(
                                            at * kD, size * kD)));
  }
  ASSERT_OK_AND_ASSIGN(const auto found, space->Search(points, 1));
  size_t at_home = 0;
  for (size_t i = 0; i < kPoints; ++i) {
    at_home += !found[i].empty() && found[i][0].id == i;
  }
  // But for one that is as near to another list, to the last bit.
  EXPECT_GE(at_home, kPoints - 3);
}

TEST(VectorSpaceCreateTest, RefusesBadOptions) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(VectorSpace::Create({.dimension = 0}),
              StatusIs(kInvalid, HasSubstr("dimension: is 0 (1 to 4096)")));
  EXPECT_THAT(VectorSpace::Create({.dimension = 4097}),
              StatusIs(kInvalid, HasSubstr("dimension")));
  EXPECT_THAT(VectorSpace::Create({.exact_limit = 0}),
              StatusIs(kInvalid, HasSubstr("exact_limit")));
  EXPECT_THAT(VectorSpace::Create({.probes = 0}),
              StatusIs(kInvalid, HasSubstr("probes")));
}

}  // namespace
}  // namespace faultline::space
