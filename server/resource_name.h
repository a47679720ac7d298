#ifndef FAULTLINE_SERVER_RESOURCE_NAME_H_
#define FAULTLINE_SERVER_RESOURCE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::server {

// Names of resources: `projects/{project}` and
// `projects/{project}/{collection}/{id}`, such as `projects/p/clusters/c`.

// Project of `projects/{project}`. INVALID_ARGUMENT, naming `field`, where
// `name` is not of that form.
absl::StatusOr<std::string> ParseProjectName(absl::string_view field,
                                             absl::string_view name);

struct ResourceName {
  std::string project;
  std::string id;
};

// Parts of `projects/{project}/{collection}/{id}`; the same error.
absl::StatusOr<ResourceName> ParseResourceName(absl::string_view field,
                                               absl::string_view name,
                                               absl::string_view collection);

std::string MakeProjectName(absl::string_view project);
std::string MakeResourceName(absl::string_view project,
                             absl::string_view collection,
                             absl::string_view id);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_RESOURCE_NAME_H_
