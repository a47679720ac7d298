#include "lib/ingest/ingestor.h"

#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/ingest/indexer.h"
#include "lib/ingest/quota.h"
#include "lib/trace/content_policy.h"

namespace faultline::ingest {
namespace {

// What became of a project's elements, since start.
struct Counts {
  uint64_t rejected = 0;
  uint64_t duplicates = 0;
  uint64_t held = 0;
  std::map<v1::DeletionReason, uint64_t> removed;
  uint64_t sampled = 0;
  double unsent = 0;
};

// As serialised.
template <typename Element>
uint64_t Bytes(const std::vector<Element>& elements) {
  uint64_t bytes = 0;
  for (const Element& element : elements) bytes += element.ByteSizeLong();
  return bytes;
}

// A trace id as a refusal quotes it.
std::string Quote(const std::string& trace_id) {
  return base::CutText(trace_id, 128);
}

// Why a piece was refused; nothing where it was not.
std::optional<v1::ErrorDetail> ToFault(TraceAssembler::Verdict verdict) {
  using Verdict = TraceAssembler::Verdict;
  switch (verdict) {
    case Verdict::kStaged:
    case Verdict::kDuplicate:
      return std::nullopt;
    case Verdict::kClosed:
      return base::MakeErrorDetail(
          v1::ErrorDetail::REASON_CLOSED, "trace_id",
          "a run that is open, or may still be amended",
          "is that of a run that is closed; send pieces sooner, or widen "
          "assembly.amend_window");
    case Verdict::kTooMany:
      return base::MakeErrorDetail(v1::ErrorDetail::REASON_TOO_MANY, "id",
                                   "at most 16384 pieces in a run",
                                   "is one too many; send larger pieces");
    case Verdict::kTooLarge:
      return base::MakeErrorDetail(v1::ErrorDetail::REASON_TOO_LARGE, "part",
                                   "at most 64 MiB in all pieces of a run",
                                   "is over it; leave out texts");
    case Verdict::kMixed:
      return base::MakeErrorDetail(
          v1::ErrorDetail::REASON_CONFLICT, "trace_id",
          "spans or pieces, not both, in a run",
          "is that of a run that came the other way; use another id");
  }
  return std::nullopt;
}

absl::Status BadProject(const v1::ErrorDetail& detail) {
  return base::DetailedError(absl::StatusCode::kInvalidArgument, detail);
}

class IngestorImpl : public Ingestor {
 public:
  IngestorImpl(const Options& options, Indexer::EmbedderPtr first_embedder,
               trace::TraceLog* log, const trace::TraceValidator* validator,
               Settings settings, std::unique_ptr<TraceAssembler> assembler,
               const base::Clock* clock);
  ~IngestorImpl() override;

  absl::Status Replay(
      const std::function<Indexer::EmbedderPtr(absl::string_view project)>&
          embedder) override;
  absl::Status CheckRoom(absl::string_view project, bool pieces) override;
  absl::Status IngestTraces(absl::string_view project,
                            std::vector<v1::Trace>&& traces,
                            Done done) override;
  absl::Status IngestPieces(absl::string_view project,
                            std::vector<v1::Piece>&& pieces,
                            Done done) override;
  absl::Status RecordOutcomes(absl::string_view project,
                              std::vector<v1::OutcomeRecord>&& outcomes,
                              Done done) override;
  absl::Status AnnotateTraces(absl::string_view project,
                              std::vector<v1::AnnotationRecord>&& annotations,
                              Done done) override;
  void AddRejection(absl::string_view project, v1::RecordSource source,
                    absl::string_view trace_id,
                    const v1::ErrorDetail& error) override;
  const RejectionLog& rejections() const override { return rejections_; }
  void SetEmbedder(absl::string_view project,
                   Indexer::EmbedderPtr embedder) override;
  absl::StatusOr<std::vector<Similar>> FindSimilar(
      absl::string_view project, const v1::Trace& trace, v1::View view, int k,
      v1::Outcome outcome) const override;
  std::vector<v1::Outcome> GetOutcomes(
      absl::string_view project,
      absl::Span<const uint64_t> sequences) const override;
  void RequestCheckpoint(absl::string_view project) override {
    indexer_.RequestCheckpoint(project);
  }
  Counters GetCounters(absl::string_view project) const override;
  void WaitUntilIndexed(absl::string_view project) override;
  void WaitUntilAssembled() override;

