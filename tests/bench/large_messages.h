#ifndef FAULTLINE_TESTS_BENCH_LARGE_MESSAGES_H_
#define FAULTLINE_TESTS_BENCH_LARGE_MESSAGES_H_

#include <string>

namespace faultline::bench {

// Messages around the limit of 64 MiB, by every way that runs come in. Each of
// these prints what it saw, a line a way, and returns whether it is what is
// claimed. Thread-safe.

// A message of the limit is stored, plain and compressed; of one with an
// invalid trace all but that. One that is a byte larger is RESOURCE_EXHAUSTED,
// and a stream beside it on the same connection goes on.
bool CheckLimit(const std::string& server);

// A compressed message that inflates to 256 MiB is RESOURCE_EXHAUSTED.
bool CheckBombs(const std::string& server);

// `count` messages of the limit at once, beside as many that inflate to four
// times of it: what is refused can be sent again, until all is stored.
bool CheckConcurrent(const std::string& server, int count);

// `count` messages of the limit at once, more than the server has memory for:
// gRPC ends calls, and then the server goes on.
bool CheckFlood(const std::string& server, int count);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_LARGE_MESSAGES_H_
