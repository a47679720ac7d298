#include "tests/unit/cluster/planted_world.h"

#include <cmath>
#include <map>
#include <utility>

namespace faultline::cluster {
namespace {

void Normalize(float* vector, int d) {
  double sum = 0;
  for (int i = 0; i < d; ++i) sum += static_cast<double>(vector[i]) * vector[i];
  if (sum == 0) return;
  const float scale = static_cast<float>(1 / std::sqrt(sum));
  for (int i = 0; i < d; ++i) vector[i] *= scale;
}

// Runs in random order: `draw(mode, out)` writes one vector.
template <typename Draw>
PlantedWorld Assemble(int modes, int per_mode, int noise, int successes, int d,
                      base::Random* random, Draw draw) {
  PlantedWorld world;
  world.dimension = d;
  world.mode.assign(noise, -1);
  for (int mode = 0; mode < modes; ++mode) {
    world.mode.insert(world.mode.end(), per_mode, mode);
  }
  random->Shuffle(&world.mode);
  const size_t n = world.mode.size();
  world.pooled.resize((n + successes) * d);
  for (size_t i = 0; i < n + successes; ++i) {
    float* vector = world.pooled.data() + i * d;
    draw(i < n ? world.mode[i] : -1, vector);
    Normalize(vector, d);
    world.pooled_failed.push_back(i < n);
    if (i < n) world.failure_row.push_back(static_cast<int32_t>(i));
  }
  world.failures.assign(world.pooled.begin(), world.pooled.begin() + n * d);
  return world;
}

}  // namespace

ClusteringInput PlantedWorld::Input() const {
  ClusteringInput input;
  input.dimension = dimension;
  input.failures = failures;
  input.pooled = pooled;
  input.pooled_failed = pooled_failed;
  input.failure_row = failure_row;
  return input;
}

PlantedWorld MakeGaussianWorld(int modes, int per_mode, int noise,
                               int successes, double spread, int d,
                               base::Random* random) {
  std::vector<float> centers(static_cast<size_t>(modes) * d);
  for (float& x : centers) x = static_cast<float>(random->Normal());
  for (int mode = 0; mode < modes; ++mode) Normalize(&centers[mode * d], d);
  const double scale = spread / std::sqrt(static_cast<double>(d));
  return Assemble(modes, per_mode, noise, successes, d, random,
                  [&](int mode, float* vector) {
                    for (int i = 0; i < d; ++i) {
                      vector[i] = static_cast<float>(scale * random->Normal());
                      if (mode >= 0) vector[i] += centers[mode * d + i];
                    }
                  });
}

PlantedWorld MakeTokenWorld(int modes, int per_mode, int noise, int successes,
                            double signature, int d, base::Random* random) {
  constexpr int kTasks = 5, kTools = 30, kToolsOfTask = 6, kCalls = 12;
  constexpr int kErrors = 15, kErrorsOfMode = 3;
  const int half = d / 2;
  std::vector<std::pair<int, float>> place(kTools + kErrors +
                                           modes * kErrorsOfMode);
  for (auto& [dimension, sign] : place) {
    dimension = static_cast<int>(random->Below(half));
    sign = random->Bernoulli(.5) ? 1.0f : -1.0f;
  }
  const auto draw = [&](int mode, float* vector) {
    const auto add = [&](float* block, int token) {
      block[place[token].first] += place[token].second;
    };
    const int task = static_cast<int>(random->Below(kTasks));
    for (int i = 0; i < kCalls; ++i) {
      add(vector, static_cast<int>(random->Bernoulli(.5)
                                       ? task * kToolsOfTask +
                                             random->Below(kToolsOfTask)
                                       : random->Below(kTools)));
    }
    float* errors = vector + half;
    for (int i = 0; i < 2; ++i) {
      add(errors, kTools + static_cast<int>(random->Below(kErrors)));
    }
    for (int i = 0; mode >= 0 && i < kErrorsOfMode; ++i) {
      if (!random->Bernoulli(signature)) continue;
      const int token = kTools + kErrors + mode * kErrorsOfMode + i;
      add(errors, token);
      add(errors, token);
    }
    Normalize(vector, half);
    Normalize(errors, half);
  };
  return Assemble(modes, per_mode, noise, successes, d, random, draw);
}

double PlantedAgreement(const std::vector<int32_t>& planted,
                        const std::vector<int32_t>& found) {
  std::map<int32_t, double> rows, columns;
  std::map<std::pair<int32_t, int32_t>, double> cells;
  double n = 0;
  for (size_t i = 0; i < planted.size(); ++i) {
    if (planted[i] < 0) continue;
    ++n;
    ++rows[planted[i]];
    ++columns[found[i]];
    ++cells[{planted[i], found[i]}];
  }
  const auto pairs = [](const auto& counts) {
    double sum = 0;
    for (const auto& [key, count] : counts) sum += count * (count - 1) / 2;
    return sum;
  };
  const double both = pairs(cells), a = pairs(rows), b = pairs(columns);
  const double expected = a * b / (n * (n - 1) / 2);
  const double most = (a + b) / 2;
  return most == expected ? 1 : (both - expected) / (most - expected);
}

}  // namespace faultline::cluster
