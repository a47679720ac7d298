#ifndef FAULTLINE_LIB_BASE_PARALLEL_H_
#define FAULTLINE_LIB_BASE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace faultline::base {

// Calls `task(i)` once for each i in [0, count) on up to `threads` threads and
// waits for all. Tasks must not depend on one another.
template <typename Task>
void ParallelFor(size_t count, int threads, const Task& task) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) task(i);
  };
  std::vector<std::thread> helpers;
  const size_t wanted = std::min<size_t>(std::max(threads, 1), count);
  for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_PARALLEL_H_
