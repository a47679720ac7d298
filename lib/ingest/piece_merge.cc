#include "lib/ingest/piece_merge.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "lib/base/error_detail.h"
#include "lib/trace/trace_fitter.h"

namespace faultline::ingest {
namespace {

using google::protobuf::RepeatedPtrField;

constexpr int kIndexDigits = 10;  // of 2^32 - 1
// Texts are not cut below this to make a run fit: lists go first.
constexpr size_t kLeastTextBytes = 64;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

google::protobuf::Timestamp FromTime(absl::Time time) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(absl::ToUnixSeconds(time));
  timestamp.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(
      time - absl::FromUnixSeconds(timestamp.seconds()))));
  return timestamp;
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

google::protobuf::Duration FromDuration(absl::Duration duration) {
  google::protobuf::Duration message;
  message.set_seconds(
      absl::IDivDuration(duration, absl::Seconds(1), &duration));
  message.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return message;
}

template <typename Element>
void MoveAll(RepeatedPtrField<Element>* from, RepeatedPtrField<Element>* to) {
  to->Reserve(to->size() + from->size());
  for (Element& element : *from) *to->Add() = std::move(element);
  from->Clear();
}

// What is neither a list nor a time: what `part` says overrides what `run`
// said.
void MergeRest(v1::Trace* part, v1::Trace* run) {
  part->clear_trace_id();
  part->clear_project();
  part->clear_start_time();
  part->clear_end_time();
  run->set_left_out(run->left_out() + part->left_out());
  part->clear_left_out();
  // These would be mixed: an embedding number by number, a duration field by
  // field.
  if (part->task().embedding_size() > 0) {
    run->mutable_task()->clear_embedding();
  }
  if (part->evaluation().has_latency()) {
    run->mutable_evaluation()->clear_latency();
  }
  run->MergeFrom(*part);
}

// Where each intervention is in the run, by id.
using InterventionIndex = absl::flat_hash_map<std::string, int>;

// Interventions once each; where both have one, `part`'s holds.
void MergeInterventions(v1::Trace* part, InterventionIndex* index,
                        v1::Trace* run) {
  if (part->exposure().interventions().empty()) return;
  auto* merged = run->mutable_exposure()->mutable_interventions();
  for (auto& exposed : *part->mutable_exposure()->mutable_interventions()) {
    const auto [place, is_new] =
        index->try_emplace(exposed.intervention_id(), merged->size());
    if (is_new) merged->Add();
    *merged->Mutable(place->second) = std::move(exposed);
  }
  part->mutable_exposure()->clear_interventions();
}

// Decisions and annotations, with their indexes of steps as `place` maps them.
// `unplaced`: what becomes of a decision that names no step of its part.
template <typename Place, typename Unplaced>
void MoveJudged(v1::Trace* part, const Place& place, const Unplaced& unplaced,
                v1::Trace* run) {
  for (v1::Decision& decision : *part->mutable_decisions()) {
    if (decision.has_step() && decision.step() >= 0) {
      decision.set_step(place(decision.step()));
    } else {
      unplaced(&decision);
    }
  }
  for (v1::Annotation& annotation : *part->mutable_annotations()) {
    if (annotation.has_culprit_step()) {
      annotation.set_culprit_step(place(annotation.culprit_step()));
    }
  }
  MoveAll(part->mutable_decisions(), run->mutable_decisions());
  MoveAll(part->mutable_annotations(), run->mutable_annotations());
}

// --- By id ---

v1::Trace MergeById(std::vector<v1::Piece>* pieces) {
  std::sort(
      pieces->begin(), pieces->end(),
      [](const v1::Piece& a, const v1::Piece& b) { return a.id() < b.id(); });
  v1::Trace run;
  InterventionIndex interventions;
  absl::Time received = absl::InfiniteFuture();
  for (v1::Piece& piece : *pieces) {
    v1::Trace& part = *piece.mutable_part();
    const int base = run.steps_size();
    const auto place = [base](int step) { return base + step; };
    const auto unplaced = [base](v1::Decision* decision) {
      // Made before the part's first step; of the run's, it may stay unsaid.
      if (base > 0) decision->set_step(base);
    };
    MoveJudged(&part, place, unplaced, &run);
    MoveAll(part.mutable_steps(), run.mutable_steps());
    if (part.has_memory()) {
      v1::MemoryState& from = *part.mutable_memory();
      v1::MemoryState& to = *run.mutable_memory();
      MoveAll(from.mutable_reads(), to.mutable_reads());
      MoveAll(from.mutable_writes(), to.mutable_writes());
      MoveAll(from.mutable_skipped(), to.mutable_skipped());
    }
    MergeInterventions(&part, &interventions, &run);
    if (part.has_start_time()) *run.mutable_start_time() = part.start_time();
    if (part.has_end_time()) *run.mutable_end_time() = part.end_time();
    MergeRest(&part, &run);
    received = std::min(received, ToTime(piece.receive_time()));
  }
  for (v1::Decision& decision : *run.mutable_decisions()) {
    if (decision.has_step() && decision.step() >= run.steps_size()) {
      decision.set_step(run.steps_size() - 1);
    }
  }
  if (!run.has_start_time()) *run.mutable_start_time() = FromTime(received);
  if (run.has_end_time() && ToTime(run.end_time()) < ToTime(run.start_time())) {
    run.clear_end_time();
  }
  return run;
}

