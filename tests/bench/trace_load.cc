#include "tests/bench/trace_load.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/support/sync_stream.h"
#include "lib/base/clock.h"
#include "tests/bench/synthetic_traces.h"

namespace faultline::bench {
namespace {

constexpr uint64_t kBatch = 64;
// Different messages of a stream.
constexpr uint64_t kMessages = 32;

std::string IdOf(const std::string& prefix, uint64_t i) {
  return absl::StrFormat("%s%012d", prefix, i);
}

// A serialised request, and where the ids of its traces are in it.
class Message {
 public:
  Message(uint64_t first, uint64_t seed) {
    v1::StreamTracesRequest request;
    request.set_parent("projects/bench");
    for (uint64_t i = 0; i < kBatch; ++i) {
      v1::Trace& trace = *request.add_traces();
      trace = MakeSyntheticTrace(first + i, seed);
      trace.set_trace_id(Id(i));
    }
    bytes_ = request.SerializeAsString();
    size_t at = 0;
    for (uint64_t i = 0; i < kBatch; ++i) {
      at = bytes_.find(Id(i), at);
      places_.push_back(at);
    }
  }

  // The request with new ids, all with `prefix` of 8 bytes.
  grpc::ByteBuffer WithIds(const std::string& prefix, uint64_t first) const {
    grpc_slice slice = grpc_slice_malloc(bytes_.size());
    char* data = reinterpret_cast<char*>(GRPC_SLICE_START_PTR(slice));
    std::copy(bytes_.begin(), bytes_.end(), data);
    for (uint64_t i = 0; i < kBatch; ++i) {
      const std::string id = IdOf(prefix, first + i);
      std::copy(id.begin(), id.end(), data + places_[i]);
    }
    const grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
    return grpc::ByteBuffer(&owned, 1);
  }

 private:
  // Stands for an id; of the same length.
  static std::string Id(uint64_t i) { return absl::StrFormat("#%019d", i); }

  std::string bytes_;
  std::vector<size_t> places_;
};

// What one stream has sent and not yet seen acknowledged.
struct Window {
  absl::Mutex mutex;
  uint64_t settled = 0;
  std::deque<std::pair<uint64_t, absl::Duration>> waiting;  // position, due
  std::vector<absl::Duration> latencies;
  bool ended = false;
};

LoadResult RunStream(int port, int run, int which, const LoadOptions& options) {
  const base::Clock& clock = *base::Clock::System();
  std::vector<Message> messages;
  for (uint64_t m = 0; m < kMessages; ++m) {
    messages.emplace_back(m * kBatch, which + 1);
  }
  const std::string prefix =
      absl::StrFormat("%c%c%06x", 'a' + which % 26, 'a' + run % 26, getpid());

  const auto channel = Connect(port, which);
  const grpc::internal::RpcMethod method(
      "/faultline.v1.TraceIngestService/StreamTraces",
      grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  using Stream =
      grpc::ClientReaderWriter<grpc::ByteBuffer, v1::StreamTracesResponse>;
  const std::unique_ptr<Stream> stream(
      grpc::internal::ClientReaderWriterFactory<
          grpc::ByteBuffer, v1::StreamTracesResponse>::Create(channel.get(),
                                                              method,
                                                              &context));
  Window window;
  std::thread reader([&] {
    v1::StreamTracesResponse response;
    while (stream->Read(&response)) {
      const absl::Duration now = clock.SteadyNow();
      absl::MutexLock lock(&window.mutex);
      window.settled = std::max<uint64_t>(window.settled, response.settled());
      while (!window.waiting.empty() &&
             window.waiting.front().first <= window.settled) {
        window.latencies.push_back(now - window.waiting.front().second);
        window.waiting.pop_front();
      }
    }
    absl::MutexLock lock(&window.mutex);
    window.ended = true;
  });

  const absl::Duration begin = clock.SteadyNow();
  const absl::Duration deadline = begin + options.length;
  const absl::Duration interval =
      options.rate > 0 ? absl::Seconds(kBatch * options.streams / options.rate)
                       : absl::ZeroDuration();
  const uint64_t wanted = (options.traces + options.streams - 1) /
                          static_cast<uint64_t>(options.streams);
  uint64_t sent = 0;
  // Streams take turns within the interval.
  absl::Duration due = begin + interval * which / options.streams;
  while (clock.SteadyNow() < deadline && (wanted == 0 || sent < wanted)) {
    {
      absl::MutexLock lock(&window.mutex);
      const auto never = [] { return false; };
      if (options.rate > 0) {
        clock.AwaitWithDeadline(&window.mutex, absl::Condition(&never), due);
      } else {
        due = clock.SteadyNow();
      }
      const auto room = [&] {
        return window.ended || sent - window.settled < options.in_flight;
      };
      clock.AwaitWithDeadline(&window.mutex, absl::Condition(&room), deadline);
      if (window.ended || clock.SteadyNow() >= deadline) break;
      window.waiting.emplace_back(sent + kBatch, due);
    }
    const Message& message = messages[sent / kBatch % kMessages];
    if (!stream->Write(message.WithIds(prefix, sent))) break;
    sent += kBatch;
    due += interval;
  }
  stream->WritesDone();
  reader.join();
  const grpc::Status status = stream->Finish();
  if (!status.ok()) {
    std::fprintf(stderr, "stream: %s\n", status.error_message().c_str());
  }
  LoadResult result;
  absl::MutexLock lock(&window.mutex);
  result.acknowledged = window.settled;
  result.first_id = IdOf(prefix, 0);
  result.seconds = absl::ToDoubleSeconds(clock.SteadyNow() - begin);
  result.latencies = std::move(window.latencies);
  return result;
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(int port, int which) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("which", which);  // a connection of its own
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port),
                                   grpc::InsecureChannelCredentials(),
                                   arguments);
}

absl::Duration LoadResult::Latency(double share) const {
  if (latencies.empty()) return absl::ZeroDuration();
  return latencies[static_cast<size_t>(share *
                                       static_cast<double>(latencies.size()))];
}

LoadResult RunLoad(int port, const LoadOptions& options) {
  static int runs = 0;
  const int run = runs++;
  std::vector<LoadResult> results(options.streams);
  std::vector<std::thread> threads;
  threads.reserve(options.streams);
  for (int s = 0; s < options.streams; ++s) {
    threads.emplace_back(
        [&, s] { results[s] = RunStream(port, run, s, options); });
  }
  for (std::thread& thread : threads) thread.join();
  LoadResult all;
  all.first_id = results.front().first_id;
  for (const LoadResult& result : results) {
    all.acknowledged += result.acknowledged;
    all.seconds = std::max(all.seconds, result.seconds);
    all.latencies.insert(all.latencies.end(), result.latencies.begin(),
                         result.latencies.end());
  }
  std::sort(all.latencies.begin(), all.latencies.end());
  return all;
}

}  // namespace faultline::bench