 private:
  // The fault that `check` finds in what has an embedding of dimension `own`
  // (0: none). `dimension`: of the project; `check` takes it.
  std::optional<v1::ErrorDetail> CheckWithDimension(
      absl::string_view project, int own, int* dimension,
      absl::FunctionRef<std::optional<v1::ErrorDetail>(int dimension)> check);

  // Whether elements of a project may come in now; the error is counted.
  template <typename Element>
  absl::Status Admit(absl::string_view project,
                     const v1::ProjectConfig& settings,
                     const std::vector<Element>& elements)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Appends what was accepted and reports when it is durable.
  absl::Status Append(absl::string_view project, v1::RecordSource source,
                      std::vector<v1::LogRecord> records, Result result,
                      Done done) ABSL_LOCKS_EXCLUDED(mutex_);
  // Appends runs that were assembled, embedded as what a call stores, and
  // waits.
  absl::StatusOr<std::vector<trace::TraceLog::Appended>> AppendRuns(
      const std::string& project, std::vector<v1::LogRecord> records);
  void Count(absl::string_view project, v1::RecordSource source,
             const Result& result) ABSL_LOCKS_EXCLUDED(mutex_);
  void Observe(absl::string_view project,
               const std::vector<trace::TraceLog::News>& news)
      ABSL_LOCKS_EXCLUDED(mutex_);

