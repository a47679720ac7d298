#ifndef FAULTLINE_LIB_TRACE_TRACE_FITTER_H_
#define FAULTLINE_LIB_TRACE_TRACE_FITTER_H_

#include <cstdint>

#include "faultline/v1/config.pb.h"
#include "faultline/v1/trace.pb.h"

// Makes what came from elsewhere keep the limits of trace.proto, for senders
// that do not know them: a run must not be lost for one long prompt. Pure
// functions.
namespace faultline::trace {

// Texts that are too long are cut at a character; bytes that are not UTF-8
// become U+FFFD; of lists that are too long the first entries stay, of maps
// those with the least keys. Returns how many texts and entries that were.
//
// `limits`: every field filled in (TraceValidator::limits). Not touched are
// trace_id and project, the number of steps, the size of the whole, and what
// no cut repairs, such as a map's key that is too long: TraceValidator still
// has to look.
uint64_t FitTrace(const v1::TraceLimits& limits, v1::Trace* trace);
// The same for what comes after a trace.
uint64_t FitOutcome(v1::OutcomeRecord* record);
uint64_t FitAnnotation(v1::AnnotationRecord* record);

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_TRACE_FITTER_H_
