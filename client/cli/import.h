#ifndef FAULTLINE_CLIENT_CLI_IMPORT_H_
#define FAULTLINE_CLIENT_CLI_IMPORT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/progress.h"
#include "client/sdk/trace_client.h"
#include "lib/base/clock.h"

namespace faultline::cli {

// What became of an import. `settled`: records, in the order of the files, for
// which the server has said what became of them; stored ones are durable.
struct ImportCounts {
  uint64_t read = 0;  // from the files
  uint64_t unreadable = 0;
  uint64_t settled = 0;
  uint64_t stored = 0;
  uint64_t duplicates = 0;
  uint64_t rejected = 0;
};

// Sends files of recorded runs to a server, one after another. Owns neither
// the client nor the clock. Not thread-safe.
class Import {
 public:
  // `problem` is told of each record that cannot be read. The import gives up
  // where nothing is settled for `patience`.
  Import(std::string format, sdk::TraceClient* client, const base::Clock* clock,
         absl::Duration patience,
         std::function<void(const std::string&)> problem);

  // Returns when every record is settled. NOT_FOUND where a file cannot be
  // opened, before anything is sent; UNAVAILABLE, with the last error of the
  // connection, after `patience`; otherwise the server's lasting error.
  absl::Status Run(const std::vector<std::string>& files, Progress* progress);

  // Also after an error.
  ImportCounts counts() const;

 private:
  absl::Status Send(const std::string& file, uint64_t total_bytes,
                    Progress* progress);
  // Waits until at most `traces` and `bytes` are buffered.
  absl::Status Drain(uint64_t traces, uint64_t bytes, uint64_t total_bytes,
                     Progress* progress);
  double Share(uint64_t total_bytes) const;

  const std::string format_;
  sdk::TraceClient* const client_;
  const base::Clock* const clock_;
  const absl::Duration patience_;
  const std::function<void(const std::string&)> problem_;
  uint64_t read_ = 0;
  uint64_t unreadable_ = 0;
  uint64_t bytes_read_ = 0;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_IMPORT_H_
