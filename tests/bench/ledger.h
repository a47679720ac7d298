#ifndef FAULTLINE_TESTS_BENCH_LEDGER_H_
#define FAULTLINE_TESTS_BENCH_LEDGER_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/random.h"
#include "opentelemetry/proto/trace/v1/trace.pb.h"

namespace faultline::bench {

// How a run is sent.
enum class Way : uint8_t {
  kWhole,   // by StreamTraces
  kShort,   // the same, to a project that keeps few
  kPieces,  // by StreamTraces, in pieces
  kSpans,   // by Export, in spans
};
inline constexpr int kWays = 4;

const char* WayName(Way way);
// Project that the runs of a way go to.
const char* ProjectOf(Way way);
inline constexpr char kMixedProject[] = "mixed";
inline constexpr char kShortProject[] = "short";
// Traces that the project `short` keeps, and of these, how many of the latest
// are there for certain.
inline constexpr uint64_t kShortKeeps = 300;
inline constexpr uint64_t kShortCertain = 50;

// Pieces or spans of a run; 1 where it goes whole.
int PartCount(Way way);

// A run and what the server has acknowledged of it. What it consists of
// follows from `way` and `number`.
struct Run {
  enum class Deletion : uint8_t { kNone, kDoubtful, kDone };

  Way way = Way::kWhole;
  uint64_t number = 0;
  uint32_t acknowledged = 0;                       // a bit for each part
  v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED;   // acknowledged
  v1::Outcome doubtful = v1::OUTCOME_UNSPECIFIED;  // sent since
  Deletion deletion = Deletion::kNone;
  bool busy = false;     // somebody judges or deletes it
  bool checked = false;  // since something was acknowledged of it

  bool IsWhole() const { return acknowledged == (1u << PartCount(way)) - 1; }
  // Acknowledged whole, and not deleted.
  bool Lives() const { return IsWhole() && deletion == Deletion::kNone; }
  std::string trace_id() const;
};

// A part of a run, by place in the ledger.
struct Part {
  size_t run;
  int part;
};

v1::Trace MakeWhole(const Run& run);
v1::TracePiece MakePiece(const Run& run, int part);
opentelemetry::proto::trace::v1::Span MakeSpan(const Run& run, int part);
// How `got` differs from what the whole run must be: every step once, with its
// content; empty where it does not.
std::string Difference(const Run& run, const v1::Trace& got);

// What was sent to a server, and what the server acknowledged: kept outside of
// the server, so that it can be held to it. A part is sent again until it is
// acknowledged. Thread-safe.
class Ledger {
 public:
  // Elements acknowledged, in all.
  struct Counts {
    std::array<uint64_t, kWays> parts{};  // by way
    uint64_t outcomes = 0;
    uint64_t deletions = 0;  // runs
  };

  explicit Ledger(uint64_t seed) : random_(seed) {}

  // One line for each run; ends the program where the file cannot be read or
  // written.
  void Save(const std::string& path) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Load(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);

  // Every part that was not acknowledged, in random order.
  std::vector<Part> Unacknowledged(Way way) ABSL_LOCKS_EXCLUDED(mutex_);
  // The parts of a new run, in random order.
  std::vector<Part> NewRun(Way way) ABSL_LOCKS_EXCLUDED(mutex_);
  void Acknowledge(const std::vector<Part>& parts) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs that were judged or deleted when the server went: to be done again.
  std::vector<size_t> DoubtfulOutcomes() ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<size_t> DoubtfulDeletions() ABSL_LOCKS_EXCLUDED(mutex_);
  // Up to `count` runs of the project `mixed` that live, with a new outcome to
  // record, or to be deleted. They are busy until settled.
  std::vector<size_t> TakeToJudge(int count) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<size_t> TakeToDelete(int count) ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on it is in doubt whether the run is there.
  void BeginDeletion(size_t run) ABSL_LOCKS_EXCLUDED(mutex_);
  void SettleOutcomes(const std::vector<size_t>& runs, bool acknowledged)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SettleDeletions(const std::vector<size_t>& runs, bool acknowledged)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Highest sequence that was said to be durable.
  void SawSequence(const std::string& project, uint64_t sequence)
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::map<std::string, uint64_t> Sequences() const ABSL_LOCKS_EXCLUDED(mutex_);

  Run Get(size_t run) const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<Run> All() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Those of which something was acknowledged since they were checked last; of
  // the project `short`, all. They count as checked from now on.
  std::vector<Run> TakeUnchecked() ABSL_LOCKS_EXCLUDED(mutex_);
  Counts GetCounts() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::vector<size_t> Take(int count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  base::Random random_ ABSL_GUARDED_BY(mutex_);
  std::vector<Run> runs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, uint64_t> sequences_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_LEDGER_H_
