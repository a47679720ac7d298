#ifndef FAULTLINE_LIB_TRACE_TRACE_LIMITS_H_
#define FAULTLINE_LIB_TRACE_TRACE_LIMITS_H_

#include <cstddef>

namespace faultline::trace {

// Limits of trace.proto that no configuration changes: of texts in bytes, of
// lists and maps in entries.
inline constexpr size_t kIdBytes = 128;
inline constexpr size_t kTaskIdBytes = 512;
inline constexpr size_t kNameBytes = 128;
inline constexpr size_t kVersionBytes = 64;
inline constexpr size_t kKeyBytes = 64;
inline constexpr size_t kValueBytes = 256;
inline constexpr size_t kReasonBytes = 512;
inline constexpr size_t kNoteBytes = 4096;
inline constexpr size_t kProjectBytes = 63;
inline constexpr int kMapEntries = 64;
inline constexpr int kDecisions = 256;
inline constexpr int kCandidates = 128;
inline constexpr int kMemoryRecords = 512;
inline constexpr int kExposures = 128;
inline constexpr int kAnnotations = 64;
inline constexpr int kEmbeddingDimension = 4096;

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_TRACE_LIMITS_H_
