#include "client/importers/trace_reader.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/importers/episode_importer.h"
#include "client/importers/runs_importer.h"

namespace faultline::importers {

std::vector<std::string> TraceFormats() { return {"episodes", "runs"}; }

absl::StatusOr<std::unique_ptr<TraceReader>> OpenTraceReader(
    absl::string_view format, std::unique_ptr<std::istream> input) {
  if (format == "runs") return NewRunsReader(std::move(input));
  if (format == "episodes") return NewEpisodeReader(std::move(input));
  return absl::InvalidArgumentError(
      absl::StrCat("format: no format `", format, "`; there are ",
                   absl::StrJoin(TraceFormats(), ", ")));
}

absl::StatusOr<std::unique_ptr<TraceReader>> OpenTraceFile(
    absl::string_view format, const std::string& path) {
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*file) {
    return absl::NotFoundError(
        absl::StrCat(path, ": cannot be opened: ", std::strerror(errno)));
  }
  return OpenTraceReader(format, std::move(file));
}

}  // namespace faultline::importers