// --- By time ---

// A step, and where it comes from.
struct TimedStep {
  absl::Time start;
  size_t piece;
  int index;  // in the piece
};

bool IsRoot(const v1::Piece& piece) {
  return piece.ends_run() || piece.parent_id().empty();
}

// For each piece the one that it is part of; its own index where that is not
// there. A piece that would be part of itself is cut loose.
std::vector<size_t> FindParents(const std::vector<v1::Piece>& pieces) {
  absl::flat_hash_map<absl::string_view, size_t> by_id;
  for (size_t i = 0; i < pieces.size(); ++i) by_id[pieces[i].id()] = i;
  std::vector<size_t> parents(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto parent = by_id.find(pieces[i].parent_id());
    const bool found = !IsRoot(pieces[i]) && parent != by_id.end();
    parents[i] = found ? parent->second : i;
  }
  // Follows each chain to a piece that is settled; one that it meets twice on
  // the way closes a circle.
  std::vector<size_t> seen_from(pieces.size(), pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    size_t at = i;
    while (seen_from[at] == pieces.size()) {
      seen_from[at] = i;
      if (parents[at] != at && seen_from[parents[at]] == i) parents[at] = at;
      at = parents[at];
    }
  }
  return parents;
}

// Distance from the root; of a piece whose parent is not there, at least 1.
std::vector<int> FindDepths(const std::vector<v1::Piece>& pieces,
                            const std::vector<size_t>& parents) {
  constexpr int kUnknown = -1;
  std::vector<int> depths(pieces.size(), kUnknown);
  std::vector<size_t> chain;
  for (size_t i = 0; i < pieces.size(); ++i) {
    size_t at = i;
    while (depths[at] == kUnknown && parents[at] != at) {
      chain.push_back(at);
      at = parents[at];
    }
    if (depths[at] == kUnknown) depths[at] = IsRoot(pieces[at]) ? 0 : 1;
    for (int depth = depths[at]; !chain.empty(); chain.pop_back()) {
      depths[chain.back()] = ++depth;
    }
  }
  return depths;
}

// Names who did each step that does not say so, where the run has several
// agents: the agent of the piece, or of the nearest one above that names one.
// `by_depth`: every piece after the one that it is part of.
void NameActors(const std::vector<size_t>& parents,
                const std::vector<size_t>& by_depth,
                std::vector<v1::Piece>* pieces) {
  std::vector<absl::string_view> agents(pieces->size());
  absl::flat_hash_set<absl::string_view> names;
  for (const size_t i : by_depth) {
    agents[i] = (*pieces)[i].part().system().agent();
    if (agents[i].empty()) agents[i] = agents[parents[i]];
    if (!agents[i].empty()) names.insert(agents[i]);
  }
  if (names.size() < 2) return;
  for (size_t i = 0; i < pieces->size(); ++i) {
    for (v1::Step& step : *(*pieces)[i].mutable_part()->mutable_steps()) {
      if (step.actor().empty()) step.set_actor(std::string(agents[i]));
    }
  }
}

// Appends what `to` does not have yet. `seen`: its elements, serialised.
template <typename Element>
void MoveNew(RepeatedPtrField<Element>* from,
             absl::flat_hash_set<std::string>* seen,
             RepeatedPtrField<Element>* to) {
  for (Element& element : *from) {
    if (seen->insert(element.SerializeAsString()).second) {
      *to->Add() = std::move(element);
    }
  }
  from->Clear();
}

