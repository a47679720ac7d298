#include "tests/bench/mixed_load.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "tests/bench/pause.h"
#include "tests/bench/trace_load.h"

namespace faultline::bench {
namespace {

using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using opentelemetry::proto::collector::trace::v1::TraceService;

constexpr size_t kBatch = 8;
constexpr size_t kInFlight = 64;
constexpr size_t kOpenParts = 40;
constexpr int kJudged = 8;
constexpr int kDeleted = 4;
constexpr absl::Duration kGap = absl::Milliseconds(8);
// A deletion is compacted away at once, which takes the disk.
constexpr absl::Duration kDeletionGap = absl::Milliseconds(100);
constexpr absl::Duration kRetryGap = absl::Milliseconds(20);
constexpr absl::Duration kDeadline = absl::Seconds(60);

std::string Parent(const char* project) {
  return absl::StrCat("projects/", project);
}

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(
      absl::ToChronoTime(base::Clock::System()->Now() + kDeadline));
}

}  // namespace

MixedLoad::MixedLoad(int port, bool new_runs, Ledger* ledger)
    : port_(port), new_runs_(new_runs), ledger_(ledger) {
  const std::vector<std::function<void()>> parts = {
      [this] { Stream(Way::kWhole); },
      [this] { Stream(Way::kShort); },
      [this] { Stream(Way::kPieces); },
      [this] { Export(); },
      [this] { Judge(); },
      [this] { Delete(); }};
  running_ = static_cast<int>(parts.size());
  threads_.reserve(parts.size());
  for (const auto& part : parts) {
    threads_.emplace_back([this, part] {
      part();
      --running_;
    });
  }
}

void MixedLoad::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

bool MixedLoad::Finish(absl::Duration patience) {
  const base::Clock& clock = *base::Clock::System();
  const absl::Duration end = clock.SteadyNow() + patience;
  while (running_ > 0 && clock.SteadyNow() < end) Pause(absl::Milliseconds(5));
  const bool finished = running_ == 0;
  Stop();
  return finished;
}

std::map<std::string, uint64_t> MixedLoad::Errors() const {
  absl::MutexLock lock(&mutex_);
  return errors_;
}

void MixedLoad::CountError(const grpc::Status& status) {
  if (stop_) return;
  {
    absl::MutexLock lock(&mutex_);
    ++errors_[absl::StrCat(status.error_code(), " ", status.error_message())];
  }
  Pause(kRetryGap);
}

std::vector<Part> MixedLoad::NextBatch(Way way, size_t most,
                                       std::vector<Part>* todo) {
  // Parts of several runs, mixed.
  bool added = false;
  while (new_runs_ && todo->size() < kOpenParts) {
    const std::vector<Part> parts = ledger_->NewRun(way);
    todo->insert(todo->end(), parts.begin(), parts.end());
    added = true;
  }
  if (added) {
    std::sort(todo->begin(), todo->end(), [](const Part& a, const Part& b) {
      const auto rank = [](const Part& part) {
        return base::Mix64(part.run * 64 + part.part);
      };
      return rank(a) < rank(b);
    });
  }
  const size_t count = std::min(most, todo->size());
  std::vector<Part> batch(todo->end() - count, todo->end());
  todo->resize(todo->size() - count);
  return batch;
}

void MixedLoad::Stream(Way way) {
  while (!stop_) {
    std::vector<Part> todo = ledger_->Unacknowledged(way);
    if (todo.empty() && !new_runs_) return;
    StreamOnce(way, std::move(todo));
  }
}

void MixedLoad::StreamOnce(Way way, std::vector<Part> todo) {
  const auto stub =
      v1::TraceIngestService::NewStub(Connect(port_, static_cast<int>(way)));
  grpc::ClientContext context;
  SetDeadline(&context);
  const auto stream = stub->StreamTraces(&context);
  absl::Mutex mutex;
  std::vector<Part> sent;
  size_t settled = 0;
  bool ended = false;

  std::thread reader([&] {
    v1::StreamTracesResponse response;
    std::set<size_t> refused;
    while (stream->Read(&response)) {
      for (const v1::Rejection& rejection : response.rejections()) {
        refused.insert(rejection.index());
        CountError(
            {grpc::StatusCode::INVALID_ARGUMENT, rejection.error().message()});
      }
      std::vector<Part> acknowledged;
      {
        absl::MutexLock lock(&mutex);
        for (; settled < response.settled(); ++settled) {
          if (refused.count(settled) == 0) {
            acknowledged.push_back(sent[settled]);
          }
        }
      }
      ledger_->Acknowledge(acknowledged);
      ledger_->SawSequence(ProjectOf(way), response.durable_sequence());
    }
    absl::MutexLock lock(&mutex);
    ended = true;
  });
  const auto has_room = [&] {
    return ended || sent.size() - settled <= kInFlight;
  };
  while (!stop_) {
    const std::vector<Part> batch = NextBatch(way, kBatch, &todo);
    if (batch.empty()) break;
    v1::StreamTracesRequest request;
    request.set_parent(Parent(ProjectOf(way)));
    for (const Part& part : batch) {
      const Run run = ledger_->Get(part.run);
      if (way == Way::kPieces) {
        *request.add_pieces() = MakePiece(run, part.part);
      } else {
        *request.add_traces() = MakeWhole(run);
      }
    }
    {
      absl::MutexLock lock(&mutex);
      sent.insert(sent.end(), batch.begin(), batch.end());
      mutex.Await(absl::Condition(&has_room));
      if (ended) break;
    }
    if (!stream->Write(request)) break;
    Pause(kGap);
  }
  stream->WritesDone();
  reader.join();
  const grpc::Status status = stream->Finish();
  if (!status.ok()) CountError(status);
}

