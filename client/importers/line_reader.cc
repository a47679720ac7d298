#include "client/importers/line_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::importers {
namespace {
constexpr size_t kBufferBytes = 1 << 16;
}  // namespace

LineReader::LineReader(std::unique_ptr<std::istream> input)
    : input_(std::move(input)) {}

absl::StatusOr<absl::string_view> LineReader::Buffered() {
  if (begin_ == buffer_.size() && input_->good()) {
    buffer_.resize(kBufferBytes);
    input_->read(buffer_.data(), static_cast<std::streamsize>(kBufferBytes));
    buffer_.resize(static_cast<size_t>(input_->gcount()));
    begin_ = 0;
    if (input_->bad()) {
      buffer_.clear();
      return absl::DataLossError(
          absl::StrCat("the source cannot be read beyond byte ", bytes_read_));
    }
  }
  return absl::string_view(buffer_).substr(begin_);
}

absl::StatusOr<bool> LineReader::Next(std::string* line) {
  line->clear();
  bool any = false;
  bool too_long = false;
  while (true) {
    FAULTLINE_ASSIGN_OR_RETURN(const absl::string_view buffered, Buffered());
    if (buffered.empty()) break;
    if (!any) ++line_number_;
    any = true;
    const size_t end = buffered.find('\n');
    const absl::string_view piece = buffered.substr(0, end);
    too_long |= line->size() + piece.size() > kMaxRecordBytes;
    if (!too_long) line->append(piece.data(), piece.size());
    const size_t used =
        end == absl::string_view::npos ? piece.size() : piece.size() + 1;
    begin_ += used;
    bytes_read_ += used;
    if (end != absl::string_view::npos) break;
  }
  if (too_long) {
    return RecordError(line_number_,
                       base::MakeErrorDetail(
                           v1::ErrorDetail::REASON_TOO_LARGE, "",
                           absl::StrCat("at most ", kMaxRecordBytes, " bytes"),
                           "the line is too long and was skipped"));
  }
  if (!line->empty() && line->back() == '\r') line->pop_back();
  return any;
}

absl::Status RecordError(uint64_t line, v1::ErrorDetail detail) {
  (*detail.mutable_metadata())["line"] = absl::StrCat(line);
  const absl::Status status =
      base::DetailedError(absl::StatusCode::kInvalidArgument, detail);
  absl::Status placed(status.code(),
                      absl::StrCat("line ", line, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    placed.SetPayload(type, payload);
  });
  return placed;
}

}  // namespace faultline::importers
