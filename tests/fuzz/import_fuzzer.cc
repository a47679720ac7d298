// Files that somebody imports: every record is read or refused, by each of the
// formats, and an episode survives being written and read again.

#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>

#include "client/importers/episode_importer.h"
#include "client/importers/trace_reader.h"
#include "faultline/v1/trace.pb.h"

namespace importers = faultline::importers;

extern "C" int LLVMFuzzerInitialize(int*, char***) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& format : importers::TraceFormats()) {
    auto reader = importers::OpenTraceReader(
        format, std::make_unique<std::istringstream>(text));
    if (!reader.ok()) std::abort();
    // A record takes at least one byte, so this ends.
    for (size_t i = 0; i <= size + 1; ++i) {
      const auto trace = (*reader)->Next();
      if (trace.ok() && !trace->has_value()) break;
      if (i > size) std::abort();
      if (!trace.ok()) continue;
      const auto episode = importers::WriteEpisode(**trace);
      if (!episode.ok()) continue;
      if (!importers::ParseEpisode(*episode).ok()) std::abort();
    }
    if ((*reader)->bytes_read() > size) std::abort();
  }
  return 0;
}
