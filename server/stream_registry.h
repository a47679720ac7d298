#ifndef FAULTLINE_SERVER_STREAM_REGISTRY_H_
#define FAULTLINE_SERVER_STREAM_REGISTRY_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace faultline::server {

// A long-lived call that ends in good order when the server stops.
// Thread-safe.
class DrainableStream {
 public:
  virtual ~DrainableStream() = default;

  // Take nothing more, answer what was taken, end. Called at most once.
  virtual void Drain() = 0;
  // Time has passed without a word; say something where nothing is to be said.
  virtual void KeepAlive() {}
};

// The open streams of the server, so that a stop need not wait for clients to
// hang up. Owns none of them: a stream removes itself when it is done, and one
// that goes away meanwhile is skipped. Calls streams without holding its lock,
// so they may call back. Thread-safe.
class StreamRegistry {
 public:
  // False where the server drains: the stream is to end at once.
  bool Add(const std::shared_ptr<DrainableStream>& stream)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const DrainableStream* stream) ABSL_LOCKS_EXCLUDED(mutex_);

  // Drains every stream; later ones are refused. Does not wait.
  void DrainAll() ABSL_LOCKS_EXCLUDED(mutex_);
  void KeepAliveAll() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::vector<std::shared_ptr<DrainableStream>> Open()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  absl::flat_hash_map<const DrainableStream*, std::weak_ptr<DrainableStream>>
      streams_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_STREAM_REGISTRY_H_
