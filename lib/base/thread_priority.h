#ifndef FAULTLINE_LIB_BASE_THREAD_PRIORITY_H_
#define FAULTLINE_LIB_BASE_THREAD_PRIORITY_H_

namespace faultline::base {

// How a thread shares the processors with the others.
enum class ThreadPriority {
  // Answers calls: runs for a moment, and as soon as it has something to do.
  kPrompt,
  // Calls wait for it, but it must not delay smaller ones.
  kBatch,
  // Nobody waits for it: ticks, checkpoints, retention.
  kBackground,
};

// Sets the priority of the calling thread, and of those that it starts from now
// on. On Linux each thread has a niceness and, from 6.12 on, a length of its
// time slices: a thread with short ones does not wait for the end of another's.
// Niceness cannot be lowered again without a privilege. Does nothing where the
// system does not allow it.
void SetThreadPriority(ThreadPriority priority);

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_THREAD_PRIORITY_H_
