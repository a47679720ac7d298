#ifndef FAULTLINE_LIB_INGEST_OTLP_FAULTLINE_DIALECT_H_
#define FAULTLINE_LIB_INGEST_OTLP_FAULTLINE_DIALECT_H_

#include "absl/status/status.h"
#include "lib/ingest/otlp/attributes.h"
#include "lib/ingest/otlp/draft.h"

namespace faultline::otlp {

// Reads `faultline.*`, what no convention has, into `draft`. A key is the path
// of a field: `faultline.step.FIELD` is one of the span's own step
// (trace.proto, Step), any other `faultline.FIELD` one of the run (Trace);
// elements of lists have their index, entries of maps their key in the path.
// Enums are given without prefix (`treatment`), durations in seconds. Besides,
// `faultline.run.closed` says that the run is whole.
//
// Times, ids and steps come from the spans and have no attribute; a key that
// names no field is counted as ignored. INVALID_ARGUMENT, with detail, where a
// value does not fit its field. Pure.
absl::Status ReadFaultline(const AttributeView& attributes, Draft* draft);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_FAULTLINE_DIALECT_H_