void MixedLoad::Export() {
  const auto stub = TraceService::NewStub(Connect(port_, kWays));
  std::vector<Part> todo = ledger_->Unacknowledged(Way::kSpans);
  while (!stop_) {
    const std::vector<Part> batch = NextBatch(Way::kSpans, kBatch, &todo);
    if (batch.empty()) return;
    ExportTraceServiceRequest request;
    auto& scope = *request.add_resource_spans()->add_scope_spans();
    for (const Part& part : batch) {
      *scope.add_spans() = MakeSpan(ledger_->Get(part.run), part.part);
    }
    grpc::ClientContext context;
    SetDeadline(&context);
    context.AddMetadata("x-project-name", ProjectOf(Way::kSpans));
    ExportTraceServiceResponse response;
    const grpc::Status status = stub->Export(&context, request, &response);
    if (status.ok() && response.partial_success().rejected_spans() == 0) {
      ledger_->Acknowledge(batch);
    } else {
      todo.insert(todo.begin(), batch.begin(), batch.end());
      CountError(status.ok()
                     ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                    response.partial_success().error_message())
                     : status);
    }
    Pause(kGap);
  }
}

void MixedLoad::Judge() {
  const auto stub = v1::TraceIngestService::NewStub(Connect(port_, kWays + 1));
  std::vector<size_t> todo = ledger_->DoubtfulOutcomes();
  while (!stop_) {
    if (todo.empty() && !new_runs_) return;
    if (todo.empty()) todo = ledger_->TakeToJudge(kJudged);
    if (todo.empty()) {
      Pause(kGap);
      continue;
    }
    v1::RecordOutcomesRequest request;
    request.set_parent(Parent(kMixedProject));
    for (const size_t index : todo) {
      const Run run = ledger_->Get(index);
      v1::OutcomeRecord& outcome = *request.add_outcomes();
      outcome.set_trace_id(run.trace_id());
      outcome.mutable_evaluation()->set_evaluator("judge");
      outcome.mutable_evaluation()->set_outcome(run.doubtful);
    }
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::RecordOutcomesResponse response;
    const grpc::Status status =
        stub->RecordOutcomes(&context, request, &response);
    if (status.ok() && response.rejections().empty()) {
      ledger_->SettleOutcomes(todo, /*acknowledged=*/true);
      ledger_->SawSequence(kMixedProject, response.durable_sequence());
      todo.clear();
    } else {
      CountError(status.ok() ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                            "an outcome was rejected")
                             : status);
    }
    Pause(kGap);
  }
  ledger_->SettleOutcomes(todo, /*acknowledged=*/false);
}

void MixedLoad::Delete() {
  const auto channel = Connect(port_, kWays + 2);
  const auto admin = v1::AdminService::NewStub(channel);
  const auto behavior = v1::BehaviorService::NewStub(channel);
  std::vector<size_t> todo = ledger_->DoubtfulDeletions();
  while (!stop_) {
    if (todo.empty() && !new_runs_) return;
    if (todo.empty()) {
      // Only what is put together already: an open run cannot be deleted.
      for (const size_t index : ledger_->TakeToDelete(kDeleted)) {
        grpc::ClientContext context;
        SetDeadline(&context);
        v1::GetTraceRequest request;
        request.set_name(absl::StrCat(Parent(kMixedProject), "/traces/",
                                      ledger_->Get(index).trace_id()));
        v1::GetTraceResponse response;
        if (behavior->GetTrace(&context, request, &response).ok()) {
          ledger_->BeginDeletion(index);
          todo.push_back(index);
        } else {
          ledger_->SettleDeletions({index}, /*acknowledged=*/false);
        }
      }
    }
    if (todo.empty()) {
      Pause(kGap);
      continue;
    }
    v1::DeleteTracesRequest request;
    request.set_parent(Parent(kMixedProject));
    for (const size_t index : todo) {
      request.mutable_ids()->add_trace_ids(ledger_->Get(index).trace_id());
    }
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::DeleteTracesResponse response;
    const grpc::Status status =
        admin->DeleteTraces(&context, request, &response);
    if (status.ok()) {
      ledger_->SettleDeletions(todo, /*acknowledged=*/true);
      todo.clear();
      Pause(kDeletionGap);
    } else {
      CountError(status);
    }
  }
  ledger_->SettleDeletions(todo, /*acknowledged=*/false);
}

}  // namespace faultline::bench
