#include "lib/policy/predicate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::policy {
namespace {

using v1::Comparison;
using v1::Predicate;

constexpr int kMaxDepth = 8;
constexpr int kMaxComparisons = 64;
constexpr int kMaxOperands = 64;
constexpr size_t kMaxTextBytes = 256;

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status CheckOperandSize(absl::string_view field, absl::string_view text) {
  if (text.size() <= kMaxTextBytes) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_TOO_LONG, field, "at most 256 bytes",
                 absl::StrCat("has ", text.size(), " bytes"));
}

bool IsOneWord(const std::string& lowered) {
  int words = 0;
  bool whole = true;
  trace::VisitWords(lowered, [&](absl::string_view word) {
    ++words;
    whole = word == lowered;
  });
  return words == 1 && whole;
}

// An expression that this build does not know is kept as an unknown field. It
// must not read as "matches nothing", because `not` would turn that around.
bool HasUnknownFields(const google::protobuf::Message& message) {
  return !message.GetReflection()->GetUnknownFields(message).empty();
}

}  // namespace

absl::StatusOr<int> PredicateSet::Add(const Predicate& predicate) {
  int comparisons = 0;
  FAULTLINE_ASSIGN_OR_RETURN(const size_t root,
                             AddNode(predicate, 1, &comparisons));
  roots_.push_back(root);
  return static_cast<int>(roots_.size()) - 1;
}

absl::StatusOr<size_t> PredicateSet::AddNode(const Predicate& predicate,
                                             int depth, int* comparisons) {
  if (depth > kMaxDepth) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "predicate",
                   "at most 8 levels", "is too deep");
  }
  switch (predicate.expression_case()) {
    case Predicate::kAll:
      return AddList(NodeKind::kAll, predicate.all(), depth, comparisons);
    case Predicate::kAny:
      return AddList(NodeKind::kAny, predicate.any(), depth, comparisons);
    case Predicate::kNot: {
      FAULTLINE_ASSIGN_OR_RETURN(
          const size_t child,
          AddNode(predicate.not_(), depth + 1, comparisons));
      Node node;
      node.kind = NodeKind::kNot;
      node.first_child = child;
      return Push(std::move(node));
    }
    case Predicate::kComparison:
      if (++*comparisons > kMaxComparisons) {
        return Invalid(v1::ErrorDetail::REASON_TOO_MANY, "predicate",
                       "at most 64 comparisons in all", "has too many");
      }
      return AddComparison(predicate.comparison());
    case Predicate::EXPRESSION_NOT_SET:
      if (HasUnknownFields(predicate)) {
        return Invalid(
            v1::ErrorDetail::REASON_MALFORMED, "predicate.expression",
            "one of all, any, not, comparison", "is not known to this version");
      }
      return Push(Node{});
  }
  return absl::InternalError("predicate.expression is outside its enum");
}

absl::StatusOr<size_t> PredicateSet::AddList(NodeKind kind,
                                             const v1::PredicateList& list,
                                             int depth, int* comparisons) {
  if (list.predicates_size() > kMaxOperands) {
    return Invalid(v1::ErrorDetail::REASON_TOO_MANY, "predicates", "at most 64",
                   absl::StrCat("has ", list.predicates_size()));
  }
  std::vector<size_t> children;
  children.reserve(list.predicates_size());
  for (const Predicate& predicate : list.predicates()) {
    FAULTLINE_ASSIGN_OR_RETURN(const size_t child,
                               AddNode(predicate, depth + 1, comparisons));
    children.push_back(child);
  }
  // A text is split into words only where nothing cheaper decides.
  std::stable_partition(children.begin(), children.end(), [this](size_t child) {
    return nodes_[child].op != Comparison::OPERATOR_HAS_WORD;
  });
  Node node;
  node.kind = kind;
  node.first_child = children_.size();
  node.child_count = children.size();
  children_.insert(children_.end(), children.begin(), children.end());
  return Push(std::move(node));
}

