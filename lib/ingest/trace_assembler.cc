#include "lib/ingest/trace_assembler.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <deque>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/node_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/protobuf/util/message_differencer.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/ingest/piece_merge.h"

namespace faultline::ingest {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::google::protobuf::util::TimeUtil;
using Verdict = TraceAssembler::Verdict;

// How often the quiet period has doubled at most.
constexpr int kMaxLevel = 10;
// Deadlines nearer than this wait for each other.
constexpr absl::Duration kSweepGap = absl::Milliseconds(10);
constexpr absl::Duration kRetryDelay = absl::Milliseconds(200);
// Bytes of the pieces of the runs that are closed at once.
constexpr uint64_t kBatchBytes = 16 << 20;
// Memory of a piece for each byte of it as serialised.
constexpr uint64_t kHeldCost = 3;

// AssemblyConfig, as it is used.
struct Timing {
  absl::Duration quiet_period;
  absl::Duration idle_timeout;
  absl::Duration amend_window;
  size_t max_open_runs = 0;

  // How long a run waits after its last piece, once its root has ended; level
  // 0: before it is logged; n: before its n-th replacement.
  absl::Duration Quiet(int level) const {
    const absl::Duration doubled = quiet_period * (1 << std::max(level - 1, 0));
    return std::min(doubled, std::max(quiet_period, amend_window / 4));
  }
};

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Nanoseconds(TimeUtil::DurationToNanoseconds(duration));
}

Timing ToTiming(const v1::AssemblyConfig& config) {
  return {ToDuration(config.quiet_period()), ToDuration(config.idle_timeout()),
          ToDuration(config.amend_window()), config.max_open_runs()};
}

// What a piece says to the assembler.
struct Signal {
  v1::PieceOrder order;
  uint64_t bytes;
  uint32_t index;  // of PIECE_ORDER_ID
  bool ends_run;
  bool closes_run;
};

Signal ToSignal(const v1::Piece& piece) {
  return {piece.order(), piece.ByteSizeLong(),
          PieceIndex(piece.id()).value_or(0), piece.ends_run(),
          piece.closes_run()};
}

struct Run;
using RunList = std::list<Run>;

// One run, in exactly one list of its project.
struct Run {
  std::string trace_id;
  RunList* list = nullptr;
  absl::Duration since;  // steady time of the last piece, or of closing
  uint64_t bytes = 0;
  uint32_t pieces = 0;
  uint32_t in_flight = 0;  // pieces on their way to the disk
  uint32_t max_index = 0;
  uint32_t last_index = UINT32_MAX;  // where the stream ends
  v1::PieceOrder order = v1::PIECE_ORDER_UNSPECIFIED;
  v1::Closing closing = v1::CLOSING_UNSPECIFIED;  // of what is logged
  uint8_t level = 0;
  bool marked = false;  // a piece said that the run is closed
  bool ended = false;   // the root has ended
  bool logged = false;
  bool changed = false;  // a piece came while it was in hand
  // Its pieces, while `holds_all`, and what they cost.
  bool holds_all = true;
  std::vector<v1::Piece> held;
  uint64_t held_bytes = 0;
  uint64_t deletions = 0;  // of the project when the run began

  // How it would close now; `other` where nothing tells of its end.
  v1::Closing ClosingNow(v1::Closing other) const {
    const bool complete = order == v1::PIECE_ORDER_TIME ||
                          (max_index == last_index && pieces == last_index + 1);
    if (marked && complete) return v1::CLOSING_EXPLICIT;
    return ended ? v1::CLOSING_ROOT_ENDED : other;
  }

  void Add(const Signal& signal) {
    ++pieces;
    bytes += signal.bytes;
    ended |= signal.ends_run;
    marked |= signal.closes_run;
    max_index = std::max(max_index, signal.index);
    if (signal.closes_run) last_index = std::min(last_index, signal.index);
  }
};

