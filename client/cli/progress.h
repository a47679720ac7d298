#ifndef FAULTLINE_CLIENT_CLI_PROGRESS_H_
#define FAULTLINE_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "client/cli/terminal.h"
#include "lib/base/clock.h"

namespace faultline::cli {

// How far long work has come: a bar that is redrawn on a terminal, plain lines
// elsewhere. Owns nothing. Not thread-safe.
class Progress {
 public:
  // `what` names the items, such as `runs`.
  Progress(std::string what, Terminal terminal, const base::Clock* clock,
           std::ostream* out);

  // Draws, unless it did so a moment ago: 10 times a second on a terminal,
  // once a second elsewhere. `share` in [0, 1]; `items` done so far.
  void Update(double share, uint64_t items);
  // Draws the last state and ends the line.
  void Finish(double share, uint64_t items);

  absl::Duration elapsed() const { return clock_->SteadyNow() - start_; }

 private:
  absl::Duration Interval() const;
  void Draw(double share, uint64_t items);

  const std::string what_;
  const Terminal terminal_;
  const base::Clock* const clock_;
  std::ostream* const out_;
  const absl::Duration start_;
  absl::Duration next_draw_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_PROGRESS_H_
