#ifndef FAULTLINE_CLIENT_IMPORTERS_TRACE_READER_H_
#define FAULTLINE_CLIENT_IMPORTERS_TRACE_READER_H_

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::importers {

// Reads traces one after another from a source of recorded runs. Holds one
// record in memory at a time. Not thread-safe.
class TraceReader {
 public:
  virtual ~TraceReader() = default;

  // The next trace, or nothing at the end. The trace has the shape of
  // trace.proto but not its limits: those are the server's to check.
  // INVALID_ARGUMENT: this record is bad; its place, the field and the reason
  // are named (base::GetErrorDetail), and the next call goes on behind it.
  // DATA_LOSS: the source broke; the next call returns nothing.
  virtual absl::StatusOr<std::optional<v1::Trace>> Next() = 0;

  // Bytes consumed so far: never more than the source has.
  virtual uint64_t bytes_read() const = 0;
};

// Names that OpenTraceReader takes: `episodes`, `runs`.
std::vector<std::string> TraceFormats();

// A reader of `input`, which it owns. INVALID_ARGUMENT names the formats where
// `format` is none of them.
absl::StatusOr<std::unique_ptr<TraceReader>> OpenTraceReader(
    absl::string_view format, std::unique_ptr<std::istream> input);

// The same for a file. NOT_FOUND where it cannot be opened.
absl::StatusOr<std::unique_ptr<TraceReader>> OpenTraceFile(
    absl::string_view format, const std::string& path);

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_TRACE_READER_H_
