#ifndef FAULTLINE_LIB_EVALUATE_SLICE_METRICS_H_
#define FAULTLINE_LIB_EVALUATE_SLICE_METRICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/policy/predicate.h"
#include "lib/trace/trace_field.h"

namespace faultline::evaluate {

inline constexpr int kMaxSlices = 64;
inline constexpr int kMaxGroupedFields = 4;
inline constexpr int kMaxGroupedValues = 200;

// Counts failures by slice. Keeps some 100 bytes of a run, and each distinct
// value of a grouped field. Not thread-safe.
class SliceCounter {
 public:
  // `intervention_id`: of the request's intervention; empty where it names
  // none. INVALID_ARGUMENT names the part of the request at fault.
  static absl::StatusOr<std::unique_ptr<SliceCounter>> Create(
      const v1::GetSliceMetricsRequest& request,
      absl::string_view intervention_id);

  // A run, at its row (JudgedRuns). A row that was there is replaced.
  void Add(size_t row, const v1::Trace& trace);

  // What the request asks for, of the rows so far; `outcomes` by row. Of
  // `stretch`, the counts of runs are filled in.
  v1::GetSliceMetricsResponse Count(
      absl::Span<const v1::Outcome> outcomes) const;

 private:
  // Value of a grouped field. `text` is an index into its texts, or one of
  // these.
  enum : int32_t { kAbsent = -1, kNumber = -2, kTooLong = -3 };
  struct Value {
    int32_t text = kAbsent;
    double number = 0;
  };
  struct Row {
    bool wanted = false;
    v1::Arm arm = v1::ARM_UNSPECIFIED;
    uint64_t slices = 0;  // bit s: in request.slices(s)
    uint64_t policy_version = 0;
    std::array<Value, kMaxGroupedFields> values;
  };
  struct Field {
    explicit Field(trace::TraceField parsed) : path(std::move(parsed)) {}
    trace::TraceField path;
    std::vector<std::string> texts;
    absl::flat_hash_map<std::string, int32_t> text_numbers;
  };
  class Grouping;

  explicit SliceCounter(const v1::GetSliceMetricsRequest& request)
      : request_(request) {}

  static Value ValueOf(const v1::Trace& trace, Field* field);
  // 0, and every part is one, where there is no split.
  uint64_t PartOf(const Row& row) const;

  const v1::GetSliceMetricsRequest request_;
  std::string intervention_id_;
  policy::PredicateSet predicates_;  // slices, then `within`
  std::vector<Field> fields_;
  std::vector<Row> rows_;
};

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_SLICE_METRICS_H_
