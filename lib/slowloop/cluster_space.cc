#include "lib/slowloop/cluster_space.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "lib/base/parallel.h"

namespace faultline::slowloop {
namespace {

constexpr size_t kBlock = 256;
// Successes that the whitening is learned from: every so many-th.
constexpr size_t kMaxReference = 20000;
// Of the signals in the trajectory view (ADR 0014).
constexpr float kSignalFactor = .5;
// Channels that say who ran a task, not what went wrong (ADR 0014).
constexpr std::array kWhoRan = {embedding::Channel::kSystem,
                                embedding::Channel::kRoute};

template <typename Work>
void ForRows(size_t rows, int threads, const Work& work) {
  const size_t blocks = (rows + kBlock - 1) / kBlock;
  base::ParallelFor(blocks, threads, [&](size_t block) {
    const size_t end = std::min(rows, (block + 1) * kBlock);
    for (size_t i = block * kBlock; i < end; ++i) work(i);
  });
}

std::vector<int32_t> Thin(absl::Span<const int32_t> rows) {
  const size_t step = (rows.size() + kMaxReference - 1) / kMaxReference;
  std::vector<int32_t> thinned;
  for (size_t i = 0; i < rows.size(); i += step) thinned.push_back(rows[i]);
  return thinned;
}

}  // namespace

ClusterSpace::ClusterSpace(const EmbeddedRuns& runs) : runs_(runs) {
  const auto select = [this](absl::Span<const int32_t> rows) {
    std::vector<const embedding::Run*> selected;
    selected.reserve(rows.size());
    for (const int32_t row : rows) selected.push_back(runs_.runs[row]);
    return selected;
  };
  contrast_ = embedding::ComputeContrast(
      select(runs_.failures), select(runs_.successes), runs_.threads);
  const std::vector<int32_t> reference = Thin(runs_.successes);
  base::ParallelFor(2, runs_.threads, [&](size_t view) {
    if (view == 0) {
      behavior_ = embedding::Whitening(
          Raw(v1::VIEW_BEHAVIOR, reference).values, runs_.embedder->dimension(),
          runs_.embedder->Blocks(embedding::Map::kFailure, {}));
    } else {
      trajectory_ = embedding::Whitening(
          Raw(v1::VIEW_TRAJECTORY, reference).values,
          runs_.embedder->dimension(),
          runs_.embedder->Blocks(embedding::Map::kTrajectory, kWhoRan));
    }
  });
}

Matrix ClusterSpace::Raw(v1::View view, absl::Span<const int32_t> rows) const {
  if (view == v1::VIEW_TRAJECTORY) {
    Matrix vectors = SelectRows(*runs_.trajectory, rows);
    const embedding::ColumnRange signals = runs_.embedder->Columns(
        embedding::Map::kTrajectory, embedding::Channel::kSignal);
    ForRows(rows.size(), runs_.threads, [&](size_t i) {
      for (float& x : vectors.row(i).subspan(signals.begin, signals.size)) {
        x *= kSignalFactor;
      }
    });
    return vectors;
  }
  Matrix vectors{runs_.embedder->dimension(), {}};
  vectors.values.resize(rows.size() * vectors.dimension);
  ForRows(rows.size(), runs_.threads, [&](size_t i) {
    runs_.embedder->Embed(*runs_.runs[rows[i]], embedding::Map::kFailure,
                          &contrast_, vectors.row(i));
  });
  return vectors;
}

Matrix ClusterSpace::Vectors(v1::View view,
                             absl::Span<const int32_t> rows) const {
  Matrix vectors = Raw(view, rows);
  const embedding::Whitening& whitening =
      view == v1::VIEW_TRAJECTORY ? trajectory_ : behavior_;
  ForRows(rows.size(), runs_.threads,
          [&](size_t i) { whitening.Apply(vectors.row(i)); });
  return vectors;
}

}  // namespace faultline::slowloop
