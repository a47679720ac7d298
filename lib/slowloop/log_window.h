#ifndef FAULTLINE_LIB_SLOWLOOP_LOG_WINDOW_H_
#define FAULTLINE_LIB_SLOWLOOP_LOG_WINDOW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/lineage.pb.h"
#include "faultline/v1/record.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/slowloop/run_window.h"
#include "lib/slowloop/tick.h"
#include "lib/trace/trace_log.h"

namespace faultline::slowloop {

// What a tick needs of one project's log, read up to a watermark: the window of
// runs, the settings, and the decisions that no tick has applied yet. Ticks and
// their replay read the log through it, so that both see the same. Does not own
// the log. Not thread-safe.
class LogWindow {
 public:
  // `defaults`: settings, every field filled in, until the log has others.
  // `state`: what the last tick left; what it pinned stays in the window.
  LogWindow(absl::string_view project, const v1::ProjectConfig& defaults,
            const v1::TickState& state, const trace::TraceLog* log);

  // Applies what the log holds up to `last`, or nothing where it has read so
  // far already. Returns the log's errors, and INVALID_ARGUMENT for settings.
  absl::Status ReadTo(uint64_t last);

  // Fills in what a tick after `previous` reads of the log: watermark, window,
  // decisions, settings, traces. Views; valid until ReadTo.
  void FillIn(const v1::TickState& previous, TickInput* input) const;

  // To be told of a tick that is stored: its decisions are applied, and what it
  // pins stays.
  void Applied(const v1::TickState& state);

  // Whether the log has settings; else those in force are the defaults.
  bool has_recorded_config() const { return has_recorded_config_; }

 private:
  bool Apply(const v1::LogRecord& record, absl::Status* status);

  const std::string project_;
  const trace::TraceLog* const log_;
  v1::ProjectConfig config_;
  bool has_recorded_config_ = false;
  RunWindow window_;
  uint64_t watermark_ = 0;
  // Read and not yet applied by a stored tick, in the order of the log.
  struct Review {
    uint64_t sequence;
    v1::InterventionReview review;
  };
  std::vector<Review> reviews_;
  std::vector<v1::ClusterReview> cluster_reviews_;  // with their sequences
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_LOG_WINDOW_H_
