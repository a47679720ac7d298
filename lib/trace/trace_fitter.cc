#include "lib/trace/trace_fitter.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/base/error_detail.h"
#include "lib/trace/trace_limits.h"
#include "lib/trace/utf8.h"

namespace faultline::trace {
namespace {

// Counts what it changes.
class Fitter {
 public:
  uint64_t changed() const { return changed_; }

  void Trace(const v1::TraceLimits& limits, v1::Trace* trace) {
    const size_t text_bytes = limits.max_text_bytes();
    Text(kIdBytes, trace, &v1::Trace::session_id,
         &v1::Trace::mutable_session_id);
    if (trace->has_task()) Task(text_bytes, trace->mutable_task());
    if (trace->has_system()) System(trace->mutable_system());
    List(kDecisions, trace->mutable_decisions());
    for (v1::Decision& d : *trace->mutable_decisions()) Decision(&d);
    for (v1::Step& s : *trace->mutable_steps()) Step(text_bytes, &s);
    if (trace->has_memory()) Memory(trace->mutable_memory());
    if (trace->has_evaluation()) Evaluation(trace->mutable_evaluation());
    if (trace->has_exposure()) Exposure(trace->mutable_exposure());
    List(kAnnotations, trace->mutable_annotations());
    for (v1::Annotation& a : *trace->mutable_annotations()) Annotation(&a);
  }

  void Evaluation(v1::Evaluation* evaluation) {
    Text(kNameBytes, evaluation, &v1::Evaluation::evaluator,
         &v1::Evaluation::mutable_evaluator);
    Map(evaluation->mutable_signals());
  }

  void Annotation(v1::Annotation* annotation) {
    Text(kNameBytes, annotation, &v1::Annotation::failure_mode,
         &v1::Annotation::mutable_failure_mode);
    Text(kNameBytes, annotation, &v1::Annotation::culprit_component,
         &v1::Annotation::mutable_culprit_component);
    Text(kNoteBytes, annotation, &v1::Annotation::note,
         &v1::Annotation::mutable_note);
    Text(kNameBytes, annotation, &v1::Annotation::annotator,
         &v1::Annotation::mutable_annotator);
  }

 private:
  // A text of a message. One that is empty is not even touched: to change it
  // would allocate it.
  template <typename Message>
  void Text(size_t max, Message* message,
            const std::string& (Message::*get)() const,
            std::string* (Message::*change)()) {
    if (!(message->*get)().empty()) Text(max, (message->*change)());
  }

  void Text(size_t max, std::string* text) {
    const bool long_text = text->size() > max;
    // A character that the limit cuts in two is no fault of the text.
    if (long_text) text->resize(base::CutText(*text, max).size());
    const bool bad = FindNotUtf8(*text) != text->size();
    if (bad) *text = base::CutText(RepairUtf8(*text), max);
    changed_ += long_text || bad ? 1 : 0;
  }

  template <typename Element>
  void List(int max, google::protobuf::RepeatedPtrField<Element>* list) {
    if (list->size() <= max) return;
    changed_ += list->size() - max;
    list->DeleteSubrange(max, list->size() - max);
  }

  template <typename Value>
  void Map(google::protobuf::Map<std::string, Value>* map) {
    if (map->size() <= kMapEntries) return;
    std::vector<std::string> keys;
    for (const auto& [key, value] : *map) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    for (size_t i = kMapEntries; i < keys.size(); ++i) map->erase(keys[i]);
    changed_ += keys.size() - kMapEntries;
  }

  void TextMap(google::protobuf::Map<std::string, std::string>* map) {
    Map(map);
    for (auto& [key, value] : *map) Text(kValueBytes, &value);
  }

  void Task(size_t text_bytes, v1::Task* task) {
    Text(kTaskIdBytes, task, &v1::Task::id, &v1::Task::mutable_id);
    Text(kNameBytes, task, &v1::Task::type, &v1::Task::mutable_type);
    Text(kNameBytes, task, &v1::Task::dataset, &v1::Task::mutable_dataset);
    Text(text_bytes, task, &v1::Task::input, &v1::Task::mutable_input);
    TextMap(task->mutable_labels());
    Text(kNameBytes, task, &v1::Task::embedding_model,
         &v1::Task::mutable_embedding_model);
  }