v1::Trace MergeByTime(std::vector<v1::Piece>* pieces) {
  std::sort(pieces->begin(), pieces->end(),
            [](const v1::Piece& a, const v1::Piece& b) {
              const absl::Time a_start = ToTime(a.part().start_time());
              const absl::Time b_start = ToTime(b.part().start_time());
              return a_start != b_start ? a_start < b_start : a.id() < b.id();
            });
  const std::vector<size_t> parents = FindParents(*pieces);
  const std::vector<int> depths = FindDepths(*pieces, parents);
  // Nearer to the root, then earlier, comes first.
  std::vector<size_t> by_depth(pieces->size());
  std::iota(by_depth.begin(), by_depth.end(), 0);
  std::stable_sort(by_depth.begin(), by_depth.end(),
                   [&](size_t a, size_t b) { return depths[a] < depths[b]; });
  NameActors(parents, by_depth, pieces);

  v1::Trace run;
  const absl::Time start = ToTime(pieces->front().part().start_time());
  absl::Time end = start;
  std::vector<TimedStep> steps;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const v1::Trace& part = (*pieces)[i].part();
    const absl::Time part_start = ToTime(part.start_time());
    end = std::max({end, part_start, ToTime(part.end_time())});
    for (int j = 0; j < part.steps_size(); ++j) {
      steps.push_back(
          {part_start + ToDuration(part.steps(j).start_offset()), i, j});
    }
  }
  *run.mutable_start_time() = FromTime(start);
  *run.mutable_end_time() = FromTime(end);
  std::stable_sort(
      steps.begin(), steps.end(),
      [](const TimedStep& a, const TimedStep& b) { return a.start < b.start; });

  std::vector<std::vector<int>> places(pieces->size());
  double cost = 0;
  for (const TimedStep& timed : steps) {
    v1::Trace& part = *(*pieces)[timed.piece].mutable_part();
    places[timed.piece].resize(part.steps_size());
    places[timed.piece][timed.index] = run.steps_size();
    v1::Step& step = *run.add_steps();
    step = std::move(*part.mutable_steps(timed.index));
    *step.mutable_start_offset() = FromDuration(timed.start - start);
    cost += step.cost();
  }

  absl::flat_hash_set<std::string> reads, writes, skipped;
  for (size_t i = 0; i < pieces->size(); ++i) {
    v1::Trace& part = *(*pieces)[i].mutable_part();
    const absl::Time part_start = ToTime(part.start_time());
    const auto unplaced = [&](v1::Decision* decision) {
      decision->clear_step();
      if (steps.empty()) return;
      const auto next =
          std::lower_bound(steps.begin(), steps.end() - 1, part_start,
                           [](const TimedStep& step, absl::Time time) {
                             return step.start < time;
                           });
      decision->set_step(static_cast<int>(next - steps.begin()));
    };
    MoveJudged(
        &part, [&](int step) { return places[i][step]; }, unplaced, &run);
    part.clear_steps();
    if (part.has_memory()) {
      v1::MemoryState& from = *part.mutable_memory();
      v1::MemoryState& to = *run.mutable_memory();
      MoveNew(from.mutable_reads(), &reads, to.mutable_reads());
      MoveNew(from.mutable_writes(), &writes, to.mutable_writes());
      MoveNew(from.mutable_skipped(), &skipped, to.mutable_skipped());
    }
  }

  // From the leaves to the root, so that the root has the last word.
  InterventionIndex interventions;
  for (auto i = by_depth.rbegin(); i != by_depth.rend(); ++i) {
    v1::Trace* part = (*pieces)[*i].mutable_part();
    MergeInterventions(part, &interventions, &run);
    MergeRest(part, &run);
  }
  if (cost > 0 && !run.evaluation().has_cost()) {
    run.mutable_evaluation()->set_cost(cost);
  }
  return run;
}

// --- Limits ---

// Keeps the first and the last ones of the steps, `count` in all. Indexes of
// steps that are gone become that of the last one before them.
uint64_t CutSteps(int count, v1::Trace* run) {
  const int gone = run->steps_size() - count;
  if (gone <= 0) return 0;
  const int head = count - count / 2;
  run->mutable_steps()->DeleteSubrange(head, gone);
  const auto place = [&](int step) {
    return step < head ? step : std::max(step - gone, head - 1);
  };
  for (v1::Decision& decision : *run->mutable_decisions()) {
    if (!decision.has_step() || decision.step() < 0) continue;
    decision.set_step(place(decision.step()));
  }
  for (v1::Annotation& annotation : *run->mutable_annotations()) {
    if (!annotation.has_culprit_step()) continue;
    if (count == 0) {
      annotation.clear_culprit_step();
    } else {
      annotation.set_culprit_step(place(annotation.culprit_step()));
    }
  }
  return gone;
}

// The texts that may be long.
std::vector<std::string*> LongTexts(v1::Trace* run) {
  std::vector<std::string*> texts;
  if (run->has_task()) texts.push_back(run->mutable_task()->mutable_input());
  for (v1::Step& step : *run->mutable_steps()) {
    texts.push_back(step.mutable_input());
    texts.push_back(step.mutable_output());
    texts.push_back(step.mutable_error_message());
  }
  for (v1::Annotation& annotation : *run->mutable_annotations()) {
    texts.push_back(annotation.mutable_note());
  }
  return texts;
}

