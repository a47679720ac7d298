#ifndef FAULTLINE_CLIENT_CLI_RESTORE_H_
#define FAULTLINE_CLIENT_CLI_RESTORE_H_

#include <string>

#include "absl/status/statusor.h"
#include "faultline/v1/backup.pb.h"

namespace faultline::cli {

// Turns a backup, as AdminService.Backup writes it, into a data directory: for
// a server that does not run. Every file is checked against the manifest before
// anything is copied, and synced. Returns the manifest.
//
// FAILED_PRECONDITION where `data_dir` is there and not empty, or the backup
// is of a later form; NOT_FOUND where `from` has no manifest: it is no backup,
// or was never finished; DATA_LOSS names every file that is damaged or absent;
// INTERNAL where the copy fails, of which nothing is left then.
absl::StatusOr<v1::BackupManifest> RestoreBackup(const std::string& from,
                                                 const std::string& data_dir);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_RESTORE_H_
