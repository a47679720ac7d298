#include "lib/cluster/regroup.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace faultline::cluster {
namespace {

constexpr int kMaxRounds = 50;
// Share of the members within the radius.
constexpr double kRadiusShare = 0.9;

double SquaredDistance(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = double{a[i]} - double{b[i]};
    sum += difference * difference;
  }
  return sum;
}

void AddTo(absl::Span<const float> vector, std::vector<double>* sum) {
  for (size_t i = 0; i < vector.size(); ++i) (*sum)[i] += vector[i];
}

std::vector<float> Divide(const std::vector<double>& sum, size_t count) {
  std::vector<float> mean(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) {
    mean[i] = static_cast<float>(sum[i] / static_cast<double>(count));
  }
  return mean;
}

// Centroid, radius and cohesion of what the group holds now.
void Measure(v1::View view, const FailureViews& views, Group* group) {
  std::vector<double> sum(views.dimension);
  for (const int32_t row : group->members) {
    AddTo(views.VectorOf(view, row), &sum);
  }
  group->centroid = Divide(sum, group->members.size());
  std::vector<double> distances;
  distances.reserve(group->members.size());
  for (const int32_t row : group->members) {
    distances.push_back(
        SquaredDistance(views.VectorOf(view, row), group->centroid));
  }
  const auto place =
      distances.begin() +
      static_cast<int64_t>(kRadiusShare *
                           static_cast<double>(distances.size() - 1));
  std::nth_element(distances.begin(), place, distances.end());
  group->radius = static_cast<float>(std::sqrt(*place));
  group->cohesion =
      std::accumulate(group->strengths.begin(), group->strengths.end(), 0.0F) /
      static_cast<float>(group->strengths.size());
}

// Removes what is not among `rows`, and the strengths of it.
void Keep(const std::vector<int32_t>& rows, std::vector<int32_t>* members,
          std::vector<float>* strengths) {
  size_t kept = 0;
  for (size_t i = 0; i < members->size(); ++i) {
    if (!std::binary_search(rows.begin(), rows.end(), (*members)[i])) continue;
    (*members)[kept] = (*members)[i];
    (*strengths)[kept++] = (*strengths)[i];
  }
  members->resize(kept);
  strengths->resize(kept);
}

void KeepAmong(const std::vector<int32_t>& rows, std::vector<int32_t>* list) {
  list->erase(std::remove_if(list->begin(), list->end(),
                             [&](int32_t row) {
                               return !std::binary_search(rows.begin(),
                                                          rows.end(), row);
                             }),
              list->end());
}

// Members of both with the larger strength, ascending.
void Unite(const std::vector<int32_t>& members,
           const std::vector<float>& strengths, std::vector<int32_t>* into,
           std::vector<float>* into_strengths) {
  std::vector<std::pair<int32_t, float>> all;
  all.reserve(members.size() + into->size());
  for (size_t i = 0; i < into->size(); ++i) {
    all.emplace_back((*into)[i], -(*into_strengths)[i]);
  }
  for (size_t i = 0; i < members.size(); ++i) {
    all.emplace_back(members[i], -strengths[i]);
  }
  std::sort(all.begin(), all.end());
  into->clear();
  into_strengths->clear();
  for (const auto& [row, negative] : all) {
    if (!into->empty() && into->back() == row) continue;
    into->push_back(row);
    into_strengths->push_back(-negative);
  }
}

}  // namespace

Mode TakePart(const Mode& mode, const std::vector<int32_t>& rows,
              const FailureViews& views) {
  Mode part = mode;
  Group& group = part.group;
  Keep(rows, &part.members, &part.strengths);
  Keep(rows, &group.members, &group.strengths);
  if (group.members.empty()) {
    // All of the part comes from the other view.
    if (part.views.size() == 2) std::swap(part.views[0], part.views[1]);
    group.members = part.members;
    group.strengths = part.strengths;
  }
  KeepAmong(rows, &group.exemplars);
  if (!std::binary_search(rows.begin(), rows.end(), group.medoid) ||
      group.exemplars.empty()) {
    const auto strongest =
        std::max_element(group.strengths.begin(), group.strengths.end());
    group.medoid = group.members[strongest - group.strengths.begin()];
    group.exemplars.insert(group.exemplars.begin(), group.medoid);
  }
  group.stability = -1;
  group.agreement = 0;
  group.boundary.clear();
  for (SubMode& sub_mode : group.sub_modes) KeepAmong(rows, &sub_mode.members);
  group.sub_modes.erase(
      std::remove_if(group.sub_modes.begin(), group.sub_modes.end(),
                     [&](const SubMode& sub_mode) {
                       return !std::binary_search(sub_mode.members.begin(),
                                                  sub_mode.members.end(),
                                                  sub_mode.medoid);
                     }),
      group.sub_modes.end());
  if (group.sub_modes.size() < 2) group.sub_modes.clear();
  Measure(part.views.front(), views, &group);
  return part;
}

Mode JoinModes(const std::vector<const Mode*>& modes,
               const FailureViews& views) {
  Mode joined = *modes.front();
  Group& group = joined.group;
  group.sub_modes.clear();
  for (const Mode* mode : modes) {
    group.sub_modes.push_back({mode->members, mode->group.medoid, 0});
    group.stability = std::min(group.stability, mode->group.stability);
    group.agreement = std::min(group.agreement, mode->group.agreement);
    if (mode == modes.front()) continue;
    Unite(mode->members, mode->strengths, &joined.members, &joined.strengths);
    Unite(mode->members, mode->strengths, &group.members, &group.strengths);
    group.boundary.insert(group.boundary.end(), mode->group.boundary.begin(),
                          mode->group.boundary.end());
  }
  std::stable_sort(group.sub_modes.begin(), group.sub_modes.end(),
                   [](const SubMode& a, const SubMode& b) {
                     return a.members.size() > b.members.size();
                   });
  group.boundary.erase(
      std::remove_if(group.boundary.begin(), group.boundary.end(),
                     [&](int32_t row) {
                       return std::binary_search(group.members.begin(),
                                                 group.members.end(), row);
                     }),
      group.boundary.end());
  Measure(joined.views.front(), views, &group);
  return joined;
}

std::vector<bool> DivideBySeeds(absl::Span<const float> points, int d,
                                int32_t first, int32_t second) {
  const auto row_of = [&](int32_t row) {
    return points.subspan(static_cast<size_t>(row) * d, d);
  };
  const auto n = static_cast<int32_t>(points.size() / d);
  std::vector<float> centers[2];
  centers[0].assign(row_of(first).begin(), row_of(first).end());
  centers[1].assign(row_of(second).begin(), row_of(second).end());
  std::vector<bool> on_second;
  for (int round = 0; round < kMaxRounds; ++round) {
    std::vector<bool> next(n);
    std::vector<double> sum[2];
    for (auto& side : sum) side.resize(d);
    size_t count[2] = {0, 0};
    for (int32_t row = 0; row < n; ++row) {
      next[row] =
          row == second ||
          (row != first && SquaredDistance(row_of(row), centers[1]) <
                               SquaredDistance(row_of(row), centers[0]));
      AddTo(row_of(row), &sum[next[row] ? 1 : 0]);
      ++count[next[row] ? 1 : 0];
    }
    if (next == on_second) break;
    on_second = std::move(next);
    for (const int side : {0, 1})
      centers[side] = Divide(sum[side], count[side]);
  }
  return on_second;
}

}  // namespace faultline::cluster
