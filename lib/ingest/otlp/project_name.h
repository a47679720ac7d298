#ifndef FAULTLINE_LIB_INGEST_OTLP_PROJECT_NAME_H_
#define FAULTLINE_LIB_INGEST_OTLP_PROJECT_NAME_H_

#include <string>

#include "absl/strings/string_view.h"
#include "lib/ingest/otlp/attributes.h"

namespace faultline::otlp {

// Project of spans whose sender names none.
inline constexpr char kDefaultProject[] = "default";

// `name` as a project's name: ASCII letters in lower case, every other byte
// that a project's name may not have as `-`, those at the beginning left out,
// cut to 63 bytes. "" where nothing is left. Pure.
std::string ToProjectName(absl::string_view name);

// Project of the spans of a resource: the first of `header` (`x-project-name`
// of the call), the resource's `openinference.project.name` and its
// `service.name` that leaves a name; else the default. Pure.
std::string ProjectOf(absl::string_view header, const AttributeView& resource);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_PROJECT_NAME_H_
