#ifndef FAULTLINE_LIB_POLICY_PREDICATE_H_
#define FAULTLINE_LIB_POLICY_PREDICATE_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/predicate.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/trace/trace_field.h"

namespace faultline::policy {

// Predicates that are evaluated over the same run: a comparison that several of
// them make is made once, a field is read once, and a text is split into words
// once, however many words are asked of it. Not thread-safe while predicates
// are added, then immutable, so thread-safe.
//
// Text operators (EQUAL, NOT_EQUAL, IN, HAS_WORD) look at text, AT_LEAST and
// BELOW at numbers. A field of the other type is never equal, in, at least,
// below, and always not equal.
class PredicateSet {
  struct Node;

 public:
  // Adds a predicate and returns its index. INVALID_ARGUMENT, naming the part,
  // where an operator is unknown, a path is none, an operand breaks its limit,
  // or the whole is deeper or larger than predicate.proto allows; then no
  // index is taken.
  absl::StatusOr<int> Add(const v1::Predicate& predicate);

  // What is known of one run; fields are read when first asked for. Borrows
  // the set and the trace. Not thread-safe.
  class Reader {
   public:
    Reader(const PredicateSet& set, const v1::Trace& trace);

    // Whether predicate `index` holds for the trace.
    bool Matches(int index);

   private:
    struct FieldState {
      bool read = false;
      bool split = false;  // into words
      trace::FieldValue value;
    };

    enum class Verdict : uint8_t { kOpen, kHolds, kFails };

    bool Holds(size_t node);
    bool Compare(const Node& node);
    const trace::FieldValue& Value(size_t field);
    bool HasWord(size_t field, size_t word);

    const PredicateSet& set_;
    const v1::Trace& trace_;
    absl::InlinedVector<FieldState, 8> fields_;
    absl::InlinedVector<Verdict, 64> verdicts_;  // by comparison number
    absl::InlinedVector<bool, 64> words_;        // found, by word number
  };

 private:
  enum class NodeKind { kNever, kAll, kAny, kNot, kComparison };

  // Children of a list follow one another in children_.
  struct Node {
    NodeKind kind = NodeKind::kNever;
    size_t first_child = 0;
    size_t child_count = 0;
    v1::Comparison::Operator op = v1::Comparison::OPERATOR_UNSPECIFIED;
    size_t comparison = 0;  // number; equal comparisons share a node
    size_t field = 0;
    size_t word = 0;
    double number = 0;
    std::vector<std::string> texts;  // one, or those of IN, ascending
  };

  // A distinct path, and the words that are asked of it. Most words of a text
  // fail on their first byte or length and are not hashed.
  struct Field {
    trace::TraceField path;
    absl::flat_hash_map<std::string, size_t> words;
    std::bitset<256> first_bytes;
    std::bitset<257> lengths;
  };

  // Adds the node and what is below it; counts comparisons.
  absl::StatusOr<size_t> AddNode(const v1::Predicate& predicate, int depth,
                                 int* comparisons);
  absl::StatusOr<size_t> AddList(NodeKind kind, const v1::PredicateList& list,
                                 int depth, int* comparisons);
  absl::StatusOr<size_t> AddComparison(const v1::Comparison& comparison);
  size_t Push(Node node);

  std::vector<Node> nodes_;
  std::vector<size_t> children_;
  std::vector<size_t> roots_;
  std::vector<Field> fields_;
  absl::flat_hash_map<std::string, size_t> field_numbers_;     // by path
  absl::flat_hash_map<std::string, size_t> comparison_nodes_;  // by bytes
  size_t word_count_ = 0;
};

// One predicate with its paths parsed. Immutable, so thread-safe; a copy is
// cheap.
class CompiledPredicate {
 public:
  // INVALID_ARGUMENT as PredicateSet::Add.
  static absl::StatusOr<CompiledPredicate> Compile(
      const v1::Predicate& predicate);

  bool Matches(const v1::Trace& trace) const;

 private:
  explicit CompiledPredicate(std::shared_ptr<const PredicateSet> set);
  std::shared_ptr<const PredicateSet> set_;
};

// The predicate in words, such as
// `task.type = "qa" and not (task.input has word "not")`.
std::string PredicateText(const v1::Predicate& predicate);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_PREDICATE_H_
