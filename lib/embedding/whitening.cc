#include "lib/embedding/whitening.h"

#include <cmath>
#include <cstddef>

#include "Eigen/Cholesky"
#include "Eigen/Core"

namespace faultline::embedding {
namespace {

// ADR 0013 says how both were chosen.
constexpr double kRidge = 3;
// Weight of the prior that there is no direction in which runs vary more.
constexpr double kPriorRuns = 50;

}  // namespace

Whitening::Whitening(absl::Span<const float> reference, int d,
                     const std::vector<ColumnRange>& channels) {
  using RowMajor =
      Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto n = static_cast<Eigen::Index>(reference.size() / d);
  const Eigen::Map<const RowMajor> rows(reference.data(), n, d);
  const double total = static_cast<double>(n) + kPriorRuns;
  std::vector<Eigen::MatrixXd> moments;
  double trace = 0;
  int width = 0;
  for (const ColumnRange& columns : channels) {
    const Eigen::MatrixXd part =
        rows.middleCols(columns.begin, columns.size).cast<double>();
    moments.emplace_back(part.transpose() * part / total);
    trace += moments.back().trace();
    width += columns.size;
  }

  for (size_t c = 0; c < channels.size(); ++c) {
    const int w = channels[c].size;
    Eigen::MatrixXd& moment = moments[c];
    // Positive definite by the ridge.
    moment.diagonal().array() += trace > 0 ? kRidge * trace / width : 1;
    const Eigen::MatrixXd inverse =
        moment.llt().matrixL().solve(Eigen::MatrixXd::Identity(w, w));
    Channel& channel = channels_.emplace_back();
    channel.columns = channels[c];
    for (int column = 0; column < w; ++column) {
      for (int row = column; row < w; ++row) {
        channel.inverse_factor.push_back(
            static_cast<float>(inverse(row, column)));
      }
    }
  }
}

void Whitening::Apply(absl::Span<float> vector) const {
  if (channels_.empty()) return;
  std::vector<float> whitened(vector.size());
  for (const Channel& channel : channels_) {
    const auto w = static_cast<size_t>(channel.columns.size);
    const auto part = vector.subspan(channel.columns.begin, w);
    float* const scaled = whitened.data() + channel.columns.begin;
    const float* factor = channel.inverse_factor.data();
    for (size_t column = 0; column < w; factor += w - column, ++column) {
      const float x = part[column];
      if (x == 0) continue;
      for (size_t row = column; row < w; ++row) {
        scaled[row] += x * factor[row - column];
      }
    }
  }
  double squared = 0;
  for (const float x : whitened) squared += static_cast<double>(x) * x;
  const auto factor =
      squared == 0 ? 0 : static_cast<float>(1 / std::sqrt(squared));
  for (size_t i = 0; i < vector.size(); ++i) vector[i] = factor * whitened[i];
}

}  // namespace faultline::embedding
