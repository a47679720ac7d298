#include "tests/bench/otlp_load.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "grpc/support/time.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "tests/bench/pause.h"

namespace faultline::bench {
namespace {

using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using opentelemetry::proto::common::v1::KeyValue;
using opentelemetry::proto::trace::v1::Span;

constexpr char kMethod[] =
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr int kConnections = 8;
constexpr int kRuns = 64;  // of one export
constexpr int kSpans = OtlpLoad::kSpansOfRun;
constexpr size_t kTraceIdBytes = 16;
constexpr char kProject[] = "bench";
// Of one export, as OpenTelemetry's exporters have it.
constexpr absl::Duration kTimeout = absl::Seconds(10);
constexpr absl::Duration kRetryDelay = absl::Milliseconds(100);

void SetText(const std::string& key, const std::string& text, Span* span) {
  KeyValue& attribute = *span->add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(text);
}

void SetCount(const std::string& key, int64_t count, Span* span) {
  KeyValue& attribute = *span->add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_int_value(count);
}

std::string Words(int count, base::Random* random) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", "word", random->Below(400));
  }
  return text;
}

// Stands in for the id of a run until an export is sent.
std::string Placeholder(int run) {
  return absl::StrFormat("~~trace~%08d", run);
}

std::string SpanId(int i) { return absl::StrFormat("span%04d", i); }

void AddSpan(int run, int i, base::Random* random, Span* span) {
  span->set_trace_id(Placeholder(run));
  span->set_span_id(SpanId(i));
  const uint64_t start = 1'700'000'000'000'000'000 + 100'000'000ull * i;
  span->set_start_time_unix_nano(start);
  span->set_end_time_unix_nano(start + 90'000'000);
  if (i == 0) {
    span->set_name("agent");
    span->set_end_time_unix_nano(start + 900'000'000);
    SetText("openinference.span.kind", "AGENT", span);
    SetText("agent.name", "bench-agent", span);
    SetText("input.value", Words(30, random), span);
    SetText("session.id", absl::StrCat("session-", random->Below(1000)), span);
    return;
  }
  span->set_parent_span_id(SpanId(0));
  if (i % 2 == 0) {
    span->set_name("ChatCompletion");
    SetText("openinference.span.kind", "LLM", span);
    SetText("llm.model_name", "small", span);
    SetText("llm.provider", "openai", span);
    SetText("llm.invocation_parameters", R"({"temperature": 0.5})", span);
    SetCount("llm.token_count.prompt", 500, span);
    SetCount("llm.token_count.completion", 50, span);
    SetText("input.value", Words(40, random), span);
    SetText("output.value", Words(20, random), span);
  } else {
    span->set_name("search");
    SetText("openinference.span.kind", "TOOL", span);
    SetText("tool.name", absl::StrCat("tool", random->Below(8)), span);
    SetText("input.value",
            absl::StrCat("{\"query\":\"", Words(3, random), "\"}"), span);
    SetText("output.value", Words(40, random), span);
  }
}

ExportTraceServiceRequest MakeRequest(int seed) {
  base::Random random(seed);
  ExportTraceServiceRequest request;
  auto& resource = *request.add_resource_spans();
  KeyValue& service = *resource.mutable_resource()->add_attributes();
  service.set_key("service.name");
  service.mutable_value()->set_string_value(kProject);
  auto& scope = *resource.add_scope_spans();
  for (int run = 0; run < kRuns; ++run) {
    // The root is the last one to end, and so to come.
    for (int i = kSpans - 1; i >= 0; --i) {
      AddSpan(run, i, &random, scope.add_spans());
    }
  }
  return request;
}

// A serialised export, and where the ids of its runs stand.
class Template {
 public:
  explicit Template(int seed) : bytes_(MakeRequest(seed).SerializeAsString()) {
    for (int run = 0; run < kRuns; ++run) {
      const std::string placeholder = Placeholder(run);
      size_t at = 0;
      while ((at = bytes_.find(placeholder, at)) != std::string::npos) {
        places_.emplace_back(at, run);
        at += kTraceIdBytes;
      }
    }
  }

  // The export with runs that no other one has.
  grpc::ByteBuffer Next(int connection) {
    for (int run = 0; run < kRuns; ++run) {
      ids_[run] = absl::StrFormat("%04x%02x%08x%02x", getpid() & 0xffff,
                                  connection, count_, run);
    }
    for (const auto& [at, run] : places_) {
      std::memcpy(&bytes_[at], ids_[run].data(), kTraceIdBytes);
    }
    ++count_;
    const grpc::Slice slice(bytes_);
    return grpc::ByteBuffer(&slice, 1);
  }

