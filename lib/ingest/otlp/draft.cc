#include "lib/ingest/otlp/draft.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace faultline::otlp {

void Keep(absl::string_view text, std::string* field) {
  if (field->empty()) field->assign(text.data(), text.size());
}

void KeepEntry(const std::string& key, absl::string_view text,
               google::protobuf::Map<std::string, std::string>* map) {
  if (!text.empty()) map->insert({key, std::string(text)});
}

void KeepEntry(const std::string& key, const AnyValue* value,
               google::protobuf::Map<std::string, std::string>* map) {
  if (value != nullptr) KeepEntry(key, TextOf(*value), map);
}

void KeepModels(absl::string_view requested, absl::string_view answered,
                Draft* draft) {
  const absl::string_view model = requested.empty() ? answered : requested;
  if (model.empty()) return;
  if (draft->operation == Operation::kLlm) {
    Keep(model, draft->part.mutable_system()->mutable_model());
  }
  auto* attributes = draft->step.mutable_attributes();
  KeepEntry("model", model, attributes);
  if (answered != model) KeepEntry("response_model", answered, attributes);
}

void KeepDocuments(const std::vector<Document>& documents, Draft* draft) {
  std::optional<double> best;
  std::string lines;
  for (const Document& document : documents) {
    if (document.score.has_value()) {
      best = std::max(best.value_or(*document.score), *document.score);
    }
    AppendMessage(document.id, document.content, &lines);
  }
  auto* attributes = draft->step.mutable_attributes();
  KeepEntry("retrieval.hits", absl::StrCat(documents.size()), attributes);
  if (best.has_value()) {
    KeepEntry("retrieval.top_score", absl::StrCat(*best), attributes);
  }
  Keep(lines, draft->step.mutable_output());
}

void AppendMessage(absl::string_view role, absl::string_view text,
                   std::string* conversation) {
  absl::StrAppend(conversation, conversation->empty() ? "" : "\n", role,
                  role.empty() ? "" : ": ", text);
}

}  // namespace faultline::otlp
