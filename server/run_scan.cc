#include "server/run_scan.h"

#include <algorithm>

#include "lib/base/status_macros.h"

namespace faultline::server {
namespace {

constexpr uint64_t kMaxRecords = 200'000;

}  // namespace

absl::StatusOr<v1::RunStretch> ScanRuns(const trace::TraceLog& log,
                                        const std::string& project,
                                        const v1::Tick& tick,
                                        evaluate::JudgedRuns* runs) {
  const uint64_t last = tick.watermark();
  const uint64_t first =
      std::max(log.FirstSequence(project),
               last < kMaxRecords ? 1 : last - kMaxRecords + 1);
  v1::RunStretch stretch;
  stretch.set_tick(tick.tick());
  stretch.set_first_sequence(first);
  stretch.set_last_sequence(last);
  FAULTLINE_RETURN_IF_ERROR(
      log.Scan(project, first, last, [runs](const v1::LogRecord& record) {
        runs->Apply(record);
        return true;
      }));
  return stretch;
}

}  // namespace faultline::server
