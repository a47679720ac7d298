#include "server/resource_name.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/error_detail.h"
#include "lib/trace/trace_validator.h"

namespace faultline::server {
namespace {

constexpr size_t kMaxIdBytes = 128;

absl::Status Malformed(absl::string_view field, absl::string_view name,
                       absl::string_view form) {
  const auto reason = name.empty() ? v1::ErrorDetail::REASON_REQUIRED
                                   : v1::ErrorDetail::REASON_MALFORMED;
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(
          reason, field, form,
          name.empty() ? "is missing"
                       : absl::StrCat("got `", base::CutText(name, 128), "`")));
}

absl::Status CheckProject(absl::string_view field, absl::string_view project) {
  auto fault = trace::CheckProjectName(project);
  if (!fault.has_value()) return absl::OkStatus();
  fault->set_field(std::string(field));
  return base::DetailedError(absl::StatusCode::kInvalidArgument, *fault);
}

}  // namespace

absl::StatusOr<std::string> ParseProjectName(absl::string_view field,
                                             absl::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  if (parts.size() != 2 || parts[0] != "projects") {
    return Malformed(field, name, "projects/{project}");
  }
  if (absl::Status status = CheckProject(field, parts[1]); !status.ok()) {
    return status;
  }
  return std::string(parts[1]);
}

absl::StatusOr<ResourceName> ParseResourceName(absl::string_view field,
                                               absl::string_view name,
                                               absl::string_view collection) {
  // Ids of traces are the sender's, and may have slashes.
  const int splits = collection == "traces" ? 3 : 4;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(name, absl::MaxSplits('/', splits));
  if (parts.size() != 4 || parts[0] != "projects" || parts[2] != collection ||
      parts[3].empty() || parts[3].size() > kMaxIdBytes) {
    return Malformed(field, name,
                     absl::StrCat("projects/{project}/", collection, "/{id}"));
  }
  if (absl::Status status = CheckProject(field, parts[1]); !status.ok()) {
    return status;
  }
  return ResourceName{std::string(parts[1]), std::string(parts[3])};
}

std::string MakeProjectName(absl::string_view project) {
  return absl::StrCat("projects/", project);
}

std::string MakeResourceName(absl::string_view project,
                             absl::string_view collection,
                             absl::string_view id) {
  return absl::StrCat("projects/", project, "/", collection, "/", id);
}

}  // namespace faultline::server
