#include "lib/slowloop/run_window.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace faultline::slowloop {
namespace {

void AppendRuns(const std::map<uint64_t, embedding::Run>& runs,
                std::vector<const embedding::Run*>* out) {
  for (const auto& [sequence, run] : runs) out->push_back(&run);
}

void SortByTraceId(std::vector<const embedding::Run*>* runs) {
  std::sort(runs->begin(), runs->end(),
            [](const embedding::Run* a, const embedding::Run* b) {
              return a->trace_id < b->trace_id;
            });
}

// Makes `judgement` say what both say one after the other.
void AddJudgement(const v1::Evaluation& later, v1::Evaluation* judgement) {
  judgement->set_outcome(later.outcome());
  if (later.has_cost()) judgement->set_cost(later.cost());
  if (!later.signals().empty()) {
    *judgement->mutable_signals() = later.signals();
  }
}

}  // namespace

RunWindow::RunMap& RunWindow::MapOf(v1::Outcome outcome) {
  if (outcome == v1::OUTCOME_PASS) return successes_;
  return outcome == v1::OUTCOME_UNSPECIFIED ? pending_ : failures_;
}

void RunWindow::Apply(const v1::LogRecord& record) {
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
      ApplyTrace(record.sequence(), record.trace());
      break;
    case v1::LogRecord::kReplacement:
      ApplyTrace(record.sequence(), record.replacement());
      break;
    case v1::LogRecord::kOutcome:
      ApplyOutcome(record.sequence(), record.outcome());
      break;
    case v1::LogRecord::kDeletion:
      ApplyDeletion(record.deletion());
      break;
    case v1::LogRecord::kAnnotation:
    case v1::LogRecord::kReview:
    case v1::LogRecord::kClusterReview:
    case v1::LogRecord::kConfig:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      return;
  }
  Evict();
}

void RunWindow::ApplyTrace(uint64_t sequence, const v1::Trace& trace) {
  embedding::Run run = embedding::ExtractRun(trace, &names_);
  run.sequence = sequence;
  const bool replaceable = trace.closing() != v1::CLOSING_UNSPECIFIED;
  if (const auto place = places_.find(run.trace_id); place != places_.end()) {
    RunMap& old = MapOf(place->second.outcome);
    run.known_sequence = old.at(place->second.sequence).known_sequence;
    old.erase(place->second.sequence);
  }
  if (const auto early = early_outcomes_.find(run.trace_id);
      early != early_outcomes_.end()) {
    if (replaceable) AddJudgement(early->second, &judgements_[run.trace_id]);
    embedding::ApplyOutcome(early->second, &run);
    early_outcomes_.erase(early);
  } else if (const auto judgement = judgements_.find(run.trace_id);
             judgement != judgements_.end()) {
    embedding::ApplyOutcome(judgement->second, &run);
  }
  if (run.known() && run.known_sequence == 0) run.known_sequence = sequence;
  places_[run.trace_id] = {sequence, run.outcome, replaceable};
  RunMap& runs = MapOf(run.outcome);
  runs.emplace(sequence, std::move(run));
}

void RunWindow::ApplyOutcome(uint64_t sequence,
                             const v1::OutcomeRecord& record) {
  const auto place = places_.find(record.trace_id());
  if (place == places_.end()) {
    AddEarlyOutcome(record.trace_id(), record.evaluation());
    return;
  }
  auto node = MapOf(place->second.outcome).extract(place->second.sequence);
  embedding::Run& run = node.mapped();
  embedding::ApplyOutcome(record.evaluation(), &run);
  if (run.known() && run.known_sequence == 0) run.known_sequence = sequence;
  place->second.outcome = run.outcome;
  MapOf(place->second.outcome).insert(std::move(node));
  if (place->second.replaceable) {
    AddJudgement(record.evaluation(), &judgements_[record.trace_id()]);
  }
}

void RunWindow::ApplyDeletion(const v1::Deletion& deletion) {
  for (const uint64_t sequence : deletion.sequences()) {
    pinned_.erase(sequence);
    for (RunMap* runs : {&failures_, &successes_, &pending_}) {
      const auto run = runs->find(sequence);
      if (run == runs->end()) continue;
      judgements_.erase(run->second.trace_id);
      places_.erase(run->second.trace_id);
      runs->erase(run);
    }
  }
}

void RunWindow::AddEarlyOutcome(const std::string& trace_id,
                                const v1::Evaluation& evaluation) {
  const auto [entry, inserted] =
      early_outcomes_.insert_or_assign(trace_id, evaluation);
  if (inserted) early_order_.push_back(entry->first);
}

void RunWindow::SetCapacity(const Capacity& capacity) {
  capacity_ = capacity;
  Evict();
}

void RunWindow::Evict() {
  EvictOldest(&failures_, capacity_.failures);
  EvictOldest(&successes_, capacity_.successes);
  EvictOldest(&pending_, capacity_.pending);
  while (early_order_.size() > capacity_.pending) {
    early_outcomes_.erase(early_order_.front());
    early_order_.pop_front();
  }
}

void RunWindow::EvictOldest(RunMap* runs, size_t capacity) {
  while (runs->size() > capacity) {
    const std::string& trace_id = runs->begin()->second.trace_id;
    if (const auto judgement = judgements_.find(trace_id);
        judgement != judgements_.end()) {
      AddEarlyOutcome(trace_id, judgement->second);
      judgements_.erase(judgement);
    }
    places_.erase(trace_id);
    auto run = runs->extract(runs->begin());
    if (pins_.contains(run.key())) pinned_.insert(std::move(run));
  }
}

void RunWindow::Pin(absl::flat_hash_set<uint64_t> sequences) {
  pins_ = std::move(sequences);
  for (auto run = pinned_.begin(); run != pinned_.end();) {
    run = pins_.contains(run->first) ? std::next(run) : pinned_.erase(run);
  }
}

const embedding::Run* RunWindow::Find(uint64_t sequence) const {
  for (const RunMap* runs : {&failures_, &successes_, &pinned_}) {
    const auto run = runs->find(sequence);
    if (run != runs->end()) return run->second.known() ? &run->second : nullptr;
  }
  return nullptr;
}

std::vector<const embedding::Run*> RunWindow::KnownRuns() const {
  std::vector<const embedding::Run*> runs;
  runs.reserve(failures_.size() + successes_.size());
  AppendRuns(failures_, &runs);
  AppendRuns(successes_, &runs);
  SortByTraceId(&runs);
  return runs;
}

std::vector<const embedding::Run*> RunWindow::PendingRuns() const {
  std::vector<const embedding::Run*> runs;
  AppendRuns(pending_, &runs);
  SortByTraceId(&runs);
  return runs;
}

}  // namespace faultline::slowloop
