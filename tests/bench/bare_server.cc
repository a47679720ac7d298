#include "tests/bench/bare_server.h"

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lib/store/rocks_store.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"

namespace faultline::bench {
namespace {

namespace collector = opentelemetry::proto::collector::trace::v1;

// Traces in one batch of the load; the bare server does not look inside.
constexpr uint64_t kBatch = 64;

// One committer thread: groups what waits, writes it, syncs, tells the owners.
class Committer {
 public:
  explicit Committer(store::KeyValueStore* store)
      : store_(store), thread_([this] { Loop(); }) {}

  void Append(std::string bytes, std::function<void()> done) {
    absl::MutexLock lock(&mutex_);
    waiting_.emplace_back(std::move(bytes), std::move(done));
  }

 private:
  void Loop() {
    uint64_t sequence = 0;
    while (true) {
      std::vector<std::pair<std::string, std::function<void()>>> group;
      {
        absl::MutexLock lock(&mutex_);
        const auto some = [this] { return !waiting_.empty(); };
        mutex_.Await(absl::Condition(&some));
        group.swap(waiting_);
      }
      store::WriteBatch batch;
      for (const auto& [bytes, done] : group) {
        batch.Put(store::Family::kLog,
                  absl::StrCat(absl::Hex(++sequence, absl::kZeroPad16)), bytes);
      }
      if (!store_->Write(batch, true).ok()) abort();
      for (const auto& [bytes, done] : group) done();
    }
  }

  store::KeyValueStore* const store_;
  absl::Mutex mutex_;
  std::vector<std::pair<std::string, std::function<void()>>> waiting_;
  std::thread thread_;
};

std::string Flatten(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// Reads the next batch while earlier ones commit; acknowledges cumulatively.
class Stream
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Stream(Committer* committer) : committer_(committer) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      absl::MutexLock lock(&mutex_);
      half_closed_ = true;
      MaybeFinish();
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      ++pending_;
    }
    committer_->Append(Flatten(request_), [this] { Committed(); });
    StartRead(&request_);
  }

  void OnWriteDone(bool) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    MaybeWrite();
    MaybeFinish();
  }

  void OnDone() override { delete this; }

 private:
  void Committed() {
    absl::MutexLock lock(&mutex_);
    --pending_;
    settled_ += kBatch;
    MaybeWrite();
    MaybeFinish();
  }

  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || written_ == settled_) return;
    writing_ = true;
    written_ = settled_;
    v1::StreamTracesResponse response;
    response.set_settled(settled_);
    const grpc::Slice slice(response.SerializeAsString());
    response_ = grpc::ByteBuffer(&slice, 1);
    StartWrite(&response_);
  }

  void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (half_closed_ && pending_ == 0 && !writing_ && !finished_) {
      finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  Committer* const committer_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  absl::Mutex mutex_;
  uint64_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t settled_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class IngestService
    : public v1::TraceIngestService::WithRawCallbackMethod_StreamTraces<
          v1::TraceIngestService::Service> {
 public:
  explicit IngestService(Committer* committer) : committer_(committer) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamTraces(
      grpc::CallbackServerContext*) override {
    return new Stream(committer_);
  }

 private:
  Committer* const committer_;
};

class OtlpService
    : public collector::TraceService::WithRawCallbackMethod_Export<
          collector::TraceService::Service> {
 public:
  explicit OtlpService(Committer* committer) : committer_(committer) {}
  grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override {
    const grpc::Slice empty("");
    *response = grpc::ByteBuffer(&empty, 1);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    committer_->Append(Flatten(*request),
                       [reactor] { reactor->Finish(grpc::Status::OK); });
    return reactor;
  }

 private:
  Committer* const committer_;
};

class PolicyService : public v1::PolicyService::WithRawCallbackMethod_GetPolicy<
                          v1::PolicyService::Service> {
 public:
  grpc::ServerUnaryReactor* GetPolicy(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer*,
                                      grpc::ByteBuffer* response) override {
    const grpc::Slice empty("");
    *response = grpc::ByteBuffer(&empty, 1);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

void RunBareServer(const std::string& directory, int ready) {
  const auto store = store::RocksStore::Open({}, directory);
  if (!store.ok()) abort();
  Committer committer(store->get());
  IngestService ingest(&committer);
  OtlpService otlp(&committer);
  PolicyService policy;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.SetMaxReceiveMessageSize(64 << 20);
  builder.RegisterService(&ingest);
  builder.RegisterService(&otlp);
  builder.RegisterService(&policy);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) abort();
  const std::string line = absl::StrCat(":", port, "\n");
  if (write(ready, line.data(), line.size()) < 0) abort();
  server->Wait();
}

}  // namespace faultline::bench
