#ifndef FAULTLINE_LIB_INGEST_CHECKPOINT_FILE_H_
#define FAULTLINE_LIB_INGEST_CHECKPOINT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/checkpoint.pb.h"
#include "lib/base/hash.h"

namespace faultline::ingest {

// A checkpoint is one file: a body of bytes, a CheckpointSummary, and 24 bytes
// that say where the summary begins and what its xxh64 is. It appears whole or
// not at all, and what has changed in it since is noticed.

// Writes one. It is made beside the file that it is to replace and takes its
// place in Commit. Not thread-safe. The destructor removes what was not
// committed.
class CheckpointWriter {
 public:
  // Makes the directory of `path` where it is absent. INTERNAL where the file
  // cannot be made.
  static absl::StatusOr<std::unique_ptr<CheckpointWriter>> Create(
      const std::string& path);
  ~CheckpointWriter();

  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Appends to the body. RESOURCE_EXHAUSTED where the disk is full, INTERNAL
  // for its other errors.
  absl::Status Write(absl::string_view bytes);

  // Ends the file, syncs it and puts it in place. Fills in the summary's
  // version and what it says of the body. Errors as of Write.
  absl::Status Commit(v1::CheckpointSummary summary);

 private:
  CheckpointWriter(std::string path, std::string temporary, int descriptor);
  absl::Status Flush();

  const std::string path_;
  const std::string temporary_;
  int descriptor_;  // -1: closed
  std::string buffer_;
  base::Hasher64 digest_;
  uint64_t written_ = 0;
  uint64_t sent_ = 0;  // of these, on the disk
};

// Reads one, once, from the beginning. Not thread-safe. Messages name the file.
class CheckpointReader {
 public:
  // NOT_FOUND where there is no such file, DATA_LOSS where its end is not that
  // of a checkpoint, FAILED_PRECONDITION where another release wrote it,
  // INTERNAL where it cannot be read.
  static absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(
      const std::string& path);
  ~CheckpointReader();

  CheckpointReader(const CheckpointReader&) = delete;
  CheckpointReader& operator=(const CheckpointReader&) = delete;

  // As it was written; damage in it has been ruled out.
  const v1::CheckpointSummary& summary() const { return summary_; }

  // The next bytes of the body. They may be damaged until Finish has said that
  // they are not. DATA_LOSS where fewer are left.
  absl::Status Read(absl::Span<char> bytes);

  // To be called where all was read. DATA_LOSS where the body is not what was
  // written, or has more.
  absl::Status Finish();

 private:
  CheckpointReader(std::string path, int descriptor,
                   v1::CheckpointSummary summary);
  absl::Status Damaged(absl::string_view how) const;

  const std::string path_;
  const int descriptor_;
  const v1::CheckpointSummary summary_;
  std::vector<char> buffer_;
  size_t buffered_ = 0;  // bytes in buffer_
  size_t consumed_ = 0;  // of these
  uint64_t left_;        // of the body, not yet in buffer_
  base::Hasher64 digest_;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_CHECKPOINT_FILE_H_
