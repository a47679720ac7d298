#ifndef FAULTLINE_LIB_BASE_PUBLISHED_H_
#define FAULTLINE_LIB_BASE_PUBLISHED_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace faultline::base {

// An immutable value that is replaced as a whole: the writer builds the next
// one aside and publishes it; a reader keeps what it got for one request, and
// the old value is freed when the last reader lets go. Thread-safe.
template <typename T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> value)
      : value_(std::move(value)) {}

  std::shared_ptr<const T> Get() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::ReaderMutexLock lock(&mutex_);
    return value_;
  }

  // Returns the value that was replaced, so that the caller frees it outside
  // the lock.
  std::shared_ptr<const T> Publish(std::shared_ptr<const T> value)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    std::swap(value_, value);
    return value;
  }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_PUBLISHED_H_