// Cuts the longest texts to one length at which the run fits.
uint64_t CutTexts(size_t max_bytes, v1::Trace* run) {
  const size_t bytes = run->ByteSizeLong();
  if (bytes <= max_bytes) return 0;
  const std::vector<std::string*> texts = LongTexts(run);
  size_t cap = 0;
  for (const std::string* text : texts) cap = std::max(cap, text->size());
  for (size_t saved = 0; bytes - saved > max_bytes && cap > kLeastTextBytes;) {
    cap = std::max(cap / 2, kLeastTextBytes);
    saved = 0;
    for (const std::string* text : texts) {
      saved += text->size() - std::min(text->size(), cap);
    }
  }
  uint64_t cut = 0;
  for (std::string* text : texts) {
    if (text->size() <= cap) continue;
    *text = base::CutText(*text, cap);
    ++cut;
  }
  return cut;
}

template <typename Element>
uint64_t Halve(RepeatedPtrField<Element>* list) {
  const int kept = list->size() / 2;
  const int gone = list->size() - kept;
  list->DeleteSubrange(kept, gone);
  return gone;
}

uint64_t HalveLists(v1::Trace* run) {
  uint64_t gone = CutSteps(run->steps_size() / 2, run);
  gone += Halve(run->mutable_decisions());
  gone += Halve(run->mutable_annotations());
  if (run->has_memory()) {
    gone += Halve(run->mutable_memory()->mutable_reads());
    gone += Halve(run->mutable_memory()->mutable_writes());
    gone += Halve(run->mutable_memory()->mutable_skipped());
  }
  if (run->has_exposure()) {
    gone += Halve(run->mutable_exposure()->mutable_interventions());
  }
  return gone;
}

// Returns what was left out or cut.
uint64_t Fit(const v1::TraceLimits& limits, v1::Trace* run) {
  uint64_t gone = CutSteps(static_cast<int>(limits.max_steps()), run);
  gone += trace::FitTrace(limits, run);
  gone += CutTexts(limits.max_trace_bytes(), run);
  while (run->ByteSizeLong() > limits.max_trace_bytes()) {
    const uint64_t halved = HalveLists(run);
    if (halved == 0) break;
    gone += halved;
  }
  return gone;
}

}  // namespace

v1::Piece ToPiece(v1::TracePiece piece) {
  v1::Piece staged;
  staged.set_id(PieceId(piece.index()));
  staged.set_trace_id(std::move(*piece.mutable_trace_id()));
  *staged.mutable_part() = std::move(*piece.mutable_part());
  staged.set_order(v1::PIECE_ORDER_ID);
  staged.set_closes_run(piece.last());
  return staged;
}

std::string PieceId(uint32_t index) {
  return absl::StrFormat("%0*d", kIndexDigits, index);
}

std::optional<uint32_t> PieceIndex(absl::string_view id) {
  uint32_t index = 0;
  if (id.size() != kIndexDigits || !absl::SimpleAtoi(id, &index)) {
    return std::nullopt;
  }
  return index;
}

bool TellsOfAnAgent(const v1::Trace& part) {
  const v1::Evaluation& evaluation = part.evaluation();
  return !part.steps().empty() || !part.decisions().empty() ||
         !part.annotations().empty() || part.has_task() || part.has_system() ||
         part.has_memory() || part.has_exposure() ||
         !part.session_id().empty() || part.has_keep_probability() ||
         evaluation.has_score() || !evaluation.evaluator().empty() ||
         !evaluation.signals().empty() || evaluation.has_cost() ||
         evaluation.has_latency();
}

v1::Trace MergePieces(std::vector<v1::Piece> pieces, v1::Closing closing,
                      const v1::TraceLimits& limits) {
  const std::string trace_id = pieces.front().trace_id();
  v1::Trace run = pieces.front().order() == v1::PIECE_ORDER_TIME
                      ? MergeByTime(&pieces)
                      : MergeById(&pieces);
  run.set_trace_id(trace_id);
  run.set_closing(closing);
  if (closing == v1::CLOSING_IDLE &&
      run.evaluation().outcome() == v1::OUTCOME_UNSPECIFIED) {
    run.mutable_evaluation()->set_outcome(v1::OUTCOME_ERROR);
  }
  const uint64_t gone = Fit(limits, &run);
  run.set_left_out(run.left_out() + gone);
  return run;
}

}  // namespace faultline::ingest
