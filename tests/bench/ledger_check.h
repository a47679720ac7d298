#ifndef FAULTLINE_TESTS_BENCH_LEDGER_CHECK_H_
#define FAULTLINE_TESTS_BENCH_LEDGER_CHECK_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "tests/bench/ledger.h"

namespace faultline::bench {

// What a server owes to a ledger. The first findings of each kind are printed.
// Thread-safe.
class Findings {
 public:
  // Acknowledged, and not there or not as it was: `what`. Deletions that are
  // undone count, too.
  void Lost(absl::string_view what) ABSL_LOCKS_EXCLUDED(mutex_);
  // There more than once.
  void Duplicate(absl::string_view what) ABSL_LOCKS_EXCLUDED(mutex_);
  // The server said itself that it is damaged.
  void DataLoss(absl::string_view what) ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t lost() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t duplicates() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t data_losses() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Print(const char* kind, uint64_t count, absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t duplicates_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t data_losses_ ABSL_GUARDED_BY(mutex_) = 0;
};

// That the server at `port` knows of every sequence that it said was durable.
void CheckSequences(int port, const Ledger& ledger, Findings* findings);

// Sends again what is in doubt, and then asks the server for every run of which
// something was acknowledged since the last check: by id, by outcome, by
// likeness, by count. False, with a message, where it does not answer.
bool CheckServer(int port, Ledger* ledger, Findings* findings);

// Reads the log of a server that is not running: every run is there once, as
// it was sent, and none that was deleted. False, with a message, where it
// cannot be read.
bool CheckStore(const std::string& data_dir, const Ledger& ledger,
                Findings* findings);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_LEDGER_CHECK_H_
