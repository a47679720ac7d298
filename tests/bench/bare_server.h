#ifndef FAULTLINE_TESTS_BENCH_BARE_SERVER_H_
#define FAULTLINE_TESTS_BENCH_BARE_SERVER_H_

#include <string>

namespace faultline::bench {

// The baseline: StreamTraces and OTLP's Export append the raw bytes of each
// batch to RocksDB, one committer thread grouping and syncing, and acknowledge;
// GetPolicy gives an empty answer. Nothing is parsed, checked or indexed.
// Writes its port to `ready` and serves until the process is killed.
void RunBareServer(const std::string& directory, int ready);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_BARE_SERVER_H_
