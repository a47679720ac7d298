#include "lib/slowloop/run_window.h"

#include <algorithm>
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

}  // namespace

RunWindow::RunMap& RunWindow::MapOf(v1::Outcome outcome) {
  if (outcome == v1::OUTCOME_PASS) return successes_;
  return outcome == v1::OUTCOME_UNSPECIFIED ? pending_ : failures_;
}

void RunWindow::Apply(const v1::LogRecord& record) {
  if (record.has_trace()) {
    ApplyTrace(record.sequence(), record.trace());
  } else if (record.has_outcome()) {
    ApplyOutcome(record.outcome());
  } else {
    return;
  }
  Evict();
}

void RunWindow::ApplyTrace(uint64_t sequence, const v1::Trace& trace) {
  embedding::Run run = embedding::ExtractRun(trace, &names_);
  run.sequence = sequence;
  if (const auto early = early_outcomes_.find(run.trace_id);
      early != early_outcomes_.end()) {
    embedding::ApplyOutcome(early->second, &run);
    early_outcomes_.erase(early);
  }
  places_[run.trace_id] = {sequence, run.outcome};
  RunMap& runs = MapOf(run.outcome);
  runs.emplace(sequence, std::move(run));
}

void RunWindow::ApplyOutcome(const v1::OutcomeRecord& record) {
  const auto place = places_.find(record.trace_id());
  if (place == places_.end()) {
    const auto [entry, inserted] = early_outcomes_.insert_or_assign(
        record.trace_id(), record.evaluation());
    if (inserted) early_order_.push_back(entry->first);
    return;
  }
  auto node = MapOf(place->second.outcome).extract(place->second.sequence);
  embedding::ApplyOutcome(record.evaluation(), &node.mapped());
  place->second.outcome = node.mapped().outcome;
  MapOf(place->second.outcome).insert(std::move(node));
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
    places_.erase(runs->begin()->second.trace_id);
    runs->erase(runs->begin());
  }
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
