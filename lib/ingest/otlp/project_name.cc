#include "lib/ingest/otlp/project_name.h"

#include "absl/strings/ascii.h"
#include "lib/trace/trace_limits.h"

namespace faultline::otlp {

std::string ToProjectName(absl::string_view name) {
  std::string result;
  for (const char c : name) {
    if (result.size() == trace::kProjectBytes) break;
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte)) {
      result.push_back(absl::ascii_tolower(byte));
    } else if (!result.empty()) {
      result.push_back(c == '_' ? '_' : '-');
    }
  }
  return result;
}

std::string ProjectOf(absl::string_view header, const AttributeView& resource) {
  for (const absl::string_view name :
       {header, resource.Text("openinference.project.name"),
        resource.Text("service.name")}) {
    std::string project = ToProjectName(name);
    if (!project.empty()) return project;
  }
  return kDefaultProject;
}

}  // namespace faultline::otlp