  trace::TraceLog* const log_;
  const trace::TraceValidator* const validator_;
  const Settings settings_;
  const base::Clock* const clock_;
  RejectionLog rejections_;
  Indexer indexer_;
  std::unique_ptr<TraceAssembler> assembler_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Counts> counts_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Quota> quotas_ ABSL_GUARDED_BY(mutex_);
  int appends_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

IngestorImpl::IngestorImpl(const Options& options,
                           Indexer::EmbedderPtr first_embedder,
                           trace::TraceLog* log,
                           const trace::TraceValidator* validator,
                           Settings settings,
                           std::unique_ptr<TraceAssembler> assembler,
                           const base::Clock* clock)
    : log_(log),
      validator_(validator),
      settings_(std::move(settings)),
      clock_(clock),
      indexer_(options, std::move(first_embedder), log),
      assembler_(std::move(assembler)) {
  log_->SetObserver([this](absl::string_view project,
                           const std::vector<trace::TraceLog::News>& news) {
    Observe(project, news);
  });
}

IngestorImpl::~IngestorImpl() {
  {
    absl::MutexLock lock(&mutex_);
    const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return appends_in_flight_ == 0;
    };
    mutex_.Await(absl::Condition(&idle));
  }
  // Its last runs go through everything else.
  assembler_.reset();
}

absl::Status IngestorImpl::Replay(
    const std::function<Indexer::EmbedderPtr(absl::string_view project)>&
        embedder) {
  FAULTLINE_RETURN_IF_ERROR(indexer_.Replay(embedder));
  assembler_->Start({.has_room =
                         [this](const std::string& project) {
                           return indexer_.CheckLag(project).ok();
                         },
                     .append =
                         [this](const std::string& project,
                                std::vector<v1::LogRecord> records) {
                           return AppendRuns(project, std::move(records));
                         }});
  return absl::OkStatus();
}

absl::Status IngestorImpl::CheckRoom(absl::string_view project, bool pieces) {
  FAULTLINE_RETURN_IF_ERROR(log_->CheckRoom(project));
  absl::Status status = indexer_.CheckLag(project);
  if (status.ok() && pieces) status = assembler_->CheckRoom(project);
  if (!status.ok()) {
    absl::MutexLock lock(&mutex_);
    ++counts_[project].held;
  }
  return status;
}

absl::Status IngestorImpl::IngestTraces(absl::string_view project,
                                        std::vector<v1::Trace>&& traces,
                                        Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  const auto settings = settings_(project);
  FAULTLINE_RETURN_IF_ERROR(Admit(project, *settings, traces));
  std::vector<v1::Trace> taken = std::move(traces);
  const absl::Time now = clock_->Now();
  int dimension = indexer_.EmbeddingDimension(project);
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(taken.size());
  for (size_t i = 0; i < taken.size(); ++i) {
    const v1::Trace& trace = taken[i];
    if (auto fault = CheckWithDimension(project, trace.task().embedding_size(),
                                        &dimension, [&](int of_project) {
                                          return validator_->CheckTrace(
                                              trace, project, of_project, now);
                                        })) {
      result.refusals.push_back(
          {i, Quote(trace.trace_id()), *std::move(fault)});
    } else {
      trace::ApplyContentPolicy(settings->content(), project, &taken[i]);
      *records.emplace_back().mutable_trace() = std::move(taken[i]);
    }
  }
  return Append(project, v1::RECORD_SOURCE_TRACE, std::move(records),
                std::move(result), std::move(done));
}

absl::Status IngestorImpl::RecordOutcomes(
    absl::string_view project, std::vector<v1::OutcomeRecord>&& outcomes,
    Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  FAULTLINE_RETURN_IF_ERROR(Admit(project, *settings_(project), outcomes));
  std::vector<v1::OutcomeRecord> taken = std::move(outcomes);
  const absl::Time now = clock_->Now();
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(taken.size());
  for (size_t i = 0; i < taken.size(); ++i) {
    if (auto fault = validator_->CheckOutcome(taken[i], now)) {
      result.refusals.push_back(
          {i, Quote(taken[i].trace_id()), *std::move(fault)});
    } else {
      *records.emplace_back().mutable_outcome() = std::move(taken[i]);
    }
  }
  return Append(project, v1::RECORD_SOURCE_OUTCOME, std::move(records),
                std::move(result), std::move(done));
}

absl::Status IngestorImpl::AnnotateTraces(
    absl::string_view project, std::vector<v1::AnnotationRecord>&& annotations,
    Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  const auto settings = settings_(project);
  FAULTLINE_RETURN_IF_ERROR(Admit(project, *settings, annotations));
  std::vector<v1::AnnotationRecord> taken = std::move(annotations);
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(taken.size());
  for (size_t i = 0; i < taken.size(); ++i) {
    if (auto fault = validator_->CheckAnnotation(taken[i])) {
      result.refusals.push_back(
          {i, Quote(taken[i].trace_id()), *std::move(fault)});
    } else {
      trace::ApplyContentPolicy(settings->content(), project, &taken[i]);
      *records.emplace_back().mutable_annotation() = std::move(taken[i]);
    }
  }
  return Append(project, v1::RECORD_SOURCE_ANNOTATION, std::move(records),
                std::move(result), std::move(done));
}

template <typename Element>
absl::Status IngestorImpl::Admit(absl::string_view project,
                                 const v1::ProjectConfig& settings,
                                 const std::vector<Element>& elements) {
  absl::Status status = CheckRoom(project, std::is_same_v<Element, v1::Piece>);
  const v1::QuotaConfig& quota = settings.quota();
  const bool limited = quota.records_per_second() > 0 ||
                       quota.bytes_per_second() > 0 || quota.stored_bytes() > 0;
  if (status.ok() && limited) {
    const uint64_t bytes = Bytes(elements);
    const uint64_t stored = log_->StoredBytes(project);
    absl::MutexLock lock(&mutex_);
    status = quotas_[project].Take(quota, elements.size(), bytes, stored,
                                   clock_->SteadyNow());
  }
  if (!status.ok()) {
    rejections_.Count(project, base::GetErrorDetail(status)->reason(),
                      elements.size());
  }
  return status;
}

std::optional<v1::ErrorDetail> IngestorImpl::CheckWithDimension(
    absl::string_view project, int own, int* dimension,
    absl::FunctionRef<std::optional<v1::ErrorDetail>(int dimension)> check) {
  auto fault = check(*dimension);
  if (fault.has_value() || own == 0 || *dimension != 0) return fault;
  // The first one with an embedding, unless another call was faster.
  *dimension = indexer_.FixEmbeddingDimension(project, own);
  return *dimension == own ? std::nullopt : check(*dimension);
}

absl::Status IngestorImpl::IngestPieces(absl::string_view project,
                                        std::vector<v1::Piece>&& pieces,
                                        Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  const auto settings = settings_(project);
  FAULTLINE_RETURN_IF_ERROR(Admit(project, *settings, pieces));
  const bool spans =
      !pieces.empty() && pieces[0].order() == v1::PIECE_ORDER_TIME;
  const v1::RecordSource source =
      spans ? v1::RECORD_SOURCE_OTLP : v1::RECORD_SOURCE_PIECE;
  std::vector<v1::Piece> taken = std::move(pieces);
  const absl::Time now = clock_->Now();
  int dimension = indexer_.EmbeddingDimension(project);
  Result result;
  std::vector<v1::Piece> good;
  std::vector<Refusal> places;  // of the good ones
  for (size_t i = 0; i < taken.size(); ++i) {
    v1::Piece& piece = taken[i];
    const std::string trace_id = Quote(piece.trace_id());
    if (auto fault = CheckWithDimension(
            project, piece.part().task().embedding_size(), &dimension,
            [&](int of_project) {
              return validator_->CheckPiece(piece, project, of_project, now);
            })) {
      result.refusals.push_back({i, trace_id, *std::move(fault)});
    } else {
      places.push_back({i, trace_id, {}});
      trace::ApplyContentPolicy(settings->content(), project,
                                piece.mutable_part());
      good.push_back(std::move(piece));
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    ++appends_in_flight_;
  }
  auto shared = std::make_shared<std::vector<Refusal>>(std::move(places));
  absl::Status status = assembler_->Stage(
      project, std::move(good),
      [this, name = std::string(project), source, shared,
       result = std::move(result), done = std::move(done)](
          absl::StatusOr<std::vector<TraceAssembler::Verdict>>
              verdicts) mutable {
        if (verdicts.ok()) {
          for (size_t i = 0; i < verdicts->size(); ++i) {
            auto fault = ToFault((*verdicts)[i]);
            if (fault.has_value()) {
              Refusal& refusal = (*shared)[i];
              refusal.error = *std::move(fault);
              result.refusals.push_back(std::move(refusal));
            } else {
              ++((*verdicts)[i] == TraceAssembler::Verdict::kDuplicate
                     ? result.duplicates
                     : result.stored);
            }
          }
          result.durable_sequence = log_->LastSequence(name);
          Count(name, source, result);
          done(std::move(result));
        } else {
          done(std::move(verdicts).status());
        }
        absl::MutexLock lock(&mutex_);
        --appends_in_flight_;
      });
  if (!status.ok()) {
    absl::MutexLock lock(&mutex_);
    --appends_in_flight_;
  }
  return status;
}

absl::Status IngestorImpl::Append(absl::string_view project,
                                  v1::RecordSource source,
                                  std::vector<v1::LogRecord> records,
                                  Result result, Done done) {
  if (records.empty()) {
    Count(project, source, result);
    result.durable_sequence = log_->LastSequence(project);
    done(std::move(result));
    return absl::OkStatus();
  }
  {
    absl::MutexLock lock(&mutex_);
    ++appends_in_flight_;
  }
  auto prepared = indexer_.Prepare(project, records);
  absl::Status status = log_->Append(
      project, std::move(records),
      [this, name = std::string(project), source, result = std::move(result),
       prepared, done = std::move(done)](
          absl::StatusOr<std::vector<trace::TraceLog::Appended>>
              appended) mutable {
        if (prepared != nullptr) {
          indexer_.Deliver(prepared, appended.ok() ? &*appended : nullptr);
        }
        if (appended.ok()) {
          for (const auto& record : *appended) {
            ++(record.duplicate ? result.duplicates : result.stored);
          }
          result.durable_sequence = log_->LastSequence(name);
          Count(name, source, result);
          done(std::move(result));
        } else {
          done(std::move(appended).status());
        }
        absl::MutexLock lock(&mutex_);
        --appends_in_flight_;
      });
  if (!status.ok()) {
    if (prepared != nullptr) indexer_.Deliver(prepared, nullptr);
    absl::MutexLock lock(&mutex_);
    --appends_in_flight_;
  }
  return status;
}

absl::StatusOr<std::vector<trace::TraceLog::Appended>> IngestorImpl::AppendRuns(
    const std::string& project, std::vector<v1::LogRecord> records) {
  const auto prepared = indexer_.Prepare(project, records);
  const auto deliver =
      [&](const std::vector<trace::TraceLog::Appended>* appended) {
        if (prepared != nullptr) indexer_.Deliver(prepared, appended);
      };
  absl::StatusOr<std::vector<trace::TraceLog::Appended>> result;
  absl::Notification settled;
  const absl::Status status =
      log_->Append(project, std::move(records), [&](auto appended) {
        deliver(appended.ok() ? &*appended : nullptr);
        result = std::move(appended);
        settled.Notify();
      });
  if (!status.ok()) {
    deliver(nullptr);
    return status;
  }
  settled.WaitForNotification();
  return result;
}

void IngestorImpl::AddRejection(absl::string_view project,
                                v1::RecordSource source,
                                absl::string_view trace_id,
                                const v1::ErrorDetail& error) {
  rejections_.Add(project, source, clock_->Now(), trace_id, error);
  absl::MutexLock lock(&mutex_);
  ++counts_[project].rejected;
}

void IngestorImpl::Count(absl::string_view project, v1::RecordSource source,
                         const Result& result) {
  if (result.duplicates == 0 && result.refusals.empty()) return;
  for (const Refusal& refusal : result.refusals) {
    rejections_.Add(project, source, clock_->Now(), refusal.trace_id,
                    refusal.error);
  }
  absl::MutexLock lock(&mutex_);
  Counts& counts = counts_[project];
  counts.duplicates += result.duplicates;
  counts.rejected += result.refusals.size();
}

void IngestorImpl::Observe(absl::string_view project,
                           const std::vector<trace::TraceLog::News>& news) {
  bool deleted = false;
  {
    absl::MutexLock lock(&mutex_);
    Counts& counts = counts_[project];
    for (const trace::TraceLog::News& record : news) {
      if (record.kind == v1::LogRecord::kDeletion) {
        deleted = true;
        counts.removed[record.reason] += record.removed;
      } else if (record.keep_probability > 0 && record.keep_probability < 1) {
        ++counts.sampled;
        counts.unsent += 1 / record.keep_probability - 1;
      }
    }
  }
  if (deleted) assembler_->OnDeletion(project);
  indexer_.Observe(project, news);
}

void IngestorImpl::SetEmbedder(absl::string_view project,
                               Indexer::EmbedderPtr embedder) {
  indexer_.SetEmbedder(project, std::move(embedder));
}

absl::StatusOr<std::vector<Ingestor::Similar>> IngestorImpl::FindSimilar(
    absl::string_view project, const v1::Trace& trace, v1::View view, int k,
    v1::Outcome outcome) const {
  const absl::Time now = clock_->Now();
  v1::Trace whole = trace;
  whole.clear_closing();  // of a stored one
  whole.clear_left_out();
  if (whole.trace_id().empty()) whole.set_trace_id("query");
  if (!whole.has_start_time()) {
    whole.mutable_start_time()->set_seconds(absl::ToUnixSeconds(now));
    whole.clear_end_time();
  }
  const int dimension = indexer_.EmbeddingDimension(project);
  if (auto fault = validator_->CheckTrace(whole, project, dimension, now)) {
    return base::DetailedError(absl::StatusCode::kInvalidArgument, *fault);
  }
  const absl::StatusOr<uint64_t> self =
      trace.trace_id().empty() ? absl::NotFoundError("")
                               : log_->FindTrace(project, trace.trace_id());
  if (!self.ok() && !absl::IsNotFound(self.status())) return self.status();
  return indexer_.FindSimilar(project, whole, view, self.value_or(0), k,
                              outcome);
}

std::vector<v1::Outcome> IngestorImpl::GetOutcomes(
    absl::string_view project, absl::Span<const uint64_t> sequences) const {
  return indexer_.GetOutcomes(project, sequences);
}

Ingestor::Counters IngestorImpl::GetCounters(absl::string_view project) const {
  Counters counters;
  indexer_.FillCounters(project, &counters);
  counters.assembly = assembler_->GetCounters(project);
  counters.refused = rejections_.Counts(project);
  absl::ReaderMutexLock lock(&mutex_);
  const auto it = counts_.find(project);
  if (it != counts_.end()) {
    counters.rejected = it->second.rejected;
    counters.duplicates = it->second.duplicates;
    counters.held = it->second.held;
    counters.removed = it->second.removed;
    counters.sampled = it->second.sampled;
    counters.unsent = it->second.unsent;
  }
  return counters;
}

void IngestorImpl::WaitUntilIndexed(absl::string_view project) {
  indexer_.WaitUntilIndexed(project);
}

void IngestorImpl::WaitUntilAssembled() { assembler_->WaitUntilAssembled(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Ingestor>> Ingestor::Create(
    const Options& options, trace::TraceLog* log,
    const trace::TraceValidator* validator, Settings settings,
    const base::Clock* clock) {
  if (options.index_batch == 0 || options.max_index_lag == 0) {
    return absl::InvalidArgumentError(
        "index_batch or max_index_lag: 0 (at least 1)");
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      Indexer::EmbedderPtr embedder,
      embedding::Embedder::Create(options.embedder, v1::CorpusSnapshot()));
  space::VectorSpace::Options space = options.space;
  space.dimension = embedder->dimension();
  FAULTLINE_RETURN_IF_ERROR(space::VectorSpace::Create(space).status());
  TraceAssembler::Options assembly;
  assembly.limits = validator->limits();
  assembly.max_due = options.max_closing_runs;
  // Each batch waits for the disk once.
  assembly.batch = 256;
  assembly.on_assembled = options.on_assembled;
  FAULTLINE_ASSIGN_OR_RETURN(
      auto assembler, TraceAssembler::Create(assembly, log, settings, clock));
  return std::make_unique<IngestorImpl>(options, std::move(embedder), log,
                                        validator, std::move(settings),
                                        std::move(assembler), clock);
}

}  // namespace faultline::ingest
