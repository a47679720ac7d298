#include "lib/base/thread_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace faultline::base {
namespace {

// As sched_setattr(2) describes it; glibc has neither.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // of a slice, in ns; 0: the system's
  uint64_t deadline = 0;
  uint64_t period = 0;
};

constexpr uint64_t kShortSliceNs = 200'000;

}  // namespace

void SetThreadPriority(ThreadPriority priority) {
  // Of the process: its first thread keeps what it was started with.
  static const int base = getpriority(PRIO_PROCESS, getpid());
  SchedulingAttributes attributes;
  attributes.nice = base;
  switch (priority) {
    case ThreadPriority::kPrompt:
      attributes.runtime = kShortSliceNs;
      break;
    case ThreadPriority::kBatch:
      attributes.nice = std::min(base + 5, 19);
      break;
    case ThreadPriority::kBackground:
      attributes.nice = std::min(base + 10, 19);
      break;
  }
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace faultline::base
