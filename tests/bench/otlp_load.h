#ifndef FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_
#define FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_

#include <cstdint>

#include "absl/time/time.h"

namespace faultline::bench {

// What a load of spans came to.
struct OtlpLoad {
  static constexpr int kSpansOfRun = 8;

  uint64_t acknowledged = 0;  // spans
  uint64_t rejected = 0;      // of these
  uint64_t span_bytes = 0;    // of one span, on average
  double spans_per_second = 0;
};

// Exports runs of a root, three model calls and four tool calls each, 512 spans
// an export, 8 connections with one export in flight each, until `length` is
// over. The requests are serialised once; only the trace ids change.
OtlpLoad ExportSpans(int port, absl::Duration length);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_OTLP_LOAD_H_
