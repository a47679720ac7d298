#include "lib/ingest/retention.h"

#include <algorithm>
#include <functional>

namespace faultline::ingest {
namespace {

constexpr int kFailureFactor = 4;

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

// The runs that are left, by weight: 1 each for a count, or their bytes.
class Shelf {
 public:
  Shelf(absl::Span<const RetainedRun> runs,
        const std::vector<v1::DeletionReason>& verdicts,
        const std::function<uint64_t(const RetainedRun&)>& weigh)
      : runs_(runs), verdicts_(verdicts), weigh_(weigh) {
    for (size_t i = 0; i < runs.size(); ++i) {
      if (IsLeft(i)) weight_[runs[i].failed] += weigh(runs[i]);
    }
  }

  uint64_t weight() const { return weight_[0] + weight_[1]; }

  // The run that goes next. There must be one.
  size_t TakeNext() {
    const bool failed = !Advance(false) || weight_[1] > weight_[0];
    Advance(failed);
    const size_t index = next_[failed]++;
    weight_[failed] -= weigh_(runs_[index]);
    return index;
  }

 private:
  bool IsLeft(size_t index) const {
    return verdicts_[index] == v1::DELETION_REASON_UNSPECIFIED;
  }

  // Moves to the oldest run of the kind that is left; false: there is none.
  bool Advance(bool failed) {
    size_t& next = next_[failed];
    while (next < runs_.size() &&
           (runs_[next].failed != failed || !IsLeft(next))) {
      ++next;
    }
    return next < runs_.size();
  }

  const absl::Span<const RetainedRun> runs_;
  const std::vector<v1::DeletionReason>& verdicts_;
  const std::function<uint64_t(const RetainedRun&)> weigh_;
  uint64_t weight_[2] = {0, 0};  // of successes, of failures
  size_t next_[2] = {0, 0};
};

// Condemns runs until what is left weighs no more than `limit`.
void Limit(absl::Span<const RetainedRun> runs, uint64_t limit,
           v1::DeletionReason reason,
           const std::function<uint64_t(const RetainedRun&)>& weigh,
           std::vector<v1::DeletionReason>* verdicts) {
  if (limit == 0) return;
  Shelf shelf(runs, *verdicts, weigh);
  while (shelf.weight() > limit) (*verdicts)[shelf.TakeNext()] = reason;
}

}  // namespace

std::vector<ExpiredRun> FindExpired(absl::Span<const RetainedRun> runs,
                                    const v1::RetentionConfig& limits,
                                    absl::Time now) {
  std::vector<v1::DeletionReason> verdicts(runs.size(),
                                           v1::DELETION_REASON_UNSPECIFIED);
  const absl::Duration max_age = ToDuration(limits.max_age());
  if (max_age > absl::ZeroDuration()) {
    const absl::Duration failure_max_age =
        limits.has_failure_max_age() ? ToDuration(limits.failure_max_age())
                                     : kFailureFactor * max_age;
    for (size_t i = 0; i < runs.size(); ++i) {
      const absl::Duration age = now - runs[i].receive_time;
      if (age > (runs[i].failed ? failure_max_age : max_age)) {
        verdicts[i] = v1::DELETION_REASON_AGE;
      }
    }
  }
  Limit(
      runs, limits.max_traces(), v1::DELETION_REASON_COUNT,
      [](const RetainedRun&) { return 1; }, &verdicts);
  Limit(
      runs, limits.max_bytes(), v1::DELETION_REASON_BYTES,
      [](const RetainedRun& run) { return run.bytes; }, &verdicts);
  std::vector<ExpiredRun> expired;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (verdicts[i] != v1::DELETION_REASON_UNSPECIFIED) {
      expired.push_back({runs[i].sequence, verdicts[i]});
    }
  }
  return expired;
}

}  // namespace faultline::ingest
