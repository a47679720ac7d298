#ifndef FAULTLINE_SERVER_BENCHMARK_READER_H_
#define FAULTLINE_SERVER_BENCHMARK_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "lib/evaluate/benchmark.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"

namespace faultline::server {

// Reads what a benchmark may be made of, and chooses: members of the tick's
// clusters, held-out failures within their reach, and successes of the log's
// last stretch (ScanRuns). The order of the modes is that of the summary's
// strata. Takes seconds. INVALID_ARGUMENT names the part of the request at
// fault, NOT_FOUND the cluster; else the log's errors.
absl::StatusOr<evaluate::BenchmarkPlan> ReadBenchmark(
    const v1::ExportBenchmarkRequest& request, const std::string& project,
    const slowloop::TickSnapshot& snapshot, const trace::TraceLog& log);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_BENCHMARK_READER_H_