  // Of the runs of the export that came last.
  const std::array<std::string, kRuns>& ids() const { return ids_; }

  size_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
  std::vector<std::pair<size_t, int>> places_;
  std::array<std::string, kRuns> ids_;
  uint32_t count_ = 0;
};

// Spans rejected, from the response; -1: it is none.
int64_t Rejected(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) return -1;
  std::string whole;
  for (const grpc::Slice& slice : slices) {
    whole.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  ExportTraceServiceResponse response;
  if (!response.ParseFromString(whole)) return -1;
  return response.partial_success().rejected_spans();
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& server,
                                         int connection) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("which", connection);  // a connection of its own
  // A server that was killed is soon back.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// Spans rejected; -1: the export failed.
int64_t Export(grpc::GenericStub* stub, const grpc::ByteBuffer& request) {
  grpc::ByteBuffer response;
  grpc::ClientContext call;
  call.set_deadline(gpr_time_add(
      gpr_now(GPR_CLOCK_MONOTONIC),
      gpr_time_from_millis(absl::ToInt64Milliseconds(kTimeout), GPR_TIMESPAN)));
  grpc::Status status;
  absl::Notification answered;
  stub->UnaryCall(&call, kMethod, {}, &request, &response, [&](grpc::Status s) {
    status = std::move(s);
    answered.Notify();
  });
  answered.WaitForNotification();
  return status.ok() ? Rejected(response) : -1;
}

// What one connection came to: but for the rate.
OtlpLoad ExportOn(const std::string& server, int connection,
                  absl::Duration deadline) {
  grpc::GenericStub stub(ConnectTo(server, connection));
  Template exports(connection);
  OtlpLoad load;
  grpc::ByteBuffer request = exports.Next(connection);
  while (base::Clock::System()->SteadyNow() < deadline) {
    const int64_t rejected = Export(&stub, request);
    if (rejected < 0) {
      ++load.failures;
      Pause(kRetryDelay);
      continue;
    }
    load.acknowledged += kRuns * kSpans;
    load.rejected += static_cast<uint64_t>(rejected);
    for (const std::string& id : exports.ids()) {
      load.runs.push_back(absl::BytesToHexString(id));
    }
    request = exports.Next(connection);
  }
  return load;
}

}  // namespace

OtlpLoad ExportSpans(const std::string& server, absl::Duration length) {
  const absl::Duration begin = base::Clock::System()->SteadyNow();
  std::array<OtlpLoad, kConnections> loads;
  std::vector<std::thread> threads;
  threads.reserve(kConnections);
  for (int c = 0; c < kConnections; ++c) {
    threads.emplace_back(
        [&, c] { loads[c] = ExportOn(server, c, begin + length); });
  }
  for (std::thread& thread : threads) thread.join();
  const absl::Duration taken = base::Clock::System()->SteadyNow() - begin;
  OtlpLoad all;
  for (OtlpLoad& load : loads) {
    all.acknowledged += load.acknowledged;
    all.rejected += load.rejected;
    all.failures += load.failures;
    all.runs.insert(all.runs.end(), std::make_move_iterator(load.runs.begin()),
                    std::make_move_iterator(load.runs.end()));
  }
  all.span_bytes = Template(0).size() / (kRuns * kSpans);
  all.spans_per_second =
      static_cast<double>(all.acknowledged) / absl::ToDoubleSeconds(taken);
  return all;
}

uint64_t CountMissingSpans(const std::string& server,
                           const std::vector<std::string>& runs) {
  const auto stub = v1::BehaviorService::NewStub(ConnectTo(server, 0));
  uint64_t missing = 0;
  for (const std::string& run : runs) {
    v1::GetTraceRequest request;
    request.set_name(absl::StrCat("projects/", kProject, "/traces/", run));
    while (true) {
      grpc::ClientContext call;
      v1::GetTraceResponse response;
      const grpc::Status status = stub->GetTrace(&call, request, &response);
      if (status.ok()) {
        // The root is the run itself, every other span a step.
        const int steps = std::min(response.trace().steps_size(), kSpans - 1);
        missing += kSpans - 1 - steps;
        break;
      }
      if (status.error_code() == grpc::StatusCode::NOT_FOUND &&
          !absl::StrContains(status.error_message(), "still open")) {
        missing += kSpans;
        break;
      }
      Pause(kRetryDelay);
    }
  }
  return missing;
}

}  // namespace faultline::bench
