#include "lib/trace/content_policy.h"

#include <string>

#include "lib/base/hash.h"

namespace faultline::trace {
namespace {

constexpr size_t kDigits = 16;

// What becomes of one text; not for CONTENT_POLICY_FULL.
class Redactor {
 public:
  Redactor(v1::ContentPolicy policy, absl::string_view project)
      : digest_(policy == v1::CONTENT_POLICY_DIGEST), project_(project) {}

  void Redact(std::string* text) const {
    if (text->empty()) return;
    if (!digest_) return text->clear();
    std::string bytes = project_;
    bytes.push_back('\0');
    bytes += *text;
    *text = base::Sha256Hex(bytes).substr(0, kDigits);
  }

  void Redact(v1::Annotation* annotation) const {
    Redact(annotation->mutable_note());
  }

 private:
  const bool digest_;
  const std::string project_;
};

bool KeepsAll(v1::ContentPolicy policy) {
  return policy != v1::CONTENT_POLICY_DIGEST &&
         policy != v1::CONTENT_POLICY_NONE;
}

}  // namespace

void ApplyContentPolicy(v1::ContentPolicy policy, absl::string_view project,
                        v1::Trace* trace) {
  if (KeepsAll(policy)) return;
  const Redactor redactor(policy, project);
  if (trace->has_task())
    redactor.Redact(trace->mutable_task()->mutable_input());
  for (v1::Decision& decision : *trace->mutable_decisions()) {
    redactor.Redact(decision.mutable_reason());
  }
  for (v1::Step& step : *trace->mutable_steps()) {
    redactor.Redact(step.mutable_input());
    redactor.Redact(step.mutable_output());
    redactor.Redact(step.mutable_error_message());
  }
  if (trace->has_memory()) {
    for (v1::MemoryState::Skip& skip :
         *trace->mutable_memory()->mutable_skipped()) {
      redactor.Redact(skip.mutable_reason());
    }
  }
  for (v1::Annotation& annotation : *trace->mutable_annotations()) {
    redactor.Redact(&annotation);
  }
}

void ApplyContentPolicy(v1::ContentPolicy policy, absl::string_view project,
                        v1::AnnotationRecord* record) {
  if (KeepsAll(policy)) return;
  Redactor(policy, project).Redact(record->mutable_annotation());
}

}  // namespace faultline::trace
