#ifndef FAULTLINE_LIB_TRACE_LOG_KEYS_H_
#define FAULTLINE_LIB_TRACE_LOG_KEYS_H_

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// How the log lies in the store (ordered_key.h gives the encodings):
//
//   log     text(project) number(sequence)
//             -> LogRecord
//   ids     text(project) 't' text(trace_id)
//             -> Known, of the trace or its last replacement
//   ids     text(project) 'o' text(trace_id) text(evaluator)
//   ids     text(project) 'a' text(trace_id) text(annotator) text(failure_mode)
//             -> Known, of the latest such record
//   ids     text(project) 'j' text(trace_id) number(sequence)
//             -> nothing; an outcome or annotation of the trace that a later
//                one took the place of
//   ids     text(project) 'e' text(trace_id) number(sequence)
//             -> nothing; a record of the trace that a replacement took the
//                place of
//   pieces  text(project) text(trace_id) text(id)
//             -> Piece
//
//   meta    text("log") text(project) text("bytes")
//             -> number, the bytes of all records that are about a trace
//   meta    text("log") text(project) text("first")
//             -> number; records below it may be missing, later ones may not
//   meta    text("log") text(project) text("config")
//             -> ProjectConfig, of the latest record of settings
//
// A record, its id and what meta says of it are written in one batch.
namespace faultline::trace {

// Kinds of ids.
inline constexpr char kTraceId = 't';
inline constexpr char kOutcomeId = 'o';
inline constexpr char kAnnotationId = 'a';
inline constexpr char kEarlierVersion = 'e';
inline constexpr char kEarlierJudgement = 'j';

std::string ProjectPrefix(absl::string_view project);

std::string LogKey(absl::string_view project, uint64_t sequence);

std::string IdKey(absl::string_view project, char kind,
                  std::initializer_list<absl::string_view> id);

// Of a record that a later one took the place of. `kind`: kEarlierVersion or
// kEarlierJudgement.
std::string EarlierKey(absl::string_view project, char kind,
                       absl::string_view trace_id, uint64_t sequence);

// Of all pieces of a run.
std::string PiecePrefix(absl::string_view project, absl::string_view trace_id);
// A fact about a project.
std::string MetaKey(absl::string_view project, absl::string_view fact);

std::string PieceKey(absl::string_view project, absl::string_view trace_id,
                     absl::string_view id);

// What an id stands for: the latest record with it.
struct Known {
  uint64_t sequence = 0;
  uint64_t digest = 0;  // of its content; 0: of a trace, whose id is enough
  // Of a trace or its replacement; 0: not recorded.
  uint32_t receive_seconds = 0;  // Unix time
  uint32_t bytes = 0;            // as stored

  // number(sequence); number(digest) where it or what follows is not 0;
  // number(receive_seconds * 2^32 + bytes) where it is not 0.
  std::string Encode() const;
  // DATA_LOSS where it is none.
  static absl::StatusOr<Known> Decode(absl::string_view value);
};

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_LOG_KEYS_H_