absl::StatusOr<size_t> PredicateSet::AddComparison(
    const Comparison& comparison) {
  absl::StatusOr<trace::TraceField> path =
      trace::TraceField::Parse(comparison.field());
  if (!path.ok()) return path.status();

  Node node;
  node.kind = NodeKind::kComparison;
  node.op = comparison.op();
  std::string word;
  switch (comparison.op()) {
    case Comparison::OPERATOR_EQUAL:
    case Comparison::OPERATOR_NOT_EQUAL:
      FAULTLINE_RETURN_IF_ERROR(
          CheckOperandSize("comparison.text", comparison.text()));
      node.texts.push_back(comparison.text());
      break;
    case Comparison::OPERATOR_IN:
      if (comparison.values_size() > kMaxOperands) {
        return Invalid(v1::ErrorDetail::REASON_TOO_MANY, "comparison.values",
                       "at most 64",
                       absl::StrCat("has ", comparison.values_size()));
      }
      for (const std::string& value : comparison.values()) {
        FAULTLINE_RETURN_IF_ERROR(CheckOperandSize("comparison.values", value));
        node.texts.push_back(value);
      }
      std::sort(node.texts.begin(), node.texts.end());
      break;
    case Comparison::OPERATOR_AT_LEAST:
    case Comparison::OPERATOR_BELOW:
      if (!std::isfinite(comparison.number())) {
        return Invalid(v1::ErrorDetail::REASON_NOT_FINITE, "comparison.number",
                       "finite", "is NaN or infinite");
      }
      node.number = comparison.number();
      break;
    case Comparison::OPERATOR_HAS_WORD:
      FAULTLINE_RETURN_IF_ERROR(
          CheckOperandSize("comparison.text", comparison.text()));
      word = absl::AsciiStrToLower(comparison.text());
      if (!IsOneWord(word)) {
        return Invalid(
            v1::ErrorDetail::REASON_MALFORMED, "comparison.text",
            "one word of letters, digits and apostrophes",
            absl::StrCat("is \"", absl::Utf8SafeCEscape(comparison.text()),
                         "\""));
      }
      break;
    case Comparison::OPERATOR_PRESENT:
    case Comparison::OPERATOR_ABSENT:
      break;
    default:
      return Invalid(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "comparison.op",
                     "a known operator",
                     absl::StrCat("is ", static_cast<int>(comparison.op())));
  }

  const auto [entry, added] =
      field_numbers_.try_emplace(comparison.field(), fields_.size());
  if (added) fields_.push_back(Field{*std::move(path), {}, {}, {}});
  node.field = entry->second;
  if (node.op == Comparison::OPERATOR_HAS_WORD) {
    Field& field = fields_[node.field];
    const auto [number, new_word] = field.words.try_emplace(word, word_count_);
    if (new_word) ++word_count_;
    field.first_bytes.set(static_cast<unsigned char>(word.front()));
    field.lengths.set(word.size());
    node.word = number->second;
  }
  const auto [known, new_comparison] = comparison_nodes_.try_emplace(
      comparison.SerializeAsString(), nodes_.size());
  if (!new_comparison) return known->second;
  node.comparison = comparison_nodes_.size() - 1;
  return Push(std::move(node));
}

size_t PredicateSet::Push(Node node) {
  nodes_.push_back(std::move(node));
  return nodes_.size() - 1;
}

PredicateSet::Reader::Reader(const PredicateSet& set, const v1::Trace& trace)
    : set_(set),
      trace_(trace),
      fields_(set.fields_.size()),
      verdicts_(set.comparison_nodes_.size(), Verdict::kOpen),
      words_(set.word_count_, false) {}

bool PredicateSet::Reader::Matches(int index) {
  return Holds(set_.roots_[index]);
}

bool PredicateSet::Reader::Holds(size_t index) {
  const Node& node = set_.nodes_[index];
  switch (node.kind) {
    case NodeKind::kNever:
      return false;
    case NodeKind::kAll:
    case NodeKind::kAny: {
      const bool any = node.kind == NodeKind::kAny;
      const auto begin = set_.children_.begin() + node.first_child;
      for (auto child = begin; child != begin + node.child_count; ++child) {
        if (Holds(*child) == any) return any;
      }
      return !any;
    }
    case NodeKind::kNot:
      return !Holds(node.first_child);
    case NodeKind::kComparison: {
      Verdict& verdict = verdicts_[node.comparison];
      if (verdict == Verdict::kOpen) {
        verdict = Compare(node) ? Verdict::kHolds : Verdict::kFails;
      }
      return verdict == Verdict::kHolds;
    }
  }
  return false;
}

bool PredicateSet::Reader::Compare(const Node& node) {
  const trace::FieldValue& value = Value(node.field);
  const auto* const text = std::get_if<absl::string_view>(&value);
  const auto* const number = std::get_if<double>(&value);
  const bool present = text != nullptr || number != nullptr;
  switch (node.op) {
    case Comparison::OPERATOR_EQUAL:
      return text != nullptr && *text == node.texts.front();
    case Comparison::OPERATOR_NOT_EQUAL:
      return present && (text == nullptr || *text != node.texts.front());
    case Comparison::OPERATOR_IN:
      return text != nullptr &&
             std::binary_search(node.texts.begin(), node.texts.end(), *text);
    case Comparison::OPERATOR_AT_LEAST:
      return number != nullptr && *number >= node.number;
    case Comparison::OPERATOR_BELOW:
      return number != nullptr && *number < node.number;
    case Comparison::OPERATOR_HAS_WORD:
      return text != nullptr && HasWord(node.field, node.word);
    case Comparison::OPERATOR_PRESENT:
      return present;
    case Comparison::OPERATOR_ABSENT:
      return !present;
    default:
      break;
  }
  return false;
}

