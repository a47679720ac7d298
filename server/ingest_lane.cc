#include "server/ingest_lane.h"

#include <limits>
#include <utility>

#include "lib/base/thread_priority.h"
#include "server/grpc_status.h"

namespace faultline::server {
namespace {

constexpr int kAnswerThreads = 4;

}  // namespace

IngestLane::IngestLane(int threads, size_t max_bytes)
    : max_bytes_(max_bytes),
      // There are no more answers than calls and streams have in flight.
      answers_(kAnswerThreads, std::numeric_limits<size_t>::max()) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

IngestLane::~IngestLane() { Stop(); }

void IngestLane::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  answers_.Stop();
}

void IngestLane::Answer(const std::function<void()>& work) {
  if (!answers_.Submit(work)) work();
}

absl::Status IngestLane::Run(absl::string_view project, size_t bytes,
                             std::function<void()> work) {
  if (bytes > kSmallBytes) {
    absl::MutexLock lock(&mutex_);
    Queue& queue = queues_[project];
    if (bytes_ + queue.bytes >= max_bytes_) {
      return OverloadedError(
          "the server is behind with this project's batches");
    }
    if (!stopping_) {
      if (queue.batches.empty()) turns_.push_back(&queue);
      queue.batches.push_back({bytes, std::move(work)});
      queue.bytes += bytes;
      bytes_ += bytes;
      return absl::OkStatus();
    }
  }
  work();
  return absl::OkStatus();
}

void IngestLane::Loop() {
  base::SetThreadPriority(base::ThreadPriority::kBatch);
  const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !turns_.empty();
  };
  while (true) {
    Batch batch;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due));
      if (turns_.empty()) return;
      Queue* queue = turns_.front();
      turns_.pop_front();
      batch = std::move(queue->batches.front());
      queue->batches.pop_front();
      queue->bytes -= batch.bytes;
      bytes_ -= batch.bytes;
      if (!queue->batches.empty()) turns_.push_back(queue);
    }
    batch.work();
  }
}

}  // namespace faultline::server
