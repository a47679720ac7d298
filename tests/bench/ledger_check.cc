#include "tests/bench/ledger_check.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "lib/base/clock.h"
#include "lib/store/rocks_store.h"
#include "lib/trace/trace_log.h"
#include "tests/bench/mixed_load.h"
#include "tests/bench/pause.h"
#include "tests/bench/trace_load.h"

namespace faultline::bench {
namespace {

constexpr int kThreads = 4;
constexpr uint64_t kMostPrinted = 20;
constexpr size_t kOutcomesOfCall = 256;
// Searches cost more than reads.
constexpr size_t kSearched = 40;
constexpr absl::Duration kPatience = absl::Seconds(60);

std::string NameOf(const Run& run) {
  return absl::StrCat("projects/", ProjectOf(run.way), "/traces/",
                      run.trace_id());
}

bool SaysDataLoss(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::DATA_LOSS;
}

bool Reached(const std::function<bool()>& condition) {
  const base::Clock& clock = *base::Clock::System();
  const absl::Duration end = clock.SteadyNow() + kPatience;
  while (!condition()) {
    if (clock.SteadyNow() > end) return false;
    Pause(absl::Milliseconds(10));
  }
  return true;
}

// Calls `visit` for every run, on several threads.
void ForEach(const std::vector<Run>& runs,
             const std::function<void(int thread, const Run& run)>& visit) {
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < runs.size(); i += kThreads) visit(t, runs[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class ServerCheck {
 public:
  ServerCheck(int port, std::vector<Run> runs, const Ledger& ledger,
              Findings* findings)
      : runs_(std::move(runs)),
        all_(ledger.All()),
        sequences_(ledger.Sequences()),
        findings_(findings),
        admin_(v1::AdminService::NewStub(Connect(port, -1))),
        ingest_(v1::TraceIngestService::NewStub(Connect(port, -2))) {
    for (int i = 0; i < kThreads; ++i) {
      behavior_.push_back(v1::BehaviorService::NewStub(Connect(port, -3 - i)));
    }
  }

  void CheckSequences() {
    const auto status = Status();
    for (const auto& [name, sequence] : sequences_) {
      const auto* project = Find(status, name);
      const uint64_t durable =
          project == nullptr ? 0 : project->durable_sequence();
      if (durable < sequence) {
        findings_->Lost(absl::StrCat("sequence ", sequence, " of project ",
                                     name, " was durable, and now it is ",
                                     durable));
      }
    }
  }

  void CheckRuns() {
    // Of the project that keeps few, the latest are there.
    uint64_t certain = 0;
    std::vector<uint64_t> numbers;
    for (const Run& run : runs_) {
      if (run.way == Way::kShort) numbers.push_back(run.number);
    }
    if (numbers.size() > kShortCertain) {
      std::sort(numbers.rbegin(), numbers.rend());
      certain = numbers[kShortCertain];
    }
    ForEach(runs_, [&](int thread, const Run& run) {
      CheckRun(thread, run, run.way != Way::kShort || run.number > certain);
    });
  }

  // An outcome that is known is a duplicate.
  void CheckOutcomes() {
    v1::RecordOutcomesRequest request;
    request.set_parent(absl::StrCat("projects/", kMixedProject));
    const auto send = [&] {
      if (request.outcomes().empty()) return;
      grpc::ClientContext context;
      v1::RecordOutcomesResponse response;
      const grpc::Status status =
          ingest_->RecordOutcomes(&context, request, &response);
      if (SaysDataLoss(status)) {
        findings_->DataLoss(status.error_message());
      } else if (!status.ok() || response.stored() > 0) {
        findings_->Lost(absl::StrCat(response.stored(), " outcomes of ",
                                     request.outcomes_size(), " ",
                                     status.error_message()));
      }
      request.clear_outcomes();
    };
    for (const Run& run : runs_) {
      if (!run.Lives() || run.outcome == v1::OUTCOME_UNSPECIFIED) continue;
      v1::OutcomeRecord& outcome = *request.add_outcomes();
      outcome.set_trace_id(run.trace_id());
      outcome.mutable_evaluation()->set_evaluator("judge");
      outcome.mutable_evaluation()->set_outcome(run.outcome);
      if (request.outcomes_size() == kOutcomesOfCall) send();
    }
    send();
  }

  // A run that is there is the one most like itself, and one that is deleted
  // is like none.
  void CheckLikeness() {
    size_t live = 0;
    size_t deleted = 0;
    for (const Run& run : runs_) {
      if (run.way != Way::kWhole || !run.IsWhole()) continue;
      if (++(run.Lives() ? live : deleted) > kSearched) continue;
      v1::FindSimilarTracesRequest request;
      request.set_parent(absl::StrCat("projects/", kMixedProject));
      *request.mutable_trace() = MakeWhole(run);
      request.mutable_trace()->clear_trace_id();
      request.set_page_size(5);
      grpc::ClientContext context;
      v1::FindSimilarTracesResponse response;
      const grpc::Status status =
          behavior_[0]->FindSimilarTraces(&context, request, &response);
      if (SaysDataLoss(status)) {
        findings_->DataLoss(status.error_message());
        continue;
      }
      const v1::FindSimilarTracesResponse::Neighbor* self = nullptr;
      for (const auto& neighbor : response.neighbors()) {
        if (neighbor.trace_id() == run.trace_id()) self = &neighbor;
      }
      if (run.Lives() != (self != nullptr)) {
        findings_->Lost(absl::StrCat(
            run.Lives() ? "not found as like itself: " : "still found: ",
            NameOf(run), " ", status.error_message()));
      } else if (self != nullptr && run.outcome != v1::OUTCOME_UNSPECIFIED &&
                 self->outcome() != run.outcome) {
        findings_->Lost(absl::StrCat("the outcome of ", NameOf(run), " is ",
                                     v1::Outcome_Name(self->outcome())));
      }
    }
  }

  // What the server counts is what there is, and all is indexed.
  void CheckCounts() {
    uint64_t live = 0;
    for (const Run& run : all_) live += run.way != Way::kShort && run.Lives();
    v1::GetStatusResponse status;
    const bool indexed = Reached([&] {
      status = Status();
      for (const auto& project : status.projects()) {
        if (project.indexed_sequence() != project.durable_sequence()) {
          return false;
        }
      }
      return true;
    });
    if (!indexed) findings_->Lost("the index does not come up to the log");
    Compare("traces in project mixed", kMixedProject, status, live, live);
    // Retention goes on.
    const uint64_t short_found = ShortFound();
    Compare("traces in project short", kShortProject, status,
            std::min(short_found, kShortKeeps), short_found);
  }

 private:
  uint64_t ShortFound() {
    absl::MutexLock lock(&mutex_);
    return short_found_;
  }

  void CheckRun(int thread, const Run& run, bool certain) {
    if (!run.IsWhole()) return;
    v1::GetTraceResponse response;
    grpc::Status status;
    std::string difference;
    const auto read = [&] {
      grpc::ClientContext context;
      v1::GetTraceRequest request;
      request.set_name(NameOf(run));
      status = behavior_[thread]->GetTrace(&context, request, &response);
      difference =
          status.ok() ? Difference(run, response.trace()) : NameOf(run);
      return (status.ok() && difference.empty()) || SaysDataLoss(status);
    };
    const bool comes_later =
        run.Lives() && (run.way == Way::kPieces || run.way == Way::kSpans);
    const bool right = comes_later ? Reached(read) : read();
    if (SaysDataLoss(status)) {
      findings_->DataLoss(status.error_message());
      return;
    }
    const bool absent = status.error_code() == grpc::StatusCode::NOT_FOUND;
    if (!run.Lives()) {
      if (!absent) {
        findings_->Lost(absl::StrCat("was deleted, and is there: ", NameOf(run),
                                     " ", status.error_message()));
      }
    } else if (!right && (certain || !absent)) {
      findings_->Lost(absl::StrCat(NameOf(run), ": ", status.error_message(),
                                   " ", difference));
    } else if (right && run.way == Way::kShort) {
      absl::MutexLock lock(&mutex_);
      ++short_found_;
    }
  }

  void Compare(const char* what, const char* name,
               const v1::GetStatusResponse& status, uint64_t least,
               uint64_t most) {
    if (findings_->data_losses() > 0) return;  // what was found is not all
    const auto* project = Find(status, name);
    const uint64_t got = project == nullptr ? 0 : project->traces();
    if (got < least) {
      findings_->Lost(absl::StrCat(what, ": ", got, " of ", least));
    } else if (got > most) {
      findings_->Duplicate(absl::StrCat(what, ": ", got, ", not ", most));
    }
  }

  v1::GetStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetStatusResponse response;
    const grpc::Status status =
        admin_->GetStatus(&context, v1::GetStatusRequest(), &response);
    if (!status.ok()) findings_->Lost(status.error_message());
    return response;
  }

  static const v1::GetStatusResponse::Project* Find(
      const v1::GetStatusResponse& status, absl::string_view name) {
    for (const auto& project : status.projects()) {
      if (project.name() == absl::StrCat("projects/", name)) return &project;
    }
    return nullptr;
  }

  const std::vector<Run> runs_;  // to be checked
  const std::vector<Run> all_;
  const std::map<std::string, uint64_t> sequences_;
  Findings* const findings_;
  const std::unique_ptr<v1::AdminService::Stub> admin_;
  const std::unique_ptr<v1::TraceIngestService::Stub> ingest_;
  std::vector<std::unique_ptr<v1::BehaviorService::Stub>> behavior_;
  absl::Mutex mutex_;
  uint64_t short_found_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

void Findings::Print(const char* kind, uint64_t count, absl::string_view what) {
  if (count > kMostPrinted) return;
  std::printf("  %s: %s\n", kind, std::string(what).c_str());
}

void Findings::Lost(absl::string_view what) {
  absl::MutexLock lock(&mutex_);
  Print("LOST", ++lost_, what);
}

void Findings::Duplicate(absl::string_view what) {
  absl::MutexLock lock(&mutex_);
  Print("DUPLICATE", ++duplicates_, what);
}

void Findings::DataLoss(absl::string_view what) {
  absl::MutexLock lock(&mutex_);
  Print("damaged, and says so", ++data_losses_, what);
}

uint64_t Findings::data_losses() const {
  absl::MutexLock lock(&mutex_);
  return data_losses_;
}

uint64_t Findings::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

uint64_t Findings::duplicates() const {
  absl::MutexLock lock(&mutex_);
  return duplicates_;
}

void CheckSequences(int port, const Ledger& ledger, Findings* findings) {
  ServerCheck(port, {}, ledger, findings).CheckSequences();
}

bool CheckServer(int port, Ledger* ledger, Findings* findings) {
  MixedLoad rest(port, /*new_runs=*/false, ledger);
  if (!rest.Finish(kPatience)) {
    std::printf("  what was in doubt is not taken:\n");
    for (const auto& [error, times] : rest.Errors()) {
      std::printf("  %lu times %s\n", static_cast<unsigned long>(times),
                  error.c_str());
    }
    return false;
  }
  ServerCheck check(port, ledger->TakeUnchecked(), *ledger, findings);
  check.CheckSequences();
  check.CheckRuns();
  check.CheckOutcomes();
  check.CheckCounts();
  check.CheckLikeness();
  return true;
}

bool CheckStore(const std::string& data_dir, const Ledger& ledger,
                Findings* findings) {
  auto store = store::RocksStore::Open({}, data_dir);
  if (!store.ok()) {
    std::printf("  %s\n", store.status().ToString().c_str());
    return false;
  }
  const auto log =
      trace::TraceLog::Create({}, store->get(), base::Clock::System());
  if (!log.ok()) {
    std::printf("  %s\n", log.status().ToString().c_str());
    return false;
  }
  struct Found {
    int times = 0;
    bool equal = false;  // of the last version
  };
  absl::flat_hash_map<std::string, Run> sent;
  for (const Run& run : ledger.All()) sent.emplace(run.trace_id(), run);
  absl::flat_hash_map<std::string, Found> found;
  for (const char* project : {kMixedProject, kShortProject}) {
    const absl::Status status = (*log)->Scan(
        project, 1, (*log)->LastSequence(project),
        [&](const v1::LogRecord& record) {
          const bool fresh = record.has_trace();
          if (!fresh && !record.has_replacement()) return true;
          const v1::Trace& trace =
              fresh ? record.trace() : record.replacement();
          const auto run = sent.find(trace.trace_id());
          if (run == sent.end()) {
            findings->Duplicate(absl::StrCat("nobody sent ", trace.trace_id()));
            return true;
          }
          Found& entry = found[trace.trace_id()];
          entry.times += fresh;
          entry.equal = Difference(run->second, trace).empty();
          return true;
        });
    if (!status.ok()) {
      std::printf("  %s\n", status.ToString().c_str());
      return false;
    }
  }
  for (const auto& [id, run] : sent) {
    const Found entry = found[id];
    if (entry.times > 1) {
      findings->Duplicate(absl::StrCat(id, ": in the log ", entry.times));
    }
    if (run.deletion == Run::Deletion::kDone && entry.times > 0) {
      findings->Lost(absl::StrCat("was deleted, and is in the log: ", id));
    }
    if (run.Lives() && run.way != Way::kShort && !entry.equal) {
      findings->Lost(absl::StrCat("not in the log as it was sent: ", id));
    }
  }
  return true;
}

}  // namespace faultline::bench
