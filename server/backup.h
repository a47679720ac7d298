#ifndef FAULTLINE_SERVER_BACKUP_H_
#define FAULTLINE_SERVER_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "faultline/v1/backup.pb.h"
#include "lib/base/clock.h"
#include "lib/store/key_value_store.h"

namespace faultline::server {

// Copies what `store` holds, and every directory beside its files in
// `data_dir` (vector checkpoints, which only save time), to `directory`, and
// writes the manifest last. Reads and writes of the store go on. Blocks until
// everything is on the disk; files of the store are linked, not copied, where
// both directories are on one file system.
//
// INVALID_ARGUMENT, naming `directory`, where it is not absolute or lies in
// `data_dir`; FAILED_PRECONDITION where it is there and not empty. After any
// other error nothing is left of it.
absl::StatusOr<v1::BackupManifest> WriteBackup(
    const store::KeyValueStore& store, const std::string& data_dir,
    const std::string& directory, const base::Clock& clock);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_BACKUP_H_
