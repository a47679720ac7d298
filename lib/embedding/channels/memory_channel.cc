#include <algorithm>

#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

absl::string_view AgeBucket(int64_t seconds) {
  if (seconds < 60) return "minute";
  if (seconds < 3600) return "hour";
  if (seconds < 86400) return "day";
  if (seconds < 7 * 86400) return "week";
  return seconds < 30 * 86400 ? "month" : "older";
}

// Never the snapshot's id: it is unique.
void Extract(const TraceView& view, TokenSink* sink) {
  if (!view.trace.has_memory()) return;
  const v1::MemoryState& memory = view.trace.memory();
  sink->Add({"size:", NumberBucket(static_cast<double>(memory.size()))});
  if (!memory.schema_version().empty()) {
    sink->Add({"schema=", memory.schema_version()});
  }
  for (const auto& [key, value] : memory.stats()) {
    sink->Add({"stat:", key, "=", NumberBucket(value)});
  }
  int64_t oldest = -1;
  for (const auto& read : memory.reads()) {
    if (!read.record_class().empty()) {
      sink->Add({"class:", NormalizeName(read.record_class())});
    }
    if (!read.has_age()) continue;
    sink->Add({"age:", AgeBucket(read.age().seconds())});
    oldest = std::max(oldest, read.age().seconds());
  }
  if (oldest >= 0) sink->Add({"oldest:", AgeBucket(oldest)});
}

}  // namespace

const FeatureChannel kMemoryChannel = {Channel::kMemory, "memory",
                                       Role::kContext, 2, Extract};

}  // namespace faultline::embedding
