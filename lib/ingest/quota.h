#ifndef FAULTLINE_LIB_INGEST_QUOTA_H_
#define FAULTLINE_LIB_INGEST_QUOTA_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "faultline/v1/config.pb.h"

namespace faultline::ingest {

// What one project may still send. Each rate is a bucket of ten seconds'
// worth, full at first: a burst passes, the average holds. A batch larger than
// the bucket passes when it is full, and the next one waits the longer.
//
// Not thread-safe.
class Quota {
 public:
  // One batch. A zero in `limits` is no limit. `now`: steady time, never going
  // back. RESOURCE_EXHAUSTED, with REASON_QUOTA and the time after which the
  // batch fits, where it is over a limit; then nothing is taken.
  absl::Status Take(const v1::QuotaConfig& limits, uint64_t records,
                    uint64_t bytes, uint64_t stored_bytes, absl::Duration now);

 private:
  struct Bucket {
    double level = 0;
    bool limited = false;  // at the last Fill

    void Fill(double rate, absl::Duration elapsed);
    // Time until `amount` fits; zero: now.
    absl::Duration WaitFor(double amount, double rate) const;
  };

  Bucket records_;
  Bucket bytes_;
  absl::Duration last_ = absl::ZeroDuration();
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_QUOTA_H_
