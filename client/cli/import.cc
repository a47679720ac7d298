#include "client/cli/import.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"
#include "client/importers/trace_reader.h"
#include "lib/base/status_macros.h"

namespace faultline::cli {
namespace {

// Ahead of the server: enough for full batches, little enough for progress to
// mean something.
constexpr uint64_t kAheadTraces = 4096;
constexpr uint64_t kAheadBytes = 16 << 20;

constexpr absl::Duration kLook = absl::Milliseconds(50);

}  // namespace

Import::Import(std::string format, sdk::TraceClient* client,
               const base::Clock* clock, absl::Duration patience,
               std::function<void(const std::string&)> problem)
    : format_(std::move(format)),
      client_(client),
      clock_(clock),
      patience_(patience),
      problem_(std::move(problem)) {}

absl::Status Import::Run(const std::vector<std::string>& files,
                         Progress* progress) {
  uint64_t total_bytes = 0;
  for (const std::string& file : files) {
    std::error_code error;
    total_bytes += std::filesystem::file_size(file, error);
    if (error) {
      return absl::NotFoundError(absl::StrCat(file, ": ", error.message()));
    }
  }
  absl::Status status;
  for (const std::string& file : files) {
    if (status.ok()) status = Send(file, total_bytes, progress);
  }
  if (status.ok()) status = Drain(0, 0, total_bytes, progress);
  progress->Finish(Share(total_bytes), client_->statistics().settled);
  return status;
}

absl::Status Import::Send(const std::string& file, uint64_t total_bytes,
                          Progress* progress) {
  FAULTLINE_ASSIGN_OR_RETURN(const auto reader,
                             importers::OpenTraceFile(format_, file));
  uint64_t counted = 0;
  while (true) {
    auto trace = reader->Next();
    bytes_read_ += reader->bytes_read() - counted;
    counted = reader->bytes_read();
    if (absl::IsInvalidArgument(trace.status())) {
      ++unreadable_;
      problem_(absl::StrCat(file, ": ", trace.status().message()));
      continue;
    }
    FAULTLINE_RETURN_IF_ERROR(trace.status());
    if (!trace->has_value()) return absl::OkStatus();
    ++read_;
    FAULTLINE_RETURN_IF_ERROR(
        Drain(kAheadTraces, kAheadBytes, total_bytes, progress));
    FAULTLINE_RETURN_IF_ERROR(client_->Send(**std::move(trace)));
  }
}

absl::Status Import::Drain(uint64_t traces, uint64_t bytes,
                           uint64_t total_bytes, Progress* progress) {
  auto statistics = client_->statistics();
  uint64_t settled = statistics.settled;
  absl::Duration last_settled = clock_->SteadyNow();
  progress->Update(Share(total_bytes), settled);
  while (statistics.buffered_traces > traces ||
         statistics.buffered_bytes > bytes) {
    absl::Status flushed = client_->Flush(kLook);
    if (!flushed.ok() && !absl::IsDeadlineExceeded(flushed)) return flushed;
    statistics = client_->statistics();
    progress->Update(Share(total_bytes), statistics.settled);
    if (statistics.settled > settled) {
      settled = statistics.settled;
      last_settled = clock_->SteadyNow();
    } else if (clock_->SteadyNow() - last_settled > patience_) {
      return absl::UnavailableError(absl::StrCat(
          "nothing was stored for ", Span(patience_),
          "; the last error was: ", statistics.last_error.message(),
          ". Repeat the command to go on: what is stored is not stored twice"));
    }
  }
  return absl::OkStatus();
}

double Import::Share(uint64_t total_bytes) const {
  if (total_bytes == 0 || read_ == 0) return 0;
  return static_cast<double>(bytes_read_) / static_cast<double>(total_bytes) *
         static_cast<double>(client_->statistics().settled) /
         static_cast<double>(read_);
}

ImportCounts Import::counts() const {
  const auto statistics = client_->statistics();
  return {.read = read_,
          .unreadable = unreadable_,
          .settled = statistics.settled,
          .stored =
              statistics.settled - statistics.duplicates - statistics.rejected,
          .duplicates = statistics.duplicates,
          .rejected = statistics.rejected};
}

}  // namespace faultline::cli
