#ifndef FAULTLINE_LIB_TRACE_CONTENT_POLICY_H_
#define FAULTLINE_LIB_TRACE_CONTENT_POLICY_H_

#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::trace {

// What a project keeps of the texts of its runs, applied before anything is
// durable. Texts are what a person or a model wrote: Task.input,
// Decision.reason, Step.{input,output,error_message},
// MemoryState.Skip.reason, Annotation.note. Names, ids, labels, settings,
// attributes and numbers stay, as the analysis is made of them; so does
// Task.embedding. An outcome record has no text.
//
// CONTENT_POLICY_DIGEST puts the first 16 hex digits of the SHA-256 of project
// and text in the place of each text that is not empty: equal within the
// project where the texts are, and of no use to compare projects.
// CONTENT_POLICY_NONE leaves them empty. CONTENT_POLICY_FULL, and no policy,
// change nothing.
//
// Pure functions. The trace may be a part of a run.
void ApplyContentPolicy(v1::ContentPolicy policy, absl::string_view project,
                        v1::Trace* trace);
void ApplyContentPolicy(v1::ContentPolicy policy, absl::string_view project,
                        v1::AnnotationRecord* record);

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_CONTENT_POLICY_H_
