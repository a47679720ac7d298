#include "lib/policy/policy_diff.h"

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/time_util.h>

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "lib/policy/predicate.h"

namespace faultline::policy {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::TimeUtil;

// Beside the rules, and beside what tells one version from another.
constexpr absl::string_view kSettings[] = {"ttl", "global_holdout",
                                           "global_holdout_salt"};

bool IsPresent(const Message& message, const FieldDescriptor& field) {
  return !field.has_presence() ||
         message.GetReflection()->HasField(message, &field);
}

// Value of a field that is not repeated; empty where it is absent.
std::string ValueText(const Message& message, const FieldDescriptor& field) {
  if (!IsPresent(message, field)) return "";
  const auto& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return reflection.GetString(message, &field);
  }
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    printer.PrintFieldValueToString(message, &field, -1, &text);
    return text;
  }
  const Message& value = reflection.GetMessage(message, &field);
  if (const auto* predicate = dynamic_cast<const v1::Predicate*>(&value)) {
    return PredicateText(*predicate);
  }
  if (const auto* time =
          dynamic_cast<const google::protobuf::Timestamp*>(&value)) {
    return TimeUtil::ToString(*time);
  }
  if (const auto* duration =
          dynamic_cast<const google::protobuf::Duration*>(&value)) {
    return TimeUtil::ToString(*duration);
  }
  printer.PrintToString(value, &text);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// Adds the field where its values differ.
template <typename Changes>
void Compare(const Message& from, const Message& to,
             const FieldDescriptor& field, Changes* changes) {
  const std::string before = ValueText(from, field);
  const std::string after = ValueText(to, field);
  if (before == after) return;
  v1::FieldChange& change = *changes->Add();
  change.set_field(field.name());
  change.set_before(before);
  change.set_after(after);
}

using RulesById = absl::flat_hash_map<std::string, const v1::Rule*>;

RulesById IndexRules(const v1::Policy& policy) {
  RulesById rules;
  for (const v1::Rule& rule : policy.rules()) {
    rules.try_emplace(rule.intervention_id(), &rule);
  }
  return rules;
}

}  // namespace

v1::DiffPoliciesResponse DiffPolicies(const v1::Policy& from,
                                      const v1::Policy& to) {
  v1::DiffPoliciesResponse diff;
  diff.set_from_version(from.version());
  diff.set_to_version(to.version());
  const RulesById old_rules = IndexRules(from);
  const RulesById new_rules = IndexRules(to);
  for (const v1::Rule& rule : to.rules()) {
    if (new_rules.at(rule.intervention_id()) != &rule) continue;
    const auto old = old_rules.find(rule.intervention_id());
    if (old == old_rules.end()) {
      *diff.add_added() = rule;
      continue;
    }
    v1::RuleChange change;
    for (int f = 0; f < v1::Rule::descriptor()->field_count(); ++f) {
      Compare(*old->second, rule, *v1::Rule::descriptor()->field(f),
              change.mutable_fields());
    }
    if (change.fields().empty()) {
      diff.set_unchanged(diff.unchanged() + 1);
      continue;
    }
    change.set_intervention_id(rule.intervention_id());
    *change.mutable_before() = *old->second;
    *change.mutable_after() = rule;
    *diff.add_changed() = std::move(change);
  }
  for (const v1::Rule& rule : from.rules()) {
    if (old_rules.at(rule.intervention_id()) == &rule &&
        !new_rules.contains(rule.intervention_id())) {
      *diff.add_removed() = rule;
    }
  }
  for (const absl::string_view name : kSettings) {
    Compare(from, to,
            *v1::Policy::descriptor()->FindFieldByName(std::string(name)),
            diff.mutable_settings());
  }
  return diff;
}

}  // namespace faultline::policy
