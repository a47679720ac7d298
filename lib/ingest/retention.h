#ifndef FAULTLINE_LIB_INGEST_RETENTION_H_
#define FAULTLINE_LIB_INGEST_RETENTION_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/record.pb.h"

namespace faultline::ingest {

// What retention looks at of one stored run.
struct RetainedRun {
  uint64_t sequence = 0;
  absl::Time receive_time;
  uint32_t bytes = 0;
  bool failed = false;
};

// A run that is kept no longer.
struct ExpiredRun {
  uint64_t sequence = 0;
  v1::DeletionReason reason = v1::DELETION_REASON_UNSPECIFIED;
};

// The runs, of `runs` ascending by sequence, that `limits` no longer keep, in
// the same order: first by age, then as many as it takes to be within count
// and bytes, oldest first, successes before failures until failures are more
// than half of what is left (of the runs, or of the bytes). A run without
// outcome counts as a success. Pure.
std::vector<ExpiredRun> FindExpired(absl::Span<const RetainedRun> runs,
                                    const v1::RetentionConfig& limits,
                                    absl::Time now);

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_RETENTION_H_
