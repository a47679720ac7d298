#ifndef FAULTLINE_CLIENT_IMPORTERS_EPISODE_IMPORTER_H_
#define FAULTLINE_CLIENT_IMPORTERS_EPISODE_IMPORTER_H_

#include <istream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/importers/trace_reader.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::importers {

// The structured failure episode as JSON (docs/episode.md): task, system_state,
// decision_trace, execution_trace, memory_state, evaluation and
// failure_annotation of one run. It is the protobuf JSON form of trace.proto
// under those names and with short enum values, so every field of a trace has
// its place and a trace survives the way there and back.

// One episode. INVALID_ARGUMENT, with an ErrorDetail, where `json` is not one;
// a member that is not known is an error, so that no misspelt one gets lost.
// Never crashes, whatever the bytes.
absl::StatusOr<v1::Trace> ParseEpisode(absl::string_view json);

// The episode of a trace, on one line without its end. INVALID_ARGUMENT where
// the trace has text that is not UTF-8 or a time out of range.
absl::StatusOr<std::string> WriteEpisode(const v1::Trace& trace);

// A reader of JSON lines, or of one JSON document (an episode or an array of
// them) of at most kMaxRecordBytes. The first line decides: one that is an
// object by itself begins JSON lines.
std::unique_ptr<TraceReader> NewEpisodeReader(
    std::unique_ptr<std::istream> input);

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_EPISODE_IMPORTER_H_
