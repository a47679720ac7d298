#ifndef FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_
#define FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace faultline::bench {

// What a load of spans came to.
struct OtlpLoad {
  static constexpr int kSpansOfRun = 8;

  uint64_t acknowledged = 0;  // spans
  uint64_t rejected = 0;      // of these
  uint64_t failures = 0;      // exports that were not acknowledged
  uint64_t span_bytes = 0;    // of one span, on average
  double spans_per_second = 0;
  // The acknowledged runs by the hexadecimal id of their trace.
  std::vector<std::string> runs;
};

// Exports runs of a root, three model calls and four tool calls each, 512 spans
// an export, 8 connections with one export in flight each, to `server`
// (HOST:PORT) until `length` is over. An export that fails is sent again
// shortly after. The requests are serialised once; only the trace ids change.
OtlpLoad ExportSpans(const std::string& server, absl::Duration length);

// Spans of the acknowledged `runs` that faultlined does not have. Waits for
// runs that are not put together yet.
uint64_t CountMissingSpans(const std::string& server,
                           const std::vector<std::string>& runs);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_
