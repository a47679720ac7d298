#include "lib/slowloop/log_window.h"

#include <utility>

#include "lib/slowloop/identity.h"
#include "lib/slowloop/project_config.h"

namespace faultline::slowloop {
namespace {

RunWindow::Capacity CapacityOf(const v1::ProjectConfig& config) {
  RunWindow::Capacity capacity;
  capacity.failures = config.max_failures();
  capacity.successes = config.max_successes();
  return capacity;
}

}  // namespace

LogWindow::LogWindow(absl::string_view project,
                     const v1::ProjectConfig& defaults,
                     const v1::TickState& state, const trace::TraceLog* log)
    : project_(project),
      log_(log),
      config_(defaults),
      window_(CapacityOf(defaults)) {
  window_.Pin(ExemplarsOf(state));
}

absl::Status LogWindow::ReadTo(uint64_t last) {
  if (last <= watermark_) return absl::OkStatus();
  absl::Status status;
  const absl::Status scanned = log_->Scan(project_, watermark_ + 1, last,
                                          [&](const v1::LogRecord& record) {
                                            if (!Apply(record, &status))
                                              return false;
                                            watermark_ = record.sequence();
                                            return true;
                                          });
  return scanned.ok() ? status : scanned;
}

bool LogWindow::Apply(const v1::LogRecord& record, absl::Status* status) {
  if (record.has_review()) {
    reviews_.push_back({record.sequence(), record.review()});
  } else if (record.has_cluster_review()) {
    cluster_reviews_.push_back(record.cluster_review());
    cluster_reviews_.back().set_sequence(record.sequence());
  } else if (record.has_config()) {
    // A recorded value is whole: the server's defaults are in it.
    auto config = ResolveConfig(record.config(), {});
    if (!config.ok()) {
      *status = config.status();
      return false;
    }
    config_ = *std::move(config);
    has_recorded_config_ = true;
    window_.SetCapacity(CapacityOf(config_));
  } else {
    window_.Apply(record);
  }
  return true;
}

void LogWindow::FillIn(const v1::TickState& previous, TickInput* input) const {
  input->project = project_;
  input->watermark = watermark_;
  input->window = &window_;
  input->config = config_;
  input->previous = &previous;
  for (const Review& review : reviews_) {
    if (review.sequence > previous.tick().watermark()) {
      input->reviews.push_back(review.review);
    }
  }
  for (const v1::ClusterReview& review : cluster_reviews_) {
    if (review.sequence() > previous.tick().watermark()) {
      input->cluster_reviews.push_back(review);
    }
  }
  input->read_trace = [this](uint64_t sequence) {
    return log_->ReadTrace(project_, sequence);
  };
}

void LogWindow::Applied(const v1::TickState& state) {
  window_.Pin(ExemplarsOf(state));
  reviews_.clear();
  cluster_reviews_.clear();
}

}  // namespace faultline::slowloop
