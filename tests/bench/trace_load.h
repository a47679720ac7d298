#ifndef FAULTLINE_TESTS_BENCH_TRACE_LOAD_H_
#define FAULTLINE_TESTS_BENCH_TRACE_LOAD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/channel.h"

namespace faultline::bench {

// A connection of its own to a server of this machine.
std::shared_ptr<grpc::Channel> Connect(int port, int which);

// Synthetic traces of about 2 KB, streamed by StreamTraces. The messages are
// made beforehand and only get new trace ids, so that the load takes little of
// the processors that it shares with the server.
struct LoadOptions {
  int streams = 8;
  // Traces that a stream sends before it waits for acknowledgements.
  uint64_t in_flight = 2048;
  // Until either is reached. 0 traces: no end.
  absl::Duration length = absl::InfiniteDuration();
  uint64_t traces = 0;
  // Traces a second, in all; 0: as many as are acknowledged.
  double rate = 0;
};

struct LoadResult {
  uint64_t acknowledged = 0;
  std::string first_id;  // of the first trace of the first stream
  double seconds = 0;
  // From when a batch should have gone out to its acknowledgement, ascending.
  std::vector<absl::Duration> latencies;

  double rate() const { return static_cast<double>(acknowledged) / seconds; }
  // 0 < share < 1; zero where there is none.
  absl::Duration Latency(double share) const;
};

// To project `bench` of the server at `port`, with ids of its own. Not
// thread-safe.
LoadResult RunLoad(int port, const LoadOptions& options);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_TRACE_LOAD_H_
