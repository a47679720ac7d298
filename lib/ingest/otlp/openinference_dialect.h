#ifndef FAULTLINE_LIB_INGEST_OTLP_OPENINFERENCE_DIALECT_H_
#define FAULTLINE_LIB_INGEST_OTLP_OPENINFERENCE_DIALECT_H_

#include "lib/ingest/otlp/attributes.h"
#include "lib/ingest/otlp/draft.h"

namespace faultline::otlp {

// Reads OpenInference's attributes, lists flattened to keys included, into
// `draft`. `attributes`: of the span. Pure; docs/otlp.md has the table.
void ReadOpenInference(const AttributeView& attributes, Draft* draft);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_OPENINFERENCE_DIALECT_H_
