#include <algorithm>
#include <cmath>
#include <string>

#include "lib/embedding/channels/channels.h"
#include "lib/trace/trace_field.h"

namespace faultline::embedding {
namespace {

// Words of the input that count; the rest of a long one adds little.
constexpr size_t kMaxWords = 512;

void AddWords(const v1::Task& task, TokenSink* sink) {
  size_t words = 0;
  trace::VisitWords(task.input(), [&](absl::string_view) { ++words; });
  words = std::min(words, kMaxWords);
  if (words == 0) return;
  // The words together weigh about as much as one fact, so that a long text
  // does not drown the type and the labels.
  const float count = 1 / std::sqrt(2 * static_cast<float>(words) - 1);
  std::string previous;
  trace::VisitWords(task.input(), [&](absl::string_view word) {
    if (words == 0) return;
    --words;
    // No stop words: `not` and `or` are what a weak model trips over.
    sink->Add({"w:", word}, count);
    if (!previous.empty()) sink->Add({"b:", previous, " ", word}, count);
    previous.assign(word.data(), word.size());
  });
}

// Never task.id: it is unique, or spells out the answer.
void Extract(const TraceView& view, TokenSink* sink) {
  const v1::Task& task = view.trace.task();
  AddWords(task, sink);
  if (!task.type().empty()) sink->Add({"type=", task.type()});
  if (!task.dataset().empty()) sink->Add({"dataset=", task.dataset()});
  for (const auto& [key, value] : task.labels()) {
    sink->Add({"label:", key, "=", value});
  }
}

}  // namespace

const FeatureChannel kTaskChannel = {Channel::kTask, "task", Role::kContext, 6,
                                     Extract};

}  // namespace faultline::embedding
