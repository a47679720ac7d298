#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/lab/family_run.h"
#include "client/lab/memory_store.h"
#include "client/lab/memory_world.h"

namespace faultline::lab {
namespace {

constexpr Price kNotePrice = {.5, .000005};
constexpr Price kReadPrice = {.5, .000005};
constexpr Price kLookUpPrice = {6, .00006};
// Share of the runs that ask the directory without a look at the notebook.
constexpr double kStraightLookUps = .1;
constexpr char kLookUp[] = "lookup";
constexpr char kRead[] = "read";
// How sure the agent is of a record: less the older it is, and less of what
// nobody stands for; but more than it should be.
constexpr double kTrustDays = 30;
constexpr double kTrustInRumours = .7;

double Days(absl::Duration time) { return absl::ToDoubleHours(time) / 24; }

class MemoryRun final : public FamilyRun {
 public:
  MemoryRun(const Models& models, const Problem& problem,
            const Directives& directives, RunRecorder* run)
      : models_(models),
        problem_(problem),
        notebook_(*problem.notebook),
        directives_(directives),
        run_(*run),
        straight_(run_.random().Bernoulli(kStraightLookUps)) {
    v1::Trace& trace = run_.trace();
    trace.set_session_id(notebook_.name);
    trace.mutable_system()->set_toolset(kDirectory);
    v1::Decision* decision = trace.add_decisions();
    decision->set_kind(v1::Decision::KIND_MEMORY_READ);
    decision->add_candidates()->set_name(kRead);
    decision->add_candidates()->set_name(kLookUp);
    decision->set_chosen(straight_ ? kLookUp : kRead);
    decision->set_propensity(straight_ ? kStraightLookUps
                                       : 1 - kStraightLookUps);
  }

  void Prepare() override {
    store_ = std::make_unique<MemoryStore>(directives_.schemas);
    for (const MemoryRecord& record : notebook_.held) store_->Write(record);
    for (const std::string& question : notebook_.earlier) {
      for (MemoryRecord& note : ReadMemoryTask(question).notes) {
        store_->Write(std::move(note));
      }
    }
    v1::MemoryState& memory = *run_.trace().mutable_memory();
    memory.Clear();
    memory.set_snapshot_id(
        absl::StrCat(notebook_.name, "/", notebook_.earlier.size()));
    memory.set_schema_version("1");
    memory.set_size(store_->records().size());
    double sum = 0;
    double oldest = 0;
    double unsourced = 0;
    for (const auto& [id, record] : store_->records()) {
      sum += Days(record.age);
      oldest = std::max(oldest, Days(record.age));
      unsourced += record.fields.count("source") == 0 ? 1 : 0;
    }
    const double size =
        std::max<double>(1, static_cast<double>(store_->records().size()));
    auto& stats = *memory.mutable_stats();
    stats["mean_age_days"] = sum / size;
    stats["oldest_days"] = oldest;
    stats["unsourced_share"] = unsourced / size;
    // What the question is about, as far as the notebook tells.
    const MemoryRecord* wanted = Wanted();
    stats["has_answer"] = wanted == nullptr ? 0 : 1;
    if (wanted != nullptr) stats["answer_age_days"] = Days(wanted->age);
  }

  std::string Answer(const std::string&, const std::string&) override {
    const MemoryTask task = ReadMemoryTask(problem_.question);
    TakeNotes(task.notes);
    std::optional<MemoryRecord> record;
    if (!straight_) record = ReadNotebook(task);
    if (record.has_value()) {
      const double trust =
          record->fields.count("source") > 0 ? 1 : kTrustInRumours;
      run_.AddSignal("confidence",
                     trust * std::exp(-Days(record->age) / kTrustDays));
      return Say(record->value);
    }
    return LookUp(task);
  }

  bool Require(v1::Step::Kind kind, const std::string& name,
               std::string* answer) override {
    const MemoryTask task = ReadMemoryTask(problem_.question);
    if (kind == v1::Step::KIND_TOOL && (name.empty() || name == kDirectory)) {
      *answer = LookUp(task);
      return true;
    }
    if (kind != v1::Step::KIND_MEMORY) return false;
    const std::optional<MemoryRecord> record = ReadNotebook(task);
    if (!record.has_value()) return false;
    *answer = Say(record->value);
    return true;
  }

