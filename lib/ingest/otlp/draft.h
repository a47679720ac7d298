#ifndef FAULTLINE_LIB_INGEST_OTLP_DRAFT_H_
#define FAULTLINE_LIB_INGEST_OTLP_DRAFT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/trace.pb.h"
#include "lib/ingest/otlp/attributes.h"

// What the dialects have in common. Each reads its own attributes of a span
// into one draft; what is there already stays, so that the first to speak wins.
namespace faultline::otlp {

// What a span is, in the words that the dialects share.
enum class Operation {
  kUnknown,    // nothing that an agent does
  kContext,    // a chain, a workflow: holds others together
  kAgent,      // an agent at work
  kLlm,        // a call of a model
  kSideModel,  // a call of a model that embeds or decides, and does not answer
  kTool,
  kRetrieval,  // reranking too
  kMemory,
  kGuardrail,
  kHandoff,
  kEvaluator,  // judges a run, is no part of it
};

// A judgement as the conventions have it: free names, labels and scales.
struct Judgement {
  std::string name;
  std::string identifier;
  std::string annotator_kind;  // such as HUMAN
  std::string label;
  std::string explanation;
  std::optional<double> score;
  absl::Time time = absl::InfinitePast();  // not known
};

// A span on its way to a part of a run. Texts may be longer than the limits.
struct Draft {
  Operation operation = Operation::kUnknown;
  v1::Trace part;  // without its step
  v1::Step step;   // of use where `operation` makes one, or its kind is set
  std::vector<Judgement> judgements;
  bool closes_run = false;
  // Attributes of ours that name no field, and judgements of no run.
  uint64_t ignored = 0;
  // Attributes that refer to a string table.
  uint64_t string_indexes = 0;
};

// Sets a text that is not set yet.
void Keep(absl::string_view text, std::string* field);

// Sets an entry that is not there yet, where the text is not empty.
void KeepEntry(const std::string& key, absl::string_view text,
               google::protobuf::Map<std::string, std::string>* map);
// The same, from an attribute that may be null.
void KeepEntry(const std::string& key, const AnyValue* value,
               google::protobuf::Map<std::string, std::string>* map);

// Sets the model of the step and, where it is the one that answers, of the
// system. The answer may come from another model than was asked for, where a
// provider falls back.
void KeepModels(absl::string_view requested, absl::string_view answered,
                Draft* draft);

// A document that a retrieval found.
struct Document {
  std::string id;
  std::string content;
  std::optional<double> score;
};

// Sets their number, the best score and, a line each, the output. To be called
// where it is known what was found, nothing included.
void KeepDocuments(const std::vector<Document>& documents, Draft* draft);

// Adds a line `ROLE: TEXT` to a conversation.
void AppendMessage(absl::string_view role, absl::string_view text,
                   std::string* conversation);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_DRAFT_H_
