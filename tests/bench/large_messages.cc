#include "tests/bench/large_messages.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "tests/bench/pause.h"
#include "tests/bench/synthetic_traces.h"

namespace faultline::bench {
namespace {

namespace collector = opentelemetry::proto::collector::trace::v1;
using opentelemetry::proto::common::v1::KeyValue;
using opentelemetry::proto::trace::v1::Span;

constexpr size_t kLimit = 64 << 20;
constexpr size_t kBomb = 4 * kLimit;
constexpr size_t kText = 60'000;  // below the limit of a text
constexpr int kStepsOfTrace = 16;
constexpr int kSpansOfTrace = 8;
constexpr char kParent[] = "projects/large";
constexpr absl::Duration kRetryDelay = absl::Milliseconds(200);
// Of a message that is refused again and again.
constexpr int kMostTries = 600;

std::shared_ptr<grpc::Channel> Connect(const std::string& server) {
  static std::atomic<int> connections = 0;
  grpc::ChannelArguments arguments;
  arguments.SetInt("which", connections++);  // a connection of its own
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// That no other process or call has.
std::string NewName() {
  static std::atomic<int> names = 0;
  return absl::StrCat("large", getpid(), "-", names++, "-");
}

// Makes `message`, which is larger, `bytes` long: by cutting `text`, then by
// filling up `name`, since lengths take one to three bytes.
template <typename Message>
void Fit(size_t bytes, std::string* text, std::string* name, Message* message) {
  const size_t excess = message->ByteSizeLong() - bytes;
  text->resize(text->size() - std::min(text->size(), excess));
  while (message->ByteSizeLong() < bytes) name->push_back('x');
  if (message->ByteSizeLong() != bytes) std::abort();
}

// Traces below every limit; Request: IngestTracesRequest, StreamTracesRequest.
template <typename Request>
Request MakeTraces(size_t bytes) {
  const std::string name = NewName();
  Request request;
  request.set_parent(kParent);
  v1::Trace* trace = nullptr;
  v1::Step* step = nullptr;
  while (request.ByteSizeLong() < bytes) {
    if (trace == nullptr || trace->steps_size() > kStepsOfTrace) {
      trace = request.add_traces();
      *trace = MakeSyntheticTrace(0, 1);
      trace->clear_steps();
      trace->set_trace_id(absl::StrCat(name, request.traces_size()));
    }
    step = trace->add_steps();
    step->set_kind(v1::Step::KIND_TOOL);
    step->set_output(std::string(kText, 'x'));
  }
  Fit(bytes, step->mutable_output(), trace->mutable_session_id(), &request);
  return request;
}

void SetText(const char* key, size_t bytes, Span* span) {
  KeyValue& attribute = *span->add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(std::string(bytes, 'x'));
}

// Spans below every limit.
collector::ExportTraceServiceRequest MakeExport(size_t bytes) {
  static std::atomic<int> traces = 0;
  collector::ExportTraceServiceRequest request;
  auto& spans = *request.add_resource_spans()->add_scope_spans();
  Span* span = nullptr;
  while (request.ByteSizeLong() < bytes) {
    const int number = spans.spans_size() % kSpansOfTrace;
    if (number == 0) ++traces;
    span = spans.add_spans();
    span->set_trace_id(
        absl::StrFormat("%08d%08d", getpid() % 100'000'000, traces));
    span->set_span_id(absl::StrFormat("span%04d", number));
    if (number > 0) span->set_parent_span_id("span0000");
    span->set_name("tool");
    span->set_start_time_unix_nano(1'700'000'000'000'000'000);
    span->set_end_time_unix_nano(1'700'000'001'000'000'000);
    SetText("output.value", kText, span);
  }
  Fit(bytes,
      span->mutable_attributes(0)->mutable_value()->mutable_string_value(),
      span->mutable_name(), &request);
  return request;
}

// One span that is longer than a message may be.
collector::ExportTraceServiceRequest MakeBomb() {
  collector::ExportTraceServiceRequest request;
  SetText("output.value", kBomb,
          request.add_resource_spans()->add_scope_spans()->add_spans());
  return request;
}

// A way for runs to come in. Sends a message of `bytes`, once, compressed or
// not, and a small one on the connection that was there before.
using Way = std::function<grpc::Status(size_t bytes, bool gzip)>;

grpc::Status Unexpected(const std::string& what) {
  return grpc::Status(grpc::StatusCode::INTERNAL, what);
}

void Compress(bool gzip, grpc::ClientContext* call) {
  if (gzip) call->set_compression_algorithm(GRPC_COMPRESS_GZIP);
}

// A stream, and whether it still answers.
class Bystander {
 public:
  explicit Bystander(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::TraceIngestService::NewStub(channel)),
        stream_(stub_->StreamTraces(&context_)) {
    v1::StreamTracesRequest hello;
    hello.set_parent(kParent);
    v1::StreamTracesResponse greeting;
    well_ = stream_->Write(hello) && stream_->Read(&greeting);
  }
  ~Bystander() {
    context_.TryCancel();
    stream_->Finish();
  }
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;

  bool Answers() {
    v1::StreamTracesRequest request;
    *request.add_traces() = MakeSyntheticTrace(0, 1);
    request.mutable_traces(0)->set_trace_id(NewName());
    v1::StreamTracesResponse response;
    return well_ && stream_->Write(request) && stream_->Read(&response) &&
           response.settled() == 1;
  }

 private:
  const std::unique_ptr<v1::TraceIngestService::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::StreamTracesRequest,
                                                 v1::StreamTracesResponse>>
      stream_;
  bool well_;
};

grpc::Status SendUnary(const std::shared_ptr<grpc::Channel>& channel,
                       const v1::IngestTracesRequest& request, bool gzip,
                       v1::IngestTracesResponse* response) {
  grpc::ClientContext call;
  Compress(gzip, &call);
  return v1::TraceIngestService::NewStub(channel)->IngestTraces(&call, request,
                                                                response);
}

grpc::Status SendStream(const std::shared_ptr<grpc::Channel>& channel,
                        const v1::StreamTracesRequest& request, bool gzip) {
  grpc::ClientContext call;
  Compress(gzip, &call);
  const auto stub = v1::TraceIngestService::NewStub(channel);
  const auto stream = stub->StreamTraces(&call);
  const bool written = stream->Write(request) && stream->WritesDone();
  v1::StreamTracesResponse response;
  while (stream->Read(&response)) {
  }
  grpc::Status status = stream->Finish();
  const auto sent = static_cast<uint64_t>(request.traces_size());
  if (status.ok() && (!written || response.settled() != sent)) {
    return Unexpected("not all was settled");
  }
  return status;
}

grpc::Status SendExport(const std::shared_ptr<grpc::Channel>& channel,
                        const collector::ExportTraceServiceRequest& request,
                        bool gzip) {
  grpc::ClientContext call;
  Compress(gzip, &call);
  collector::ExportTraceServiceResponse response;
  grpc::Status status = collector::TraceService::NewStub(channel)->Export(
      &call, request, &response);
  if (status.ok() && response.partial_success().rejected_spans() > 0) {
    return Unexpected(response.partial_success().error_message());
  }
  return status;
}

// A server that has too much to do is asked again.
bool MayRetry(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE;
}

grpc::Status Persist(const std::function<grpc::Status()>& send,
                     std::atomic<int>* refusals) {
  grpc::Status status;
  for (int i = 0; i < kMostTries; ++i) {
    status = send();
    if (!MayRetry(status)) break;
    if (refusals != nullptr) ++*refusals;
    Pause(kRetryDelay);
  }
  return status;
}

std::string Describe(const grpc::Status& status) {
  return status.ok() ? "stored"
                     : absl::StrCat("code ", status.error_code(), ", ",
                                    status.error_message());
}

bool IsTooLarge(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
         absl::StrContains(status.error_message(), "larger than max");
}

// Sends `make(bytes)` of the limit, of it compressed, and of a byte more.
template <typename Request>
bool CheckWay(const char* name, const std::string& server,
              const std::function<Request(size_t bytes)>& make,
              const std::function<
                  grpc::Status(const std::shared_ptr<grpc::Channel>& channel,
                               const Request& request, bool gzip)>& send) {
  const auto channel = Connect(server);
  Bystander bystander(channel);
  const auto persist = [&](size_t bytes, bool gzip) {
    const Request request = make(bytes);
    return Persist([&] { return send(channel, request, gzip); }, nullptr);
  };
  const grpc::Status plain = persist(kLimit, false);
  const grpc::Status compressed = persist(kLimit, true);
  const grpc::Status over = persist(kLimit + 1, false);
  const grpc::Status compressed_over = persist(kLimit + 1, true);
  const bool answers = bystander.Answers();
  std::printf(
      "%-13s 64 MiB: %s; compressed: %s\n"
      "%-13s a byte more: %s; compressed: %s; the stream beside it %s\n",
      name, Describe(plain).c_str(), Describe(compressed).c_str(), "",
      Describe(over).c_str(), Describe(compressed_over).c_str(),
      answers ? "goes on" : "has ended");
  return plain.ok() && compressed.ok() && IsTooLarge(over) &&
         IsTooLarge(compressed_over) && answers;
}

}  // namespace

bool CheckLimit(const std::string& server) {
  const bool unary = CheckWay<v1::IngestTracesRequest>(
      "IngestTraces", server, MakeTraces<v1::IngestTracesRequest>,
      [](const auto& channel, const auto& request, bool gzip) {
        v1::IngestTracesResponse response;
        const grpc::Status status =
            SendUnary(channel, request, gzip, &response);
        return status.ok() && response.rejections_size() > 0
                   ? Unexpected(response.rejections(0).error().message())
                   : status;
      });
  const bool stream = CheckWay<v1::StreamTracesRequest>(
      "StreamTraces", server, MakeTraces<v1::StreamTracesRequest>, SendStream);
  const bool exported = CheckWay<collector::ExportTraceServiceRequest>(
      "OTLP Export", server, MakeExport, SendExport);

  // With a trace that is not valid.
  auto request = MakeTraces<v1::IngestTracesRequest>(kLimit);
  v1::Trace& invalid = *request.mutable_traces(0);
  invalid.clear_start_time();
  Fit(kLimit, invalid.mutable_session_id(), invalid.mutable_session_id(),
      &request);
  v1::IngestTracesResponse response;
  const auto channel = Connect(server);
  const grpc::Status status = Persist(
      [&] { return SendUnary(channel, request, false, &response); }, nullptr);
  const bool refused = status.ok() && response.rejections_size() == 1;
  std::printf("%-13s 64 MiB with an invalid trace: %s\n", "IngestTraces",
              refused
                  ? absl::StrCat("that one is refused: ",
                                 response.rejections(0).error().field(), " ",
                                 response.rejections(0).error().message())
                        .c_str()
                  : Describe(status).c_str());
  return unary && stream && exported && refused;
}

bool CheckBombs(const std::string& server) {
  const collector::ExportTraceServiceRequest bomb = MakeBomb();
  const grpc::Status exported = SendExport(Connect(server), bomb, true);
  // The same bytes: what they say is not looked at.
  v1::IngestTracesRequest traces;
  traces.mutable_parent()->assign(kBomb, 'x');
  v1::IngestTracesResponse response;
  const grpc::Status ingested =
      SendUnary(Connect(server), traces, true, &response);
  v1::StreamTracesRequest request;
  request.mutable_parent()->swap(*traces.mutable_parent());
  const grpc::Status streamed = SendStream(Connect(server), request, true);
  std::printf(
      "inflates to 256 MiB: Export %s; IngestTraces %s; "
      "StreamTraces %s\n",
      Describe(exported).c_str(), Describe(ingested).c_str(),
      Describe(streamed).c_str());
  return IsTooLarge(exported) && IsTooLarge(ingested) && IsTooLarge(streamed);
}

bool CheckConcurrent(const std::string& server, int count) {
  const collector::ExportTraceServiceRequest bomb = MakeBomb();
  std::atomic<int> stored = 0;
  std::atomic<int> refusals = 0;
  std::atomic<int> too_large = 0;
  std::vector<std::thread> threads;
  threads.reserve(2 * count);
  const auto note = [&stored](const grpc::Status& status) {
    if (status.ok()) return ++stored, void();
    std::fprintf(stderr, "large: %s\n", Describe(status).c_str());
  };
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      const auto channel = Connect(server);
      if (i % 2 == 0) {
        const auto request = MakeTraces<v1::IngestTracesRequest>(kLimit);
        note(Persist(
            [&] {
              v1::IngestTracesResponse response;
              return SendUnary(channel, request, false, &response);
            },
            &refusals));
      } else {
        const auto request = MakeExport(kLimit);
        note(Persist([&] { return SendExport(channel, request, false); },
                     &refusals));
      }
    });
    threads.emplace_back([&] {
      too_large += IsTooLarge(SendExport(Connect(server), bomb, true)) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf(
      "%d messages of 64 MiB at once: %d stored, after %d refusals; of as many "
      "that inflate to 256 MiB %d refused\n",
      count, stored.load(), refusals.load(), too_large.load());
  return stored == count && too_large == count;
}

bool CheckFlood(const std::string& server, int count) {
  const std::string bytes =
      MakeTraces<v1::IngestTracesRequest>(kLimit).SerializeAsString();
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer message(&slice, 1);
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      grpc::GenericStub stub(Connect(server));
      grpc::ClientContext call;
      grpc::ByteBuffer response;
      absl::Notification done;
      stub.UnaryCall(&call, "/faultline.v1.TraceIngestService/IngestTraces", {},
                     &message, &response, [&](const grpc::Status& status) {
                       answered += status.ok() ? 1 : 0;
                       done.Notify();
                     });
      done.WaitForNotification();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto channel = Connect(server);
  const auto request = MakeTraces<v1::IngestTracesRequest>(kLimit);
  const grpc::Status after = Persist(
      [&] {
        v1::IngestTracesResponse response;
        return SendUnary(channel, request, false, &response);
      },
      nullptr);
  std::printf(
      "%d messages of 64 MiB at once: %d stored, %d refused; one after "
      "them: %s\n",
      count, answered.load(), count - answered.load(), Describe(after).c_str());
  return after.ok();
}

}  // namespace faultline::bench