const trace::FieldValue& PredicateSet::Reader::Value(size_t field) {
  FieldState& state = fields_[field];
  if (!state.read) {
    state.value = set_.fields_[field].path.Get(trace_);
    state.read = true;
  }
  return state.value;
}

bool PredicateSet::Reader::HasWord(size_t field, size_t word) {
  FieldState& state = fields_[field];
  if (!state.split) {
    const Field& wanted = set_.fields_[field];
    trace::VisitWords(
        std::get<absl::string_view>(state.value),
        [this, &wanted](absl::string_view found) {
          if (found.size() >= wanted.lengths.size() ||
              !wanted.lengths[found.size()] ||
              !wanted.first_bytes[static_cast<unsigned char>(found.front())]) {
            return;
          }
          const auto it = wanted.words.find(found);
          if (it != wanted.words.end()) words_[it->second] = true;
        });
    state.split = true;
  }
  return words_[word];
}

absl::StatusOr<CompiledPredicate> CompiledPredicate::Compile(
    const Predicate& predicate) {
  auto set = std::make_shared<PredicateSet>();
  FAULTLINE_RETURN_IF_ERROR(set->Add(predicate).status());
  return CompiledPredicate(std::move(set));
}

CompiledPredicate::CompiledPredicate(std::shared_ptr<const PredicateSet> set)
    : set_(std::move(set)) {}

bool CompiledPredicate::Matches(const v1::Trace& trace) const {
  return PredicateSet::Reader(*set_, trace).Matches(0);
}

namespace {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

std::string ComparisonText(const Comparison& comparison) {
  const std::string& field = comparison.field();
  const auto text = [&](absl::string_view op) {
    return absl::StrCat(field, op, Quoted(comparison.text()));
  };
  const auto number = [&](absl::string_view op) {
    return absl::StrCat(field, op,
                        absl::StrFormat("%.10g", comparison.number()));
  };
  switch (comparison.op()) {
    case Comparison::OPERATOR_EQUAL:
      return text(" = ");
    case Comparison::OPERATOR_NOT_EQUAL:
      return text(" != ");
    case Comparison::OPERATOR_IN:
      return absl::StrCat(
          field, " in (",
          absl::StrJoin(comparison.values(), ", ",
                        [](std::string* out, const std::string& value) {
                          absl::StrAppend(out, Quoted(value));
                        }),
          ")");
    case Comparison::OPERATOR_AT_LEAST:
      return number(" >= ");
    case Comparison::OPERATOR_BELOW:
      return number(" < ");
    case Comparison::OPERATOR_HAS_WORD:
      return text(" has word ");
    case Comparison::OPERATOR_PRESENT:
      return absl::StrCat(field, " is present");
    case Comparison::OPERATOR_ABSENT:
      return absl::StrCat(field, " is absent");
    default:
      break;
  }
  return absl::StrCat(field, " unknown operator ",
                      static_cast<int>(comparison.op()));
}

bool IsCompound(const Predicate& predicate) {
  return predicate.all().predicates_size() > 1 ||
         predicate.any().predicates_size() > 1;
}

std::string ListText(const v1::PredicateList& list, absl::string_view joiner,
                     const char* empty) {
  if (list.predicates().empty()) return empty;
  return absl::StrJoin(
      list.predicates(), joiner,
      [&list](std::string* out, const Predicate& predicate) {
        const std::string text = PredicateText(predicate);
        const bool enclose =
            list.predicates_size() > 1 && IsCompound(predicate);
        absl::StrAppend(out, enclose ? absl::StrCat("(", text, ")") : text);
      });
}

}  // namespace

std::string PredicateText(const Predicate& predicate) {
  switch (predicate.expression_case()) {
    case Predicate::kAll:
      return ListText(predicate.all(), " and ", "everything");
    case Predicate::kAny:
      return ListText(predicate.any(), " or ", "nothing");
    case Predicate::kNot:
      return absl::StrCat("not (", PredicateText(predicate.not_()), ")");
    case Predicate::kComparison:
      return ComparisonText(predicate.comparison());
    case Predicate::EXPRESSION_NOT_SET:
      break;
  }
  return HasUnknownFields(predicate) ? "unknown expression" : "nothing";
}

}  // namespace faultline::policy