struct Project {
  std::string name;
  Timing timing;
  TraceAssembler::Counters counters;
  absl::flat_hash_map<absl::string_view, RunList::iterator> runs;
  // Each but `due`, `in_hand` and `dropped` is in the order of Run::since.
  RunList open;                                 // no end in sight
  std::array<RunList, kMaxLevel + 1> quieting;  // by level
  RunList due;                                  // to be put together
  RunList in_hand;                              // the thread is at it
  RunList closed;                               // may be amended
  RunList dropped;                              // takes no more pieces
  bool ready = false;                           // in ready_
  uint64_t deletions = 0;
  // When what failed is tried again; nothing is done before.
  std::optional<absl::Duration> paused_until;
};

void CountClosed(v1::Closing closing, TraceAssembler::Counters* counters) {
  switch (closing) {
    case v1::CLOSING_EXPLICIT:
      ++counters->closed_explicit;
      break;
    case v1::CLOSING_ROOT_ENDED:
      ++counters->closed_root_ended;
      break;
    case v1::CLOSING_IDLE:
      ++counters->closed_idle;
      break;
    default:
      ++counters->closed_evicted;
      break;
  }
}

absl::Status Overloaded(absl::string_view limit, absl::string_view message) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "", limit, message);
  *detail.mutable_retry_delay() =
      TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(kRetryDelay));
  return base::DetailedError(absl::StatusCode::kUnavailable, detail);
}

class TraceAssemblerImpl : public TraceAssembler {
 public:
  TraceAssemblerImpl(const Options& options, trace::TraceLog* log,
                     Settings settings, const base::Clock* clock)
      : options_(options),
        log_(log),
        settings_(std::move(settings)),
        clock_(clock) {}
  ~TraceAssemblerImpl() override;

