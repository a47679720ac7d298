#include "server/stream_registry.h"

#include <utility>

namespace faultline::server {

bool StreamRegistry::Add(const std::shared_ptr<DrainableStream>& stream) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return false;
  streams_[stream.get()] = stream;
  return true;
}

void StreamRegistry::Remove(const DrainableStream* stream) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void StreamRegistry::DrainAll() {
  std::vector<std::shared_ptr<DrainableStream>> open;
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    open = Open();
  }
  for (const auto& stream : open) stream->Drain();
}

void StreamRegistry::KeepAliveAll() {
  std::vector<std::shared_ptr<DrainableStream>> open;
  {
    absl::MutexLock lock(&mutex_);
    open = Open();
  }
  for (const auto& stream : open) stream->KeepAlive();
}

std::vector<std::shared_ptr<DrainableStream>> StreamRegistry::Open() {
  std::vector<std::shared_ptr<DrainableStream>> open;
  open.reserve(streams_.size());
  for (const auto& [key, weak] : streams_) {
    if (auto stream = weak.lock()) open.push_back(std::move(stream));
  }
  return open;
}

}  // namespace faultline::server
