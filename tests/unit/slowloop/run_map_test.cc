#include "lib/slowloop/run_map.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::slowloop {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kDimension = 4;

// Runs with vectors of the test's choice.
class Drawing {
 public:
  explicit Drawing(uint64_t first_sequence = 1) : sequence_(first_sequence) {}

  // A run at (x, y) and a little noise elsewhere. Its id depends on its number
  // of the kind alone.
  void Add(const std::string& kind, int count, bool failed, float x, float y) {
    for (int i = 0; i < count; ++i) {
      embedding::Run run;
      run.trace_id = absl::StrCat(kind, "-", i);
      run.sequence = sequence_++;
      run.outcome = failed ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS;
      runs_.push_back(std::move(run));
      vectors_.push_back({x, y, noise(), noise()});
    }
  }

  v1::RunMap Draw(const std::vector<std::string>& clusters,
                  const v1::RunMap& previous = {}, uint64_t tick = 1) const {
    RunMapInput input;
    std::vector<const embedding::Run*> runs;
    Matrix trajectory{kDimension, {}};
    std::vector<int32_t> rows;
    input.members.resize(clusters.size());
    for (size_t i = 0; i < runs_.size(); ++i) {
      runs.push_back(&runs_[i]);
      trajectory.values.insert(trajectory.values.end(), vectors_[i].begin(),
                               vectors_[i].end());
      rows.push_back(static_cast<int32_t>(i));
      for (size_t c = 0; c < clusters.size(); ++c) {
        if (runs_[i].trace_id.rfind(clusters[c], 0) == 0) {
          input.members[c].push_back(rows.back());
        }
      }
    }
    input.runs = runs;
    input.trajectory = &trajectory;
    input.rows = rows;
    input.previous = &previous;
    input.tick = tick;
    return DrawRuns(input);
  }

  // Position of each drawn run by its id.
  std::map<std::string, std::pair<float, float>> Positions(
      const v1::RunMap& map) const {
    std::map<std::string, std::pair<float, float>> positions;
    for (int i = 0; i < map.sequences_size(); ++i) {
      for (const embedding::Run& run : runs_) {
        if (run.sequence == map.sequences(i)) {
          positions[run.trace_id] = {map.x(i), map.y(i)};
        }
      }
    }
    return positions;
  }

 private:
  float noise() { return static_cast<float>(random_.Uniform()) * .01F; }

  uint64_t sequence_;
  base::Random random_{3};
  std::vector<embedding::Run> runs_;
  std::vector<std::vector<float>> vectors_;
};

TEST(RunMapTest, ClustersLieApartAndEachPointSaysWhatItIs) {
  Drawing world;
  world.Add("left", 50, true, -1, 0);
  world.Add("right", 50, true, 1, 0);
  world.Add("noise", 50, true, 0, .7F);
  world.Add("pass", 50, false, 0, 0);
  const v1::RunMap map = world.Draw({"left", "right"});
  EXPECT_GT(map.shown_scatter(), .99);
  EXPECT_EQ(map.axes_tick(), 1);
  ASSERT_THAT(map.outcomes(), SizeIs(map.sequences_size()));
  const auto positions = world.Positions(map);
  EXPECT_NEAR(positions.at("left-0").first, -1, .05);
  EXPECT_NEAR(positions.at("right-0").first, 1, .05);
  EXPECT_GT(positions.at("noise-0").second - positions.at("pass-0").second, .6);
}

TEST(RunMapTest, ASmallClusterIsDrawnThoughTheSampleIsFull) {
  Drawing world;
  world.Add("large", 3000, true, -1, 0);
  world.Add("small", 20, true, 1, 0);
  world.Add("pass", 3000, false, 0, 1);
  const v1::RunMap map = world.Draw({"large", "small"});
  std::map<std::string, int> drawn;
  for (const auto& [id, position] : world.Positions(map)) {
    ++drawn[id.substr(0, id.find('-'))];
  }
  EXPECT_EQ(drawn["small"], 20);
  EXPECT_EQ(drawn["large"], 1380);
  EXPECT_EQ(drawn["pass"], 600);
}

TEST(RunMapTest, RunsStayWhereTheyWereWhenTheWindowMovesOn) {
  Drawing before;
  before.Add("left", 2000, true, -1, 0);
  before.Add("right", 500, true, 1, .1F);
  before.Add("pass", 900, false, 0, -1);
  const v1::RunMap first = before.Draw({"left", "right"});
  Drawing after = before;
  after.Add("new", 300, true, .8F, .9F);
  const v1::RunMap second = after.Draw({"left", "right", "new"}, first, 2);
  EXPECT_EQ(second.axes_tick(), 1);
  const auto old_positions = before.Positions(first);
  const auto new_positions = after.Positions(second);
  int stayed = 0;
  for (const auto& [id, position] : old_positions) {
    const auto found = new_positions.find(id);
    if (found == new_positions.end()) continue;
    EXPECT_EQ(found->second, position) << id;
    ++stayed;
  }
  EXPECT_GT(stayed, .7 * old_positions.size());
}

TEST(RunMapTest, TheOrderOfTheLogDoesNotMatter) {
  Drawing one;
  Drawing other(100000);
  for (Drawing* world : {&one, &other}) {
    world->Add("left", 2000, true, -1, 0);
    world->Add("pass", 2000, false, 0, -1);
  }
  EXPECT_EQ(one.Positions(one.Draw({"left"})),
            other.Positions(other.Draw({"left"})));
}

TEST(RunMapTest, NothingToDrawKeepsTheAxes) {
  Drawing world;
  world.Add("left", 50, true, -1, 0);
  world.Add("right", 50, true, 1, 0);
  world.Add("pass", 50, false, 0, 1);
  const v1::RunMap map = world.Draw({"left", "right"});
  const v1::RunMap empty = Drawing().Draw({}, map, 2);
  EXPECT_THAT(empty.sequences(), IsEmpty());
  EXPECT_EQ(empty.axes_tick(), 1);
  EXPECT_EQ(empty.x_axis_size(), kDimension);
}

}  // namespace
}  // namespace faultline::slowloop