  void System(v1::System* system) {
    Text(kNameBytes, system, &v1::System::agent, &v1::System::mutable_agent);
    Text(kNameBytes, system, &v1::System::agent_version,
         &v1::System::mutable_agent_version);
    Text(kNameBytes, system, &v1::System::model, &v1::System::mutable_model);
    Text(kNameBytes, system, &v1::System::prompt_strategy,
         &v1::System::mutable_prompt_strategy);
    Text(kNameBytes, system, &v1::System::prompt_version,
         &v1::System::mutable_prompt_version);
    Text(kNameBytes, system, &v1::System::toolset,
         &v1::System::mutable_toolset);
    TextMap(system->mutable_config());
  }

  void Decision(v1::Decision* decision) {
    List(kCandidates, decision->mutable_candidates());
    for (auto& candidate : *decision->mutable_candidates()) {
      Text(kNameBytes, &candidate, &v1::Decision::Candidate::name,
           &v1::Decision::Candidate::mutable_name);
    }
    Text(kNameBytes, decision, &v1::Decision::chosen,
         &v1::Decision::mutable_chosen);
    Text(kReasonBytes, decision, &v1::Decision::reason,
         &v1::Decision::mutable_reason);
  }

  void Step(size_t text_bytes, v1::Step* step) {
    Text(kNameBytes, step, &v1::Step::name, &v1::Step::mutable_name);
    Text(kNameBytes, step, &v1::Step::actor, &v1::Step::mutable_actor);
    Text(kNameBytes, step, &v1::Step::error_type,
         &v1::Step::mutable_error_type);
    Text(kNoteBytes, step, &v1::Step::error_message,
         &v1::Step::mutable_error_message);
    Text(text_bytes, step, &v1::Step::input, &v1::Step::mutable_input);
    Text(text_bytes, step, &v1::Step::output, &v1::Step::mutable_output);
    TextMap(step->mutable_attributes());
  }

  void Memory(v1::MemoryState* memory) {
    Text(kIdBytes, memory, &v1::MemoryState::snapshot_id,
         &v1::MemoryState::mutable_snapshot_id);
    Text(kVersionBytes, memory, &v1::MemoryState::schema_version,
         &v1::MemoryState::mutable_schema_version);
    List(kMemoryRecords, memory->mutable_reads());
    for (auto& read : *memory->mutable_reads()) {
      Text(kIdBytes, &read, &v1::MemoryState::Read::record_id,
           &v1::MemoryState::Read::mutable_record_id);
      Text(kVersionBytes, &read, &v1::MemoryState::Read::version,
           &v1::MemoryState::Read::mutable_version);
      Text(kNameBytes, &read, &v1::MemoryState::Read::record_class,
           &v1::MemoryState::Read::mutable_record_class);
    }
    List(kMemoryRecords, memory->mutable_writes());
    for (auto& write : *memory->mutable_writes()) {
      Text(kIdBytes, &write, &v1::MemoryState::Write::record_id,
           &v1::MemoryState::Write::mutable_record_id);
      Text(kVersionBytes, &write, &v1::MemoryState::Write::version,
           &v1::MemoryState::Write::mutable_version);
      Text(kNameBytes, &write, &v1::MemoryState::Write::record_class,
           &v1::MemoryState::Write::mutable_record_class);
    }
    List(kMemoryRecords, memory->mutable_skipped());
    for (auto& skip : *memory->mutable_skipped()) {
      Text(kIdBytes, &skip, &v1::MemoryState::Skip::record_id,
           &v1::MemoryState::Skip::mutable_record_id);
      Text(kValueBytes, &skip, &v1::MemoryState::Skip::reason,
           &v1::MemoryState::Skip::mutable_reason);
    }
    Map(memory->mutable_stats());
  }

  void Exposure(v1::Exposure* exposure) {
    List(kExposures, exposure->mutable_interventions());
    for (auto& intervention : *exposure->mutable_interventions()) {
      Text(kIdBytes, &intervention,
           &v1::Exposure::Intervention::intervention_id,
           &v1::Exposure::Intervention::mutable_intervention_id);
      Text(kValueBytes, &intervention,
           &v1::Exposure::Intervention::assignment_key,
           &v1::Exposure::Intervention::mutable_assignment_key);
    }
  }

  uint64_t changed_ = 0;
};

}  // namespace

uint64_t FitTrace(const v1::TraceLimits& limits, v1::Trace* trace) {
  Fitter fitter;
  fitter.Trace(limits, trace);
  return fitter.changed();
}

uint64_t FitOutcome(v1::OutcomeRecord* record) {
  Fitter fitter;
  fitter.Evaluation(record->mutable_evaluation());
  return fitter.changed();
}

uint64_t FitAnnotation(v1::AnnotationRecord* record) {
  Fitter fitter;
  fitter.Annotation(record->mutable_annotation());
  return fitter.changed();
}

}  // namespace faultline::trace
