#include "lib/slowloop/replay.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/log_window.h"
#include "lib/slowloop/tick.h"

namespace faultline::slowloop {
namespace {

using ::google::protobuf::util::TimeUtil;

// A tick with a watermark in [first, last) looked at runs that are gone.
struct Gap {
  uint64_t first;
  uint64_t last;
};

absl::StatusOr<std::vector<Gap>> FindGaps(const ReplayInput& input) {
  std::vector<Gap> gaps;
  const uint64_t first = input.log->FirstSequence(input.project);
  // What the head held, the first tick may have seen.
  if (first > 1) gaps.push_back({1, UINT64_MAX});
  FAULTLINE_RETURN_IF_ERROR(input.log->Scan(
      input.project, first, input.log->LastSequence(input.project),
      [&](const v1::LogRecord& record) {
        const auto& gone = record.deletion().sequences();
        if (!gone.empty()) {
          gaps.push_back(
              {*std::min_element(gone.begin(), gone.end()), record.sequence()});
        }
        return true;
      }));
  return gaps;
}

absl::Status CheckReplayable(const v1::Tick& tick,
                             const std::vector<Gap>& gaps) {
  for (const Gap& gap : gaps) {
    if (tick.watermark() < gap.first || tick.watermark() >= gap.last) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("tick ", tick.tick(),
                     " looked at runs that were deleted since; it and "
                     "later ticks cannot be computed again"));
  }
  return absl::OkStatus();
}

// Whether the policy is the one that was served under its version.
absl::StatusOr<bool> IsServed(const ReplayInput& input,
                              const v1::Tick& recorded,
                              const v1::Policy& policy) {
  if (policy.version() != recorded.policy_version()) return false;
  if (policy.version() == 0) return true;
  const absl::StatusOr<v1::Policy> served = input.read_policy(policy.version());
  if (absl::IsNotFound(served.status())) return false;
  if (!served.ok()) return served.status();
  return served->digest() == policy.digest();
}

}  // namespace

absl::Status ReplayTicks(
    const ReplayInput& input,
    const std::function<bool(const ReplayedTick&)>& visit) {
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<Gap> gaps, FindGaps(input));
  v1::TickState state;
  v1::Policy policy;
  LogWindow window(input.project, input.defaults, state, input.log);
  for (uint64_t number = 1;; ++number) {
    ReplayedTick replayed;
    absl::StatusOr<v1::Tick> recorded = input.read_tick(number);
    if (absl::IsNotFound(recorded.status())) return absl::OkStatus();
    if (!recorded.ok()) return recorded.status();
    replayed.recorded = *std::move(recorded);
    FAULTLINE_RETURN_IF_ERROR(CheckReplayable(replayed.recorded, gaps));

    FAULTLINE_RETURN_IF_ERROR(window.ReadTo(replayed.recorded.watermark()));
    TickInput tick;
    window.FillIn(state, &tick);
    tick.tick = number;
    tick.now = absl::FromUnixNanos(
        TimeUtil::TimestampToNanoseconds(replayed.recorded.start_time()));
    if (!window.has_recorded_config() && replayed.recorded.has_config()) {
      tick.config = replayed.recorded.config();
    }
    tick.previous_policy = &policy;
    tick.embedder = input.embedder;
    tick.threads = input.threads;
    tick.clock = input.clock;
    FAULTLINE_ASSIGN_OR_RETURN(TickOutput output, ComputeTick(tick));
    state = std::move(output.state);
    policy = std::move(output.policy);
    window.Applied(state);
    replayed.digest = state.tick().digest();
    replayed.embedder = output.embedder->fingerprint();
    FAULTLINE_ASSIGN_OR_RETURN(replayed.same_policy,
                               IsServed(input, replayed.recorded, policy));
    replayed.policy = policy;
    if (!visit(replayed)) return absl::OkStatus();
  }
}

}  // namespace faultline::slowloop
