// Teaches ThreadSanitizer what absl::Mutex orders. Debian's Abseil is not
// instrumented, so without this every member that such a mutex guards is
// reported as a race. Linked into the executables of the tsan preset only; the
// definitions here come before the library's, and call them.

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// The library's function of that (mangled) name.
template <typename Function>
Function Real(const char* name) {
  void* const symbol = dlsym(RTLD_NEXT, name);
  if (symbol == nullptr) std::abort();
  return reinterpret_cast<Function>(symbol);
}

// While the library holds a mutex on behalf of several threads, it evaluates
// the conditions of all of them on this one.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

#define REAL(name, result, ...) \
  static const auto real = Real<result (*)(__VA_ARGS__)>(name)

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  REAL("_ZN4absl7debian35Mutex4LockEv", void, Mutex*);
  {
    const IgnoreReads ignore;
    real(this);
  }
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  REAL("_ZN4absl7debian35Mutex7TryLockEv", bool, Mutex*);
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  REAL("_ZN4absl7debian35Mutex6UnlockEv", void, Mutex*);
  __tsan_release(this);
  const IgnoreReads ignore;
  real(this);
}

void Mutex::ReaderLock() {
  REAL("_ZN4absl7debian35Mutex10ReaderLockEv", void, Mutex*);
  {
    const IgnoreReads ignore;
    real(this);
  }
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  REAL("_ZN4absl7debian35Mutex12ReaderUnlockEv", void, Mutex*);
  __tsan_release(this);
  const IgnoreReads ignore;
  real(this);
}

void Mutex::LockWhen(const Condition& condition) {
  REAL("_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE", void, Mutex*,
       const Condition&);
  {
    const IgnoreReads ignore;
    real(this, condition);
  }
  __tsan_acquire(this);
}

void Mutex::Await(const Condition& condition) {
  REAL("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE", void, Mutex*,
       const Condition&);
  __tsan_release(this);
  {
    const IgnoreReads ignore;
    real(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  REAL(
      "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_"
      "8DurationE",
      bool, Mutex*, const Condition&, Duration);
  __tsan_release(this);
  bool holds = false;
  {
    const IgnoreReads ignore;
    holds = real(this, condition, timeout);
  }
  __tsan_acquire(this);
  return holds;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  REAL("_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE",
       bool, Mutex*, const Condition&, Time);
  __tsan_release(this);
  bool holds = false;
  {
    const IgnoreReads ignore;
    holds = real(this, condition, deadline);
  }
  __tsan_acquire(this);
  return holds;
}

void CondVar::Wait(Mutex* mutex) {
  REAL("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE", void, CondVar*, Mutex*);
  __tsan_release(mutex);
  {
    const IgnoreReads ignore;
    real(this, mutex);
  }
  __tsan_acquire(mutex);
}

void Notification::Notify() {
  REAL("_ZN4absl7debian312Notification6NotifyEv", void, Notification*);
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  REAL("_ZNK4absl7debian312Notification19WaitForNotificationEv", void,
       const Notification*);
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool BlockingCounter::DecrementCount() {
  REAL("_ZN4absl7debian315BlockingCounter14DecrementCountEv", bool,
       BlockingCounter*);
  __tsan_release(this);
  return real(this);
}

void BlockingCounter::Wait() {
  REAL("_ZN4absl7debian315BlockingCounter4WaitEv", void, BlockingCounter*);
  real(this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl

#undef REAL
