#include "tests/bench/ledger.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "tests/bench/synthetic_traces.h"

namespace faultline::bench {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::opentelemetry::proto::trace::v1::Span;

constexpr int kPieces = 5;  // begin, three with steps, end
constexpr int kSpans = 6;   // the root is the last
constexpr std::array<char, kWays> kLetters = {'w', 's', 'p', 'o'};

void SetText(const std::string& key, const std::string& text, Span* span) {
  auto& attribute = *span->add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(text);
}

// The 16 bytes of an OTLP trace id.
std::string SpanTraceId(const Run& run) {
  return absl::StrFormat("fault%011d", run.number);
}

std::string SpanText(const Run& run, int part) {
  return absl::StrCat("run ", run.number, " asks for ", part);
}

std::string SpanDifference(const Run& run, const v1::Trace& got) {
  std::set<std::string> seen;
  for (const v1::Step& step : got.steps()) {
    const bool fresh = seen.insert(step.input()).second;
    if (!fresh) return absl::StrCat("a step is there twice: ", step.input());
  }
  for (int part = 0; part + 1 < kSpans; ++part) {
    if (seen.erase(SpanText(run, part)) == 0) {
      return absl::StrCat("a step is missing: ", SpanText(run, part));
    }
  }
  if (!seen.empty()) return absl::StrCat("a step of another: ", *seen.begin());
  return got.evaluation().outcome() == v1::OUTCOME_PASS
             ? ""
             : "the outcome of the root is missing";
}

}  // namespace

const char* WayName(Way way) {
  switch (way) {
    case Way::kWhole:
      return "traces";
    case Way::kShort:
      return "traces of a project that keeps few";
    case Way::kPieces:
      return "pieces";
    case Way::kSpans:
      return "spans";
  }
  return "";
}

const char* ProjectOf(Way way) {
  return way == Way::kShort ? kShortProject : kMixedProject;
}

int PartCount(Way way) {
  switch (way) {
    case Way::kWhole:
    case Way::kShort:
      return 1;
    case Way::kPieces:
      return kPieces;
    case Way::kSpans:
      return kSpans;
  }
  return 0;
}

std::string Run::trace_id() const {
  if (way == Way::kSpans) return absl::BytesToHexString(SpanTraceId(*this));
  return absl::StrCat(std::string(1, kLetters[static_cast<size_t>(way)]),
                      number);
}

v1::Trace MakeWhole(const Run& run) {
  v1::Trace trace =
      MakeSyntheticTrace(run.number, 1 + static_cast<uint64_t>(run.way));
  trace.set_trace_id(run.trace_id());
  return trace;
}

v1::TracePiece MakePiece(const Run& run, int part) {
  v1::Trace whole = MakeWhole(run);
  v1::TracePiece piece;
  piece.set_trace_id(whole.trace_id());
  piece.set_index(part);
  piece.set_last(part == kPieces - 1);
  v1::Trace& content = *piece.mutable_part();
  if (part == 0) {
    content = whole;
    content.clear_trace_id();
    content.clear_steps();
    content.clear_evaluation();
  } else if (piece.last()) {
    *content.mutable_evaluation() = whole.evaluation();
  } else {
    const int middle = kPieces - 2;
    const int begin = whole.steps_size() * (part - 1) / middle;
    const int end = whole.steps_size() * part / middle;
    for (int i = begin; i < end; ++i) *content.add_steps() = whole.steps(i);
  }
  return piece;
}

Span MakeSpan(const Run& run, int part) {
  constexpr uint64_t kBegin = 1'700'000'000'000'000'000;
  constexpr uint64_t kGap = 100'000'000;
  const auto span_id = [](int i) { return absl::StrFormat("part%04d", i); };
  Span span;
  span.set_trace_id(SpanTraceId(run));
  span.set_span_id(span_id(part));
  if (part == kSpans - 1) {
    span.set_name("agent");
    span.set_start_time_unix_nano(kBegin);
    span.set_end_time_unix_nano(kBegin + kSpans * kGap);
    SetText("openinference.span.kind", "AGENT", &span);
    SetText("agent.name", "mixed-agent", &span);
    SetText("faultline.evaluation.outcome", "pass", &span);
    return span;
  }
  span.set_parent_span_id(span_id(kSpans - 1));
  span.set_name("call");
  span.set_start_time_unix_nano(kBegin + (part + 1) * kGap);
  span.set_end_time_unix_nano(kBegin + (part + 2) * kGap);
  SetText("openinference.span.kind", "TOOL", &span);
  SetText("tool.name", absl::StrCat("tool", part), &span);
  SetText("input.value", SpanText(run, part), &span);
  return span;
}

std::string Difference(const Run& run, const v1::Trace& got) {
  if (run.way == Way::kSpans) return SpanDifference(run, got);
  v1::Trace expected = MakeWhole(run);
  expected.set_closing(run.way == Way::kPieces ? v1::CLOSING_EXPLICIT
                                               : v1::CLOSING_UNSPECIFIED);
  MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  differencer.Compare(expected, got);
  return difference;
}

// --- Ledger ---

void Ledger::Save(const std::string& path) const {
  std::ofstream file(path);
  absl::MutexLock lock(&mutex_);
  for (const Run& run : runs_) {
    file << static_cast<int>(run.way) << ' ' << run.number << ' '
         << run.acknowledged << ' ' << run.outcome << ' ' << run.doubtful << ' '
         << static_cast<int>(run.deletion) << '\n';
  }
  for (const auto& [project, sequence] : sequences_) {
    file << "sequence " << project << ' ' << sequence << '\n';
  }
  file.close();
  if (file) return;
  std::perror(path.c_str());
  std::exit(1);
}

