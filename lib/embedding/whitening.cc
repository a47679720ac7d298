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
  for (const ColumnRange& columns : channels) {
    const Eigen::MatrixXd part =
        rows.middleCols(columns.begin, columns.size).cast<double>();
    moments.emplace_back(part.transpose() * part / total);
    trace += moments.back().trace();
  }
  if (trace <= 0) return;

  for (size_t c = 0; c < channels.size(); ++c) {
    const int w = channels[c].size;
    Eigen::MatrixXd& moment = moments[c];
    moment.diagonal().array() += kRidge * trace / d;
    // Positive definite by the ridge.
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
  std::vector<float> scaled;
  double squared = 0;
  for (const Channel& channel : channels_) {
    const auto w = static_cast<size_t>(channel.columns.size);
    const auto part = vector.subspan(channel.columns.begin, w);
    scaled.assign(w, 0);
    const float* factor = channel.inverse_factor.data();
    for (size_t column = 0; column < w; factor += w - column, ++column) {
      const float x = part[column];
      if (x == 0) continue;
      for (size_t row = column; row < w; ++row) {
        scaled[row] += x * factor[row - column];
      }
    }
    for (size_t i = 0; i < w; ++i) {
      part[i] = scaled[i];
      squared += static_cast<double>(scaled[i]) * scaled[i];
    }
  }
  if (squared == 0) return;
  const auto factor = static_cast<float>(1 / std::sqrt(squared));
  for (float& x : vector) x *= factor;
}

}  // namespace faultline::embedding
