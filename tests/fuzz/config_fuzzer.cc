// A configuration file: refused with a reason, or completed to one whose every
// field is in its range.

#include <cstdlib>
#include <string>

#include "faultline/v1/config.pb.h"
#include "google/protobuf/stubs/logging.h"
#include "lib/slowloop/project_config.h"
#include "server/server_options.h"

namespace server = faultline::server;
namespace slowloop = faultline::slowloop;

// Protobuf tells of every fault that it finds.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto config = server::ParseServerConfig(text, "fuzz");
  if (!config.ok()) {
    if (config.status().message().empty()) std::abort();
    return 0;
  }
  const auto project = slowloop::ResolveConfig({}, config->default_project());
  // Resolved once, it is complete: resolving it again changes nothing.
  if (project.ok() &&
      slowloop::ResolveConfig(*project, {})->SerializeAsString() !=
          project->SerializeAsString()) {
    std::abort();
  }
  config->set_data_dir("data");
  server::CompleteServerConfig(&*config).IgnoreError();
  return 0;
}