void Ledger::Load(const std::string& path) {
  std::ifstream file(path);
  absl::MutexLock lock(&mutex_);
  std::string first;
  while (file >> first) {
    if (first == "sequence") {
      std::string project;
      file >> project >> sequences_[project];
      continue;
    }
    Run& run = runs_.emplace_back();
    int outcome, doubtful, deletion;
    file >> run.number >> run.acknowledged >> outcome >> doubtful >> deletion;
    run.way = static_cast<Way>(std::stoi(first));
    run.outcome = static_cast<v1::Outcome>(outcome);
    run.doubtful = static_cast<v1::Outcome>(doubtful);
    run.deletion = static_cast<Run::Deletion>(deletion);
  }
  if (file.eof()) return;
  std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
  std::exit(1);
}

std::vector<Part> Ledger::Unacknowledged(Way way) {
  std::vector<Part> parts;
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Run& run = runs_[i];
    if (run.way != way || run.IsWhole()) continue;
    for (int part = 0; part < PartCount(way); ++part) {
      if ((run.acknowledged >> part & 1) == 0) parts.push_back({i, part});
    }
  }
  random_.Shuffle(&parts);
  return parts;
}

std::vector<Part> Ledger::NewRun(Way way) {
  absl::MutexLock lock(&mutex_);
  const size_t index = runs_.size();
  Run& run = runs_.emplace_back();
  run.way = way;
  run.number = index;
  std::vector<Part> parts;
  parts.reserve(PartCount(way));
  for (int part = 0; part < PartCount(way); ++part) {
    parts.push_back({index, part});
  }
  random_.Shuffle(&parts);
  return parts;
}

void Ledger::Acknowledge(const std::vector<Part>& parts) {
  absl::MutexLock lock(&mutex_);
  for (const Part& part : parts) {
    Run& run = runs_[part.run];
    run.acknowledged |= 1u << part.part;
    run.checked = false;
    ++counts_.parts[static_cast<size_t>(run.way)];
  }
}

std::vector<size_t> Ledger::DoubtfulOutcomes() {
  std::vector<size_t> found;
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < runs_.size(); ++i) {
    Run& run = runs_[i];
    if (run.doubtful == v1::OUTCOME_UNSPECIFIED) continue;
    run.busy = true;
    found.push_back(i);
  }
  return found;
}

std::vector<size_t> Ledger::DoubtfulDeletions() {
  std::vector<size_t> found;
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < runs_.size(); ++i) {
    Run& run = runs_[i];
    if (run.deletion != Run::Deletion::kDoubtful) continue;
    run.busy = true;
    found.push_back(i);
  }
  return found;
}

std::vector<size_t> Ledger::Take(int count) {
  std::vector<size_t> taken;
  // Some are not what is wanted: not so many tries that it takes long.
  for (int i = 0; i < 8 * count && !runs_.empty(); ++i) {
    const size_t index = random_.Below(runs_.size());
    Run& run = runs_[index];
    const bool fits = run.way != Way::kShort && run.Lives() && !run.busy &&
                      run.doubtful == v1::OUTCOME_UNSPECIFIED;
    if (!fits) continue;
    run.busy = true;
    taken.push_back(index);
    if (taken.size() == static_cast<size_t>(count)) break;
  }
  return taken;
}

std::vector<size_t> Ledger::TakeToJudge(int count) {
  absl::MutexLock lock(&mutex_);
  std::vector<size_t> taken = Take(count);
  for (const size_t index : taken) {
    runs_[index].doubtful =
        random_.Bernoulli(0.5) ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL;
  }
  return taken;
}

std::vector<size_t> Ledger::TakeToDelete(int count) {
  absl::MutexLock lock(&mutex_);
  return Take(count);
}

void Ledger::BeginDeletion(size_t run) {
  absl::MutexLock lock(&mutex_);
  runs_[run].deletion = Run::Deletion::kDoubtful;
}

void Ledger::SettleOutcomes(const std::vector<size_t>& runs,
                            bool acknowledged) {
  absl::MutexLock lock(&mutex_);
  for (const size_t index : runs) {
    Run& run = runs_[index];
    run.busy = false;
    if (!acknowledged) continue;
    run.outcome = std::exchange(run.doubtful, v1::OUTCOME_UNSPECIFIED);
    run.checked = false;
    ++counts_.outcomes;
  }
}

void Ledger::SettleDeletions(const std::vector<size_t>& runs,
                             bool acknowledged) {
  absl::MutexLock lock(&mutex_);
  for (const size_t index : runs) {
    Run& run = runs_[index];
    run.busy = false;
    if (!acknowledged || run.deletion != Run::Deletion::kDoubtful) continue;
    run.deletion = Run::Deletion::kDone;
    run.checked = false;
    ++counts_.deletions;
  }
}

void Ledger::SawSequence(const std::string& project, uint64_t sequence) {
  absl::MutexLock lock(&mutex_);
  uint64_t& highest = sequences_[project];
  highest = std::max(highest, sequence);
}

std::map<std::string, uint64_t> Ledger::Sequences() const {
  absl::MutexLock lock(&mutex_);
  return sequences_;
}

Run Ledger::Get(size_t run) const {
  absl::MutexLock lock(&mutex_);
  return runs_[run];
}

std::vector<Run> Ledger::All() const {
  absl::MutexLock lock(&mutex_);
  return runs_;
}

std::vector<Run> Ledger::TakeUnchecked() {
  std::vector<Run> taken;
  absl::MutexLock lock(&mutex_);
  for (Run& run : runs_) {
    if (run.way != Way::kShort && std::exchange(run.checked, true)) continue;
    taken.push_back(run);
  }
  return taken;
}

Ledger::Counts Ledger::GetCounts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

}  // namespace faultline::bench
