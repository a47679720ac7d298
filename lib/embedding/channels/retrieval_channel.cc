#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

absl::string_view Third(size_t part, size_t whole) {
  if (3 * part < whole) return "low";
  return 3 * part < 2 * whole ? "mid" : "high";
}

// Text values of attributes may be ids, so only flags and numbers count.
void AddAttributes(const v1::Step& step, TokenSink* sink) {
  for (const auto& [key, value] : step.attributes()) {
    double number = 0;
    if (value == "true" || value == "false") {
      sink->Add({"a:", key, "=", value});
    } else if (absl::SimpleAtod(value, &number)) {
      sink->Add({"a:", key, "=", NumberBucket(number)});
    }
  }
}

void Extract(const TraceView& view, TokenSink* sink) {
  size_t retrievals = 0;
  size_t accesses = 0;
  size_t empty = 0;
  for (const StepView& step : view.steps) {
    const bool retrieval = step.step->kind() == v1::Step::KIND_RETRIEVAL;
    if (!retrieval && step.step->kind() != v1::Step::KIND_MEMORY) continue;
    (retrieval ? retrievals : accesses)++;
    if (retrieval && step.step->output().empty() && !step.failed()) ++empty;
    AddAttributes(*step.step, sink);
  }
  if (retrievals > 0) {
    sink->Add({"retrievals:", CountBucket(retrievals)});
    if (empty > 0) sink->Add({"empty:", Third(empty, retrievals)});
  }
  if (accesses > 0) sink->Add({"accesses:", CountBucket(accesses)});

  const v1::MemoryState& memory = view.trace.memory();
  if (memory.reads_size() > 0) {
    size_t used = 0;
    for (const auto& read : memory.reads()) used += read.used() ? 1 : 0;
    sink->Add({"reads:", CountBucket(memory.reads_size())});
    sink->Add({"used:", Third(used, memory.reads_size())});
  }
  if (memory.skipped_size() > 0) {
    sink->Add({"skipped:", CountBucket(memory.skipped_size())});
    for (const auto& skip : memory.skipped()) {
      if (!skip.reason().empty()) {
        sink->Add({"skip:", NormalizeName(skip.reason())});
      }
    }
  }
  if (memory.writes_size() > 0) {
    sink->Add({"writes:", CountBucket(memory.writes_size())});
  }
}

}  // namespace

const FeatureChannel kRetrievalChannel = {Channel::kRetrieval, "retrieval",
                                          Role::kBehavior, 2, Extract};

}  // namespace faultline::embedding
