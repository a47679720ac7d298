#ifndef FAULTLINE_SERVER_TRACE_DELETION_H_
#define FAULTLINE_SERVER_TRACE_DELETION_H_

#include <string>

#include "absl/status/statusor.h"
#include "faultline/v1/admin_service.pb.h"
#include "lib/ingest/ingestor.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"

namespace faultline::server {

// Removes the runs that a request selects from log, behaviour space and, by
// the tick that it starts, from the clusters; with `dry_run` only says what
// would go. Waits until log and space are without them. INVALID_ARGUMENT names
// the field at fault; NOT_FOUND where there is no such project; else the log's
// errors.
absl::StatusOr<v1::DeleteTracesResponse> DeleteTraces(
    const v1::DeleteTracesRequest& request, ingest::Ingestor* ingestor,
    trace::TraceLog* log, Projects* projects);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_TRACE_DELETION_H_
