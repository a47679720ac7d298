#ifndef FAULTLINE_CLIENT_IMPORTERS_LINE_READER_H_
#define FAULTLINE_CLIENT_IMPORTERS_LINE_READER_H_

#include <cstdint>
#include <istream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/error.pb.h"

namespace faultline::importers {

// Longest line, and largest document, that an importer holds in memory.
inline constexpr size_t kMaxRecordBytes = 16 << 20;

// Splits a stream into lines without ever holding more than one line of the
// permitted length. Owns the stream. Not thread-safe.
class LineReader {
 public:
  explicit LineReader(std::unique_ptr<std::istream> input);

  // Reads the next line, without its end, into `line`. False at the end.
  // INVALID_ARGUMENT: the line is longer than kMaxRecordBytes and was skipped.
  // DATA_LOSS: the stream broke; later calls return false.
  absl::StatusOr<bool> Next(std::string* line);

  // Number of the line last read; counts from 1.
  uint64_t line_number() const { return line_number_; }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  // Bytes that are buffered and not yet returned; empty at the end.
  absl::StatusOr<absl::string_view> Buffered();

  const std::unique_ptr<std::istream> input_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is left in buffer_
  uint64_t line_number_ = 0;
  uint64_t bytes_read_ = 0;
};

// An error of the record that begins at `line`, as TraceReader::Next returns
// it: the line stands in the text and in the detail's metadata.
absl::Status RecordError(uint64_t line, v1::ErrorDetail detail);

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_LINE_READER_H_