 private:
  const MemoryRecord* Wanted() const {
    const MemoryTask task = ReadMemoryTask(problem_.question);
    const auto record =
        store_->records().find(task.subject + "/" + task.record_class);
    return record == store_->records().end() ? nullptr : &record->second;
  }

  void TakeNotes(const std::vector<MemoryRecord>& notes) {
    v1::MemoryState& memory = *run_.trace().mutable_memory();
    for (const MemoryRecord& note : notes) {
      const MemoryStore::Written written = store_->Write(note);
      const std::string version = absl::StrCat(written.record.version);
      v1::Step* step = run_.AddStep(
          v1::Step::KIND_MEMORY, "take_note", kNotePrice,
          absl::StrCat(note.id, ": ", note.value),
          written.refused ? "refused" : absl::StrCat("version ", version));
      auto& attributes = *step->mutable_attributes();
      // What the notebook held says otherwise; and had been seen later.
      attributes["conflict"] = written.contradicts ? "true" : "false";
      attributes["late"] = written.late ? "true" : "false";
      attributes["has_source"] =
          note.fields.count("source") > 0 ? "true" : "false";
      if (written.refused) {
        v1::MemoryState::Skip* skip = memory.add_skipped();
        skip->set_record_id(note.id);
        skip->set_reason("conflict_refused");
        continue;
      }
      v1::MemoryState::Write* write = memory.add_writes();
      write->set_record_id(note.id);
      write->set_version(version);
      write->set_record_class(note.record_class);
    }
  }

  std::optional<MemoryRecord> ReadNotebook(const MemoryTask& task) {
    const std::string id = task.subject + "/" + task.record_class;
    const MemoryStore::Returned found = store_->Read(task.subject);
    v1::MemoryState& memory = *run_.trace().mutable_memory();
    std::optional<MemoryRecord> answer;
    std::vector<std::string> texts;
    int unsourced = 0;
    for (const MemoryRecord& record : found.records) {
      v1::MemoryState::Read* read = memory.add_reads();
      read->set_record_id(record.id);
      SetDuration(record.age, read->mutable_age());
      read->set_used(record.id == id);
      read->set_version(absl::StrCat(record.version));
      read->set_record_class(record.record_class);
      texts.push_back(absl::StrCat(record.id, ": ", record.value));
      if (record.id == id) answer = record;
      unsourced += record.fields.count("source") == 0 ? 1 : 0;
    }
    for (const MemoryStore::Skipped& skipped : found.skipped) {
      v1::MemoryState::Skip* skip = memory.add_skipped();
      skip->set_record_id(skipped.record.id);
      skip->set_reason(skipped.reason);
    }
    v1::Step* step =
        run_.AddStep(v1::Step::KIND_MEMORY, "read_notebook", kReadPrice,
                     problem_.question, absl::StrJoin(texts, "; "));
    auto& attributes = *step->mutable_attributes();
    attributes["records"] = absl::StrCat(found.records.size());
    attributes["found"] = answer.has_value() ? "true" : "false";
    attributes["memory.missing.source"] = absl::StrCat(unsourced);
    return answer;
  }

  std::string LookUp(const MemoryTask& task) {
    const std::string id = task.subject + "/" + task.record_class;
    std::string value;
    const auto entry = notebook_.directory.find(id);
    if (entry != notebook_.directory.end()) value = entry->second;
    // In World::kNull the directory is filled from the notebooks, as they are.
    const auto held = store_->records().find(id);
    if (models_.world == World::kNull && held != store_->records().end()) {
      value = held->second.value;
    }
    run_.AddStep(v1::Step::KIND_TOOL, kDirectory, kLookUpPrice, id, value);
    run_.AddSignal("confidence", 1);
    return Say(value);
  }

  std::string Say(const std::string& answer) {
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, problem_.question,
                 answer);
    return answer;
  }

  const Models& models_;
  const Problem& problem_;
  const Notebook& notebook_;
  const Directives& directives_;
  RunRecorder& run_;
  const bool straight_;
  std::unique_ptr<MemoryStore> store_;
};

}  // namespace

std::unique_ptr<FamilyRun> MakeMemoryRun(const Models& models,
                                         const Problem& problem,
                                         const Directives& directives,
                                         RunRecorder* run) {
  return std::make_unique<MemoryRun>(models, problem, directives, run);
}

}  // namespace faultline::lab
