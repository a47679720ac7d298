#include "lib/trace/content_policy.h"

#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace faultline::trace {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::util::MessageDifferencer;
using ::testing::AllOf;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

// Every text field below Trace and AnnotationRecord is in one of the two
// lists: whoever adds one decides here what it is.
const std::set<std::string>& Texts() {
  static const auto* const texts = new std::set<std::string>{
      "Task.input",      "Decision.reason", "Step.error_message",
      "Step.input",      "Step.output",     "MemoryState.Skip.reason",
      "Annotation.note",
  };
  return *texts;
}

const std::set<std::string>& Names() {
  static const auto* const names = new std::set<std::string>{
      "Trace.trace_id",
      "Trace.project",
      "Trace.session_id",
      "Task.id",
      "Task.type",
      "Task.dataset",
      "Task.LabelsEntry.key",
      "Task.LabelsEntry.value",
      "Task.embedding_model",
      "System.agent",
      "System.agent_version",
      "System.model",
      "System.prompt_strategy",
      "System.prompt_version",
      "System.toolset",
      "System.ConfigEntry.key",
      "System.ConfigEntry.value",
      "Decision.Candidate.name",
      "Decision.chosen",
      "Step.name",
      "Step.actor",
      "Step.error_type",
      "Step.AttributesEntry.key",
      "Step.AttributesEntry.value",
      "MemoryState.Read.record_id",
      "MemoryState.Read.version",
      "MemoryState.Read.record_class",
      "MemoryState.Write.record_id",
      "MemoryState.Write.version",
      "MemoryState.Write.record_class",
      "MemoryState.Skip.record_id",
      "MemoryState.snapshot_id",
      "MemoryState.schema_version",
      "MemoryState.StatsEntry.key",
      "Evaluation.evaluator",
      "Evaluation.SignalsEntry.key",
      "Exposure.Intervention.intervention_id",
      "Exposure.Intervention.assignment_key",
      "Annotation.failure_mode",
      "Annotation.culprit_component",
      "Annotation.annotator",
      "AnnotationRecord.trace_id",
      "OutcomeRecord.trace_id",
  };
  return *names;
}

// `Task.input` of a field.
std::string NameOf(const FieldDescriptor& field) {
  return field.full_name().substr(std::string("faultline.v1.").size());
}

// Sets every field, with one element in each list and map.
void Fill(Message* message) {
  const auto* reflection = message->GetReflection();
  const auto* type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Fill(field->is_repeated() ? reflection->AddMessage(message, field)
                                : reflection->MutableMessage(message, field));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      const std::string text = absl::StrCat("text of ", NameOf(*field));
      if (field->is_repeated()) {
        reflection->AddString(message, field, text);
      } else {
        reflection->SetString(message, field, text);
      }
    }
  }
}

// Every text in `message`, by the name of its field.
void CollectTexts(const Message& message,
                  std::map<std::string, std::string>* texts) {
  const auto* reflection = message.GetReflection();
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const int size =
        field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int j = 0; j < size; ++j) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        CollectTexts(field->is_repeated()
                         ? reflection->GetRepeatedMessage(message, field, j)
                         : reflection->GetMessage(message, field),
                     texts);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        (*texts)[NameOf(*field)] =
            field->is_repeated()
                ? reflection->GetRepeatedString(message, field, j)
                : reflection->GetString(message, field);
      }
    }
  }
}

template <typename T>
std::map<std::string, std::string> TextsAfter(v1::ContentPolicy policy,
                                              const std::string& project) {
  T message;
  Fill(&message);
  ApplyContentPolicy(policy, project, &message);
  std::map<std::string, std::string> texts;
  CollectTexts(message, &texts);
  return texts;
}

// Splits by the lists above; fails for a field that is in neither.
template <typename T>
void Check(v1::ContentPolicy policy,
           const std::function<void(const std::string& field,
                                    const std::string& text)>& check_text) {
  for (const auto& [field, text] : TextsAfter<T>(policy, "p")) {
    if (Texts().count(field) > 0) {
      check_text(field, text);
    } else {
      EXPECT_EQ(Names().count(field), 1)
          << field << " is new: is it a text that the policy covers?";
      EXPECT_EQ(text, absl::StrCat("text of ", field));
    }
  }
}

TEST(ContentPolicyTest, FullChangesNothing) {
  for (const auto policy :
       {v1::CONTENT_POLICY_UNSPECIFIED, v1::CONTENT_POLICY_FULL}) {
    v1::Trace trace;
    Fill(&trace);
    v1::Trace kept = trace;
    ApplyContentPolicy(policy, "p", &kept);
    EXPECT_TRUE(MessageDifferencer::Equals(kept, trace));
  }
}

TEST(ContentPolicyTest, NoneEmptiesEveryTextAndKeepsEveryName) {
  const auto is_empty = [](const std::string& field, const std::string& text) {
    EXPECT_EQ(text, "") << field;
  };
  Check<v1::Trace>(v1::CONTENT_POLICY_NONE, is_empty);
  Check<v1::AnnotationRecord>(v1::CONTENT_POLICY_NONE, is_empty);
}

TEST(ContentPolicyTest, DigestHidesEveryTextAndKeepsEveryName) {
  const auto is_digest = [](const std::string& field, const std::string& text) {
    EXPECT_THAT(text, AllOf(SizeIs(16), MatchesRegex("[0-9a-f]+"))) << field;
  };
  Check<v1::Trace>(v1::CONTENT_POLICY_DIGEST, is_digest);
  Check<v1::AnnotationRecord>(v1::CONTENT_POLICY_DIGEST, is_digest);
}

TEST(ContentPolicyTest, AnOutcomeHasNoText) {
  v1::OutcomeRecord record;
  Fill(&record);
  std::map<std::string, std::string> texts;
  CollectTexts(record, &texts);
  for (const auto& [field, text] : texts) {
    EXPECT_EQ(Names().count(field), 1) << field;
  }
}

TEST(ContentPolicyTest, EqualTextsHaveEqualDigestsWithinAProjectOnly) {
  v1::Trace trace;
  trace.mutable_task()->set_input("the same");
  trace.add_steps()->set_input("the same");
  trace.add_steps()->set_input("another");
  v1::Trace other = trace;
  ApplyContentPolicy(v1::CONTENT_POLICY_DIGEST, "p", &trace);
  ApplyContentPolicy(v1::CONTENT_POLICY_DIGEST, "q", &other);
  EXPECT_EQ(trace.task().input(), trace.steps(0).input());
  EXPECT_NE(trace.task().input(), trace.steps(1).input());
  EXPECT_NE(trace.task().input(), other.task().input());
}

TEST(ContentPolicyTest, WhatIsAbsentStaysAbsent) {
  v1::Trace trace;
  trace.add_steps();
  v1::Trace digested = trace;
  ApplyContentPolicy(v1::CONTENT_POLICY_DIGEST, "p", &digested);
  EXPECT_TRUE(MessageDifferencer::Equals(digested, trace));
}

}  // namespace
}  // namespace faultline::trace