  // Reads the staged pieces.
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mutex_);

  void Start(Output output) override {
    output_ = std::move(output);
    thread_ = std::thread([this] { RunUntilStopped(); });
  }
  void OnDeletion(absl::string_view project) override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ++GetProject(project).deletions;
  }
  absl::Status CheckRoom(absl::string_view project) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Stage(absl::string_view project, std::vector<v1::Piece>&& pieces,
                     Done done) override;
  Counters GetCounters(absl::string_view project) const override;
  void WaitUntilAssembled() override;

 private:
  // What became of a run in hand.
  struct Result {
    Run* run = nullptr;
    bool has_record = false;  // to be appended
    bool replaces = false;    // it is a replacement
    v1::Closing closing = v1::CLOSING_UNSPECIFIED;
    bool failed = false;      // to be tried again
    bool unreadable = false;  // its pieces are, and stay as they are
    bool drop = false;
    bool empty = false;  // of what is dropped: it told of no agent
  };

  Project& GetProject(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Run& GetRun(Project* project, const std::string& trace_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Move(Project* project, Run* run, RunList* list)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(Project* project, Run* run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Keeps a piece until its run closes, where there is room.
  void Hold(Run* run, uint64_t bytes, v1::Piece piece)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is held of a run. Nothing more will be.
  std::vector<v1::Piece> TakeHeld(Run* run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Verdicts on pieces before they are staged; those to stage are in flight
  // then. UNAVAILABLE where the project is behind.
  absl::StatusOr<std::vector<Verdict>> Admit(
      absl::string_view project, const std::vector<v1::Piece>& pieces)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckDue(const Project& project) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Known to the log, and not to us.
  absl::StatusOr<absl::flat_hash_set<std::string>> FindForgotten(
      absl::string_view project, const std::vector<v1::Piece>& pieces)
      ABSL_LOCKS_EXCLUDED(mutex_);
  Verdict AdmitOne(Project* project, const v1::Piece& piece)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A piece is durable (`fresh`, and it is taken), or a duplicate, or not
  // staged after all.
  void Land(Project* project, const Signal& signal, bool fresh,
            v1::Piece* piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts a run that is not in hand where it belongs.
  void Place(Project* project, Run* run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Evict(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetReady(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pause(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void RunUntilStopped() ABSL_LOCKS_EXCLUDED(mutex_);
  // Moves what is due, and finds when to look again.
  void Sweep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration Sweep(Project* project, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Both wait for the log; false where they are to be tried again later.
  bool CloseRuns(Project* project, std::vector<Run*> runs)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool DropRuns(Project* project, const std::vector<Run*>& runs)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Of `state` it takes what is held.
  void Assemble(const std::string& project, Run* run, Run* state,
                v1::LogRecord* record, Result* result) const;
  absl::Status FillRecord(const std::string& project, Run* held,
                          v1::LogRecord* record, Result* result) const;
  void Settle(Project* project, const Result& result,
              const trace::TraceLog::Appended& appended)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  trace::TraceLog* const log_;
  const Settings settings_;
  const base::Clock* const clock_;
  Output output_;  // set before the thread starts

  mutable absl::Mutex mutex_;
  // Pointers to projects stay valid: none is ever removed.
  absl::node_hash_map<std::string, Project> projects_ ABSL_GUARDED_BY(mutex_);
  std::deque<Project*> ready_ ABSL_GUARDED_BY(mutex_);  // with work to do
  int paused_ ABSL_GUARDED_BY(mutex_) = 0;              // projects
  uint64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool at_work_ ABSL_GUARDED_BY(mutex_) = false;
  bool sweep_ ABSL_GUARDED_BY(mutex_) = false;  // at once
  absl::Duration next_sweep_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

TraceAssemblerImpl::~TraceAssemblerImpl() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

// --- Runs ---

Project& TraceAssemblerImpl::GetProject(absl::string_view name) {
  const auto [it, inserted] = projects_.try_emplace(name);
  if (inserted) it->second.name = it->first;
  return it->second;
}

Run& TraceAssemblerImpl::GetRun(Project* project, const std::string& trace_id) {
  const auto known = project->runs.find(trace_id);
  if (known != project->runs.end()) return *known->second;
  const auto run = project->open.emplace(project->open.end());
  run->trace_id = trace_id;
  run->list = &project->open;
  run->deletions = project->deletions;
  project->runs.emplace(run->trace_id, run);
  ++project->counters.open;
  return *run;
}

void TraceAssemblerImpl::Move(Project* project, Run* run, RunList* list) {
  const RunList::iterator it = project->runs.find(run->trace_id)->second;
  list->splice(list->end(), *run->list, it);
  run->list = list;
}

void TraceAssemblerImpl::Hold(Run* run, uint64_t bytes, v1::Piece piece) {
  if (!run->holds_all) return;
  const uint64_t cost = kHeldCost * bytes;
  if (held_bytes_ + cost > options_.max_held_bytes) {
    TakeHeld(run);
    return;
  }
  run->held.push_back(std::move(piece));
  run->held_bytes += cost;
  held_bytes_ += cost;
}

std::vector<v1::Piece> TraceAssemblerImpl::TakeHeld(Run* run) {
  run->holds_all = false;
  held_bytes_ -= std::exchange(run->held_bytes, 0);
  return std::exchange(run->held, {});
}

void TraceAssemblerImpl::Forget(Project* project, Run* run) {
  const auto known = project->runs.find(run->trace_id);
  const RunList::iterator it = known->second;
  TakeHeld(run);
  --(run->logged ? project->counters.amendable : project->counters.open);
  project->runs.erase(known);
  run->list->erase(it);
}

absl::Status TraceAssemblerImpl::Load() {
  struct Found {
    Project* project;
    Run* run = nullptr;
    int64_t last_ns;  // receive time of the last piece
  };
  absl::MutexLock lock(&mutex_);
  std::vector<Found> found;
  // Pieces of one run come one after the other.
  FAULTLINE_RETURN_IF_ERROR(
      log_->ScanPieces([&](absl::string_view name, const v1::Piece& piece) {
        mutex_.AssertHeld();
        Project& project = GetProject(name);
        Run& run = GetRun(&project, piece.trace_id());
        if (found.empty() || found.back().run != &run) {
          found.push_back({&project, &run, 0});
        }
        run.order = piece.order();
        run.holds_all = false;
        run.Add(ToSignal(piece));
        found.back().last_ns =
            std::max(found.back().last_ns,
                     TimeUtil::TimestampToNanoseconds(piece.receive_time()));
      }));
  std::stable_sort(
      found.begin(), found.end(),
      [](const Found& a, const Found& b) { return a.last_ns < b.last_ns; });
  // While the server was down nothing could come: silence counts from now on.
  const absl::Duration now = clock_->SteadyNow();
  for (const Found& f : found) {
    const auto sequence = log_->FindTrace(f.project->name, f.run->trace_id);
    if (sequence.ok()) {
      f.run->logged = true;
      ++f.project->counters.amendable;
      --f.project->counters.open;
    } else if (!absl::IsNotFound(sequence.status())) {
      return sequence.status();
    }
    f.run->since = now;
    // One that is logged is put together again: a piece may have come after.
    Place(f.project, f.run);
  }
  sweep_ = true;
  return absl::OkStatus();
}

// --- Staging ---

absl::Status TraceAssemblerImpl::Stage(absl::string_view project,
                                       std::vector<v1::Piece>&& pieces,
                                       Done done) {
  struct Landing {
    size_t index;  // in the call
    Signal signal;
  };
  struct Landings {
    std::vector<Landing> list;
    std::vector<v1::Piece> pieces;  // as many
  };
  FAULTLINE_ASSIGN_OR_RETURN(std::vector<Verdict> verdicts,
                             Admit(project, pieces));
  const auto shared = std::make_shared<Landings>();
  shared->list.reserve(pieces.size());
  shared->pieces.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (verdicts[i] != Verdict::kStaged) continue;
    shared->list.push_back({i, ToSignal(pieces[i])});
    shared->pieces.push_back(std::move(pieces[i]));
  }
  if (shared->list.empty()) {
    done(std::move(verdicts));
    return absl::OkStatus();
  }
  absl::Status status = log_->AppendPieces(
      project, absl::MakeSpan(shared->pieces),
      [this, name = std::string(project), shared,
       verdicts = std::move(verdicts), done = std::move(done)](
          absl::StatusOr<std::vector<trace::TraceLog::Appended>>
              appended) mutable {
        {
          absl::MutexLock lock(&mutex_);
          Project& staged = GetProject(name);
          for (size_t i = 0; i < shared->list.size(); ++i) {
            const Landing& landing = shared->list[i];
            const bool fresh = appended.ok() && !(*appended)[i].duplicate;
            if (appended.ok() && !fresh) {
              verdicts[landing.index] = Verdict::kDuplicate;
              ++staged.counters.duplicates;
            }
            Land(&staged, landing.signal, fresh, &shared->pieces[i]);
          }
        }
        if (appended.ok()) {
          done(std::move(verdicts));
        } else {
          done(appended.status());
        }
      });
  if (status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  Project& staged = GetProject(project);
  for (size_t i = 0; i < shared->list.size(); ++i) {
    const Landing& landing = shared->list[i];
    Land(&staged, landing.signal, /*fresh=*/false, &shared->pieces[i]);
    pieces[landing.index] = std::move(shared->pieces[i]);
  }
  return status;
}

absl::Status TraceAssemblerImpl::CheckRoom(absl::string_view project) {
  absl::MutexLock lock(&mutex_);
  return CheckDue(GetProject(project));
}

absl::Status TraceAssemblerImpl::CheckDue(const Project& project) const {
  if (project.due.size() < options_.max_due) return absl::OkStatus();
  return Overloaded(
      absl::StrCat("ingest.max_closing_runs: ", options_.max_due),
      "more runs of this project close than can be put together; send again "
      "later");
}

absl::StatusOr<std::vector<Verdict>> TraceAssemblerImpl::Admit(
    absl::string_view project, const std::vector<v1::Piece>& pieces) {
  const Timing timing = ToTiming(settings_(project)->assembly());
  FAULTLINE_ASSIGN_OR_RETURN(const auto forgotten,
                             FindForgotten(project, pieces));
  absl::MutexLock lock(&mutex_);
  Project& known = GetProject(project);
  known.timing = timing;
  FAULTLINE_RETURN_IF_ERROR(CheckDue(known));
  for (const v1::Piece& piece : pieces) {
    const auto run = known.runs.find(piece.trace_id());
    if (run != known.runs.end() && run->second->list == &known.dropped &&
        !run->second->logged) {
      return Overloaded("", "an empty run of this name is going; send later");
    }
  }
  std::vector<Verdict> verdicts;
  verdicts.reserve(pieces.size());
  for (const v1::Piece& piece : pieces) {
    const bool closed = forgotten.contains(piece.trace_id()) &&
                        !known.runs.contains(piece.trace_id());
    verdicts.push_back(closed ? Verdict::kClosed : AdmitOne(&known, piece));
    known.counters.refused += verdicts.back() != Verdict::kStaged;
  }
  Evict(&known);
  return verdicts;
}

absl::StatusOr<absl::flat_hash_set<std::string>>
TraceAssemblerImpl::FindForgotten(absl::string_view project,
                                  const std::vector<v1::Piece>& pieces) {
  // What is not known here is new, or was forgotten; the log can tell. Asked
  // without the lock: no run is closed and forgotten in between.
  absl::flat_hash_set<std::string> unknown;
  {
    absl::MutexLock lock(&mutex_);
    const Project& known = GetProject(project);
    for (const v1::Piece& piece : pieces) {
      if (!known.runs.contains(piece.trace_id())) {
        unknown.insert(piece.trace_id());
      }
    }
  }
  for (auto it = unknown.begin(); it != unknown.end();) {
    const auto sequence = log_->FindTrace(project, *it);
    if (absl::IsNotFound(sequence.status())) {
      unknown.erase(it++);
      continue;
    }
    FAULTLINE_RETURN_IF_ERROR(sequence.status());
    ++it;
  }
  return unknown;
}

Verdict TraceAssemblerImpl::AdmitOne(Project* project, const v1::Piece& piece) {
  const uint32_t index = PieceIndex(piece.id()).value_or(0);
  if (piece.order() == v1::PIECE_ORDER_ID && index >= options_.max_pieces) {
    return Verdict::kTooMany;
  }
  Run& run = GetRun(project, piece.trace_id());
  if (run.list == &project->dropped) return Verdict::kClosed;
  if (run.order == v1::PIECE_ORDER_UNSPECIFIED) {
    run.order = piece.order();
    run.since = clock_->SteadyNow();
  }
  if (run.order != piece.order()) return Verdict::kMixed;
  if (run.pieces + run.in_flight >= options_.max_pieces) {
    return Verdict::kTooMany;
  }
  if (run.bytes >= options_.max_bytes) return Verdict::kTooLarge;
  ++run.in_flight;
  return Verdict::kStaged;
}

void TraceAssemblerImpl::Land(Project* project, const Signal& signal,
                              bool fresh, v1::Piece* piece) {
  Run& run = *project->runs.find(piece->trace_id())->second;
  --run.in_flight;
  if (!fresh) {
    // It was the first piece of its run, and none came after it. One in hand
    // is found empty.
    if (run.pieces == 0 && run.in_flight == 0 &&
        run.list != &project->in_hand) {
      Forget(project, &run);
    }
    return;
  }
  run.Add(signal);
  Hold(&run, signal.bytes, std::move(*piece));
  run.since = clock_->SteadyNow();
  ++project->counters.staged;
  project->counters.late += run.logged;
  if (run.list == &project->in_hand) {
    run.changed = true;
  } else {
    Place(project, &run);
  }
}

void TraceAssemblerImpl::Place(Project* project, Run* run) {
  const bool closes =
      run->ClosingNow(v1::CLOSING_UNSPECIFIED) == v1::CLOSING_EXPLICIT &&
      run->closing != v1::CLOSING_EXPLICIT;
  absl::Duration wait = absl::InfiniteDuration();
  if (closes || run->list == &project->due) {
    Move(project, run, &project->due);
    SetReady(project);
  } else if (run->logged) {
    run->level = std::min<uint8_t>(std::max<uint8_t>(run->level, 1), kMaxLevel);
    Move(project, run, &project->quieting[run->level]);
    wait = project->timing.Quiet(run->level);
  } else if (run->ended) {
    Move(project, run, &project->quieting[0]);
    wait = project->timing.Quiet(0);
  } else {
    Move(project, run, &project->open);
    wait = project->timing.idle_timeout;
  }
  if (run->since + wait < next_sweep_) sweep_ = true;
}

void TraceAssemblerImpl::Evict(Project* project) {
  const size_t max = project->timing.max_open_runs;
  RunList& open = project->open;
  RunList& ended = project->quieting[0];
  while (open.size() + ended.size() > max) {
    const bool from_open =
        ended.empty() ||
        (!open.empty() && open.front().since <= ended.front().since);
    Run& run = (from_open ? open : ended).front();
    run.closing = v1::CLOSING_EVICTED;
    Move(project, &run, &project->due);
    SetReady(project);
  }
  while (!project->closed.empty() &&
         project->counters.amendable > max + project->dropped.size()) {
    Run& run = project->closed.front();
    if (run.in_flight > 0) break;
    Move(project, &run, &project->dropped);
    SetReady(project);
  }
}

void TraceAssemblerImpl::SetReady(Project* project) {
  if (project->paused_until.has_value() ||
      std::exchange(project->ready, true)) {
    return;
  }
  ready_.push_back(project);
}

// The others go on meanwhile.
void TraceAssemblerImpl::Pause(Project* project) {
  if (project->paused_until.has_value()) return;
  project->paused_until = clock_->SteadyNow() + kRetryDelay;
  next_sweep_ = std::min(next_sweep_, *project->paused_until);
  ++paused_;
}

// --- The closing thread ---

void TraceAssemblerImpl::RunUntilStopped() {
  const auto due = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || sweep_ || !ready_.empty();
  };
  while (true) {
    Project* project;
    std::vector<Run*> closing, dropping;
    {
      absl::MutexLock lock(&mutex_);
      at_work_ = false;
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&due), next_sweep_);
      if (stopping_) return;
      if (sweep_ || clock_->SteadyNow() >= next_sweep_) Sweep();
      if (ready_.empty()) continue;
      at_work_ = true;
      project = ready_.front();
      ready_.pop_front();
      project->ready = false;
      if (project->paused_until.has_value()) continue;
    }
    const bool room = output_.has_room(project->name);
    {
      absl::MutexLock lock(&mutex_);
      if (!room) {
        Pause(project);
        continue;
      }
      uint64_t bytes = 0;
      while (!project->due.empty() && closing.size() < options_.batch &&
             bytes < kBatchBytes) {
        closing.push_back(&project->due.front());
        bytes += closing.back()->bytes;
        Move(project, closing.back(), &project->in_hand);
      }
      for (Run& run : project->dropped) {
        if (dropping.size() == options_.batch) break;
        dropping.push_back(&run);
      }
      if (!project->due.empty() || dropping.size() < project->dropped.size()) {
        SetReady(project);
      }
    }
    bool done = CloseRuns(project, std::move(closing));
    done &= DropRuns(project, dropping);
    if (done) continue;
    absl::MutexLock lock(&mutex_);
    Pause(project);
  }
}

void TraceAssemblerImpl::Sweep() {
  sweep_ = false;
  const absl::Duration now = clock_->SteadyNow();
  absl::Duration next = absl::InfiniteDuration();
  for (auto& [name, project] : projects_) {
    next = std::min(next, Sweep(&project, now));
  }
  next_sweep_ = std::max(next, now + kSweepGap);
}

absl::Duration TraceAssemblerImpl::Sweep(Project* project, absl::Duration now) {
  project->timing = ToTiming(settings_(project->name)->assembly());
  Evict(project);
  absl::Duration next = absl::InfiniteDuration();
  if (project->paused_until.has_value()) {
    if (*project->paused_until > now) {
      next = *project->paused_until;
    } else {
      project->paused_until.reset();
      --paused_;
    }
  }
  const auto sweep = [&](RunList* list, absl::Duration wait, auto&& expire) {
    while (!list->empty()) {
      Run& run = list->front();
      if (run.since + wait > now) {
        next = std::min(next, run.since + wait);
        return;
      }
      expire(&run);
    }
  };
  sweep(&project->open, project->timing.idle_timeout, [&](Run* run) {
    mutex_.AssertHeld();
    run->closing = v1::CLOSING_IDLE;
    Move(project, run, &project->due);
  });
  for (int level = 0; level <= kMaxLevel; ++level) {
    sweep(&project->quieting[level], project->timing.Quiet(level),
          [&](Run* run) {
            mutex_.AssertHeld();
            Move(project, run, &project->due);
          });
  }
  sweep(&project->closed, project->timing.amend_window, [&](Run* run) {
    mutex_.AssertHeld();
    // With a piece on its way it will move on its own.
    run->since = now;
    Move(project, run,
         run->in_flight > 0 ? &project->closed : &project->dropped);
  });
  if (!project->due.empty() || !project->dropped.empty()) SetReady(project);
  return next;
}

bool TraceAssemblerImpl::CloseRuns(Project* project, std::vector<Run*> runs) {
  if (runs.empty()) return true;
  // What else changes in a run in hand is looked at when it is settled.
  std::vector<Run> states;
  states.reserve(runs.size());
  {
    absl::MutexLock lock(&mutex_);
    for (Run* run : runs) {
      const bool holds_all =
          run->holds_all && run->deletions == project->deletions;
      std::vector<v1::Piece> held = TakeHeld(run);
      Run& state = states.emplace_back(*run);
      state.holds_all = holds_all;
      state.held = std::move(held);
    }
  }
  std::vector<Result> results;
  results.reserve(runs.size());
  std::vector<v1::LogRecord> records;
  records.reserve(runs.size());
  bool done = true;
  for (size_t i = 0; i < runs.size(); ++i) {
    Result& result = results.emplace_back();
    v1::LogRecord record;
    Assemble(project->name, runs[i], &states[i], &record, &result);
    done &= !result.failed;
    if (result.has_record) records.push_back(std::move(record));
  }
  std::vector<trace::TraceLog::Appended> appended;
  if (!records.empty()) {
    auto stored = output_.append(project->name, std::move(records));
    if (stored.ok()) {
      appended = *std::move(stored);
    } else {
      // Where it is only behind, that is counted elsewhere.
      LOG_IF(WARNING, !absl::IsUnavailable(stored.status()))
          << "project " << project->name << ": " << runs.size()
          << " runs cannot be logged yet: " << stored.status();
      done = false;
      for (Result& result : results) {
        result.failed |= result.has_record;
      }
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    size_t next = 0;
    for (const Result& result : results) {
      const bool stored = result.has_record && !result.failed;
      Settle(project, result,
             stored ? appended[next++] : trace::TraceLog::Appended());
    }
    Evict(project);
  }
  if (!appended.empty() && options_.on_assembled != nullptr) {
    options_.on_assembled(project->name);
  }
  return done;
}

void TraceAssemblerImpl::Assemble(const std::string& project, Run* run,
                                  Run* state, v1::LogRecord* record,
                                  Result* result) const {
  result->run = run;
  const absl::Status status = FillRecord(project, state, record, result);
  if (absl::IsDataLoss(status)) {
    LOG(ERROR) << "project " << project << ": run " << state->trace_id
               << " is lost: " << status;
    result->unreadable = true;
  } else if (!status.ok()) {
    LOG(WARNING) << "project " << project << ": run " << state->trace_id
                 << " cannot be put together: " << status;
    result->failed = true;
  }
}

absl::Status TraceAssemblerImpl::FillRecord(const std::string& project,
                                            Run* held, v1::LogRecord* record,
                                            Result* result) const {
  const Run& state = *held;
  std::vector<v1::Piece> pieces = std::move(held->held);
  if (!state.holds_all) {
    FAULTLINE_ASSIGN_OR_RETURN(pieces,
                               log_->ReadPieces(project, state.trace_id));
  }
  // Without pieces: the run was deleted.
  result->drop = pieces.empty();
  if (result->drop) return absl::OkStatus();
  std::optional<v1::Trace> logged;
  if (const auto sequence = log_->FindTrace(project, state.trace_id);
      sequence.ok()) {
    auto trace = log_->ReadTrace(project, *sequence);
    FAULTLINE_RETURN_IF_ERROR(trace.status());
    logged = *std::move(trace);
  } else if (!absl::IsNotFound(sequence.status())) {
    return sequence.status();
  }
  if (logged.has_value()) {
    // A trace that came whole holds.
    result->drop = logged->closing() == v1::CLOSING_UNSPECIFIED;
  } else if (state.logged) {
    result->drop = true;  // deleted
  } else if (state.order == v1::PIECE_ORDER_TIME) {
    result->empty = std::none_of(
        pieces.begin(), pieces.end(),
        [](const v1::Piece& piece) { return TellsOfAnAgent(piece.part()); });
    result->drop = result->empty;
  }
  if (result->drop) return absl::OkStatus();
  v1::Closing other = state.closing;
  if (logged.has_value() && other == v1::CLOSING_UNSPECIFIED) {
    other = logged->closing();
  }
  result->closing = state.ClosingNow(other);
  v1::Trace trace =
      MergePieces(std::move(pieces), result->closing, options_.limits);
  result->replaces = logged.has_value();
  result->has_record =
      !result->replaces || !MessageDifferencer::Equals(*logged, trace);
  if (!result->has_record) return absl::OkStatus();
  *(result->replaces ? record->mutable_replacement()
                     : record->mutable_trace()) = std::move(trace);
  return absl::OkStatus();
}

void TraceAssemblerImpl::Settle(Project* project, const Result& result,
                                const trace::TraceLog::Appended& appended) {
  Run* run = result.run;
  Counters& counters = project->counters;
  const bool changed = std::exchange(run->changed, false);
  const bool has_record = result.has_record;
  const bool replaces = has_record && result.replaces;
  const bool stored = appended.sequence != 0 && !appended.duplicate;
  if (result.failed ||
      (has_record && !stored && !(replaces && appended.duplicate))) {
    // To be tried again; or meanwhile a trace of this name came whole, or was
    // deleted, which is seen then.
    Move(project, run, &project->due);
    return;
  }
  if (result.drop || result.unreadable) {
    // What came meanwhile decides.
    if (changed || run->in_flight > 0) {
      Place(project, run);
      return;
    }
    ++(result.empty ? counters.empty : counters.lost);
    if (result.drop) {
      Move(project, run, &project->dropped);
      SetReady(project);
    } else {
      Forget(project, run);
    }
    return;
  }
  run->closing = result.closing;
  if (!run->logged) {
    run->logged = true;
    --counters.open;
    ++counters.amendable;
  }
  if (replaces && stored) {
    ++counters.amended;
    ++run->level;
  } else if (stored) {
    CountClosed(result.closing, &counters);
  }
  if (changed) {
    Place(project, run);
    return;
  }
  run->since = clock_->SteadyNow();
  Move(project, run, &project->closed);
  if (run->since + project->timing.amend_window < next_sweep_) sweep_ = true;
}

bool TraceAssemblerImpl::DropRuns(Project* project,
                                  const std::vector<Run*>& runs) {
  if (runs.empty()) return true;
  std::vector<std::string> trace_ids;
  {
    absl::MutexLock lock(&mutex_);
    for (const Run* run : runs) trace_ids.push_back(run->trace_id);
  }
  const absl::Status status = log_->DropPiecesAndWait(project->name, trace_ids);
  if (!status.ok()) {
    LOG(WARNING) << "project " << project->name << ": pieces of " << runs.size()
                 << " runs cannot be dropped yet: " << status;
    return false;
  }
  absl::MutexLock lock(&mutex_);
  for (Run* run : runs) Forget(project, run);
  return true;
}

// --- The rest ---

TraceAssembler::Counters TraceAssemblerImpl::GetCounters(
    absl::string_view project) const {
  absl::MutexLock lock(&mutex_);
  const auto it = projects_.find(project);
  return it == projects_.end() ? Counters() : it->second.counters;
}

void TraceAssemblerImpl::WaitUntilAssembled() {
  absl::MutexLock lock(&mutex_);
  sweep_ = true;
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !sweep_ && !at_work_ && ready_.empty() && paused_ == 0;
  };
  mutex_.Await(absl::Condition(&idle));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TraceAssembler>> TraceAssembler::Create(
    const Options& options, trace::TraceLog* log, Settings settings,
    const base::Clock* clock) {
  if (options.batch == 0 || options.max_due == 0 || options.max_pieces == 0 ||
      options.max_bytes == 0) {
    return absl::InvalidArgumentError(
        "trace assembler: batch, max_due, max_pieces and max_bytes must be "
        "positive");
  }
  auto assembler = std::make_unique<TraceAssemblerImpl>(
      options, log, std::move(settings), clock);
  FAULTLINE_RETURN_IF_ERROR(assembler->Load());
  return assembler;
}

}  // namespace faultline::ingest
