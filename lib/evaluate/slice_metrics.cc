#include "lib/evaluate/slice_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/evaluate/judged_runs.h"
#include "lib/stats/contingency.h"

namespace faultline::evaluate {
namespace {

using v1::GetSliceMetricsRequest;

constexpr int kDefaultValues = 20;
constexpr size_t kMaxValueBytes = 256;  // of a predicate's operand
constexpr size_t kMaxParts = 20;
constexpr double kQuartiles[] = {0.25, 0.5, 0.75};

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

// An error about a part of the request that is named `field`.
absl::Status InField(absl::string_view field, const absl::Status& status) {
  const auto detail = base::GetErrorDetail(status);
  if (!detail.has_value()) return status;
  v1::ErrorDetail placed = *detail;
  placed.set_field(
      absl::StrCat(field, detail->field().empty() ? "" : ".", detail->field()));
  return base::DetailedError(status.code(), placed);
}

absl::Status CheckRequest(const GetSliceMetricsRequest& request,
                          absl::string_view intervention_id) {
  if (request.slices_size() > kMaxSlices) {
    return Invalid(v1::ErrorDetail::REASON_TOO_MANY, "slices",
                   absl::StrCat("at most ", kMaxSlices),
                   absl::StrCat("has ", request.slices_size()));
  }
  if (request.group_by_size() > kMaxGroupedFields) {
    return Invalid(v1::ErrorDetail::REASON_TOO_MANY, "group_by",
                   absl::StrCat("at most ", kMaxGroupedFields),
                   absl::StrCat("has ", request.group_by_size()));
  }
  if (request.slices().empty() && request.group_by().empty()) {
    return Invalid(v1::ErrorDetail::REASON_REQUIRED, "slices",
                   "at least one predicate, or a field in group_by",
                   "is missing");
  }
  if (request.max_values() < 0 || request.max_values() > kMaxGroupedValues) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "max_values",
                   absl::StrCat("1 to ", kMaxGroupedValues),
                   absl::StrCat("is ", request.max_values()));
  }
  if (!GetSliceMetricsRequest::Split_IsValid(request.split())) {
    return Invalid(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "split",
                   "a known Split", "is none");
  }
  const bool by_arm = request.split() == GetSliceMetricsRequest::SPLIT_ARM;
  if (by_arm && intervention_id.empty()) {
    return Invalid(v1::ErrorDetail::REASON_REQUIRED, "intervention",
                   "an intervention, with SPLIT_ARM", "is missing");
  }
  if (!by_arm && !intervention_id.empty()) {
    return Invalid(v1::ErrorDetail::REASON_MALFORMED, "intervention",
                   "empty without SPLIT_ARM", "is set");
  }
  return absl::OkStatus();
}

bool Earlier(const google::protobuf::Timestamp& a,
             const google::protobuf::Timestamp& b) {
  return std::make_pair(a.seconds(), a.nanos()) <
         std::make_pair(b.seconds(), b.nanos());
}

struct Counts {
  uint64_t runs = 0;
  uint64_t failures = 0;

  void Add(bool failed) {
    ++runs;
    failures += failed ? 1 : 0;
  }
};

// Counts of a slice, whole and by part.
struct Tally {
  Counts whole;
  std::map<uint64_t, Counts> parts;

  void Add(uint64_t part, bool failed) {
    whole.Add(failed);
    parts[part].Add(failed);
  }
  Counts PartAt(uint64_t part) const {
    const auto found = parts.find(part);
    return found == parts.end() ? Counts() : found->second;
  }
};

v1::FailureRate RateOf(const Counts& counts) {
  const auto n = static_cast<double>(counts.runs);
  const auto failed = static_cast<double>(counts.failures);
  const stats::Interval interval = stats::WilsonInterval(failed, n);
  v1::FailureRate rate;
  rate.set_runs(counts.runs);
  rate.set_failures(counts.failures);
  rate.set_rate(counts.runs == 0 ? 0 : failed / n);
  rate.set_lower(interval.lower);
  rate.set_upper(interval.upper);
  return rate;
}

v1::RateDifference DifferenceOf(const Counts& first, const Counts& second) {
  const auto number = [](uint64_t count) { return static_cast<double>(count); };
  const stats::Difference found =
      stats::ProportionDifference(number(first.failures), number(first.runs),
                                  number(second.failures), number(second.runs));
  v1::RateDifference difference;
  difference.set_p_value(1);
  difference.set_adjusted_p_value(1);
  if (!found.defined) return difference;
  const stats::Table table = {number(first.failures), number(second.failures),
                              number(first.runs - first.failures),
                              number(second.runs - second.failures)};
  difference.set_defined(true);
  difference.set_value(found.value);
  difference.set_lower(found.lower);
  difference.set_upper(found.upper);
  difference.set_p_value(
      stats::MantelHaenszel(absl::MakeConstSpan(&table, 1)).p_value);
  difference.set_adjusted_p_value(difference.p_value());
  return difference;
}

v1::RateDifference TreatmentOf(const Tally& tally) {
  return DifferenceOf(tally.PartAt(v1::ARM_TREATMENT),
                      tally.PartAt(v1::ARM_HOLDOUT));
}

// Over those that are defined: a slice without runs asks nothing.
void AdjustTogether(const std::vector<v1::RateDifference*>& differences) {
  std::vector<v1::RateDifference*> defined;
  std::vector<double> p_values;
  for (v1::RateDifference* difference : differences) {
    if (!difference->defined()) continue;
    defined.push_back(difference);
    p_values.push_back(difference->p_value());
  }
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(p_values);
  for (size_t i = 0; i < defined.size(); ++i) {
    defined[i]->set_adjusted_p_value(adjusted[i]);
  }
}

template <typename Parts>
void AddParts(const Tally& tally, GetSliceMetricsRequest::Split split,
              Parts* parts) {
  if (split == GetSliceMetricsRequest::SPLIT_ARM) {
    for (const auto& [arm, counts] : tally.parts) {
      v1::SlicePart& part = *parts->Add();
      part.set_arm(static_cast<v1::Arm>(arm));
      *part.mutable_failures() = RateOf(counts);
    }
  } else if (split == GetSliceMetricsRequest::SPLIT_POLICY_VERSION) {
    for (auto it = tally.parts.rbegin();
         it != tally.parts.rend() &&
         static_cast<size_t>(parts->size()) < kMaxParts;
         ++it) {
      v1::SlicePart& part = *parts->Add();
      part.set_policy_version(it->first);
      *part.mutable_failures() = RateOf(it->second);
    }
  }
}

v1::Comparison& Compare(const std::string& field, v1::Comparison::Operator op,
                        v1::Predicate* predicate) {
  v1::Comparison& comparison = *predicate->mutable_comparison();
  comparison.set_field(field);
  comparison.set_op(op);
  return comparison;
}

}  // namespace

// The slices that one field of `group_by` gives.
class SliceCounter::Grouping {
 public:
  // `wanted`: rows that count.
  Grouping(const Field& field, size_t index, size_t max_values,
           const std::vector<const Row*>& wanted)
      : index_(index) {
    std::vector<uint64_t> runs_of(field.texts.size(), 0);
    std::vector<double> numbers;
    uint64_t too_long = 0;
    for (const Row* row : wanted) {
      const Value& value = row->values[index];
      if (value.text >= 0) {
        ++runs_of[static_cast<size_t>(value.text)];
      } else if (value.text == kNumber) {
        numbers.push_back(value.number);
      } else if (value.text == kTooLong) {
        ++too_long;
      } else {
        group_.set_runs_without(group_.runs_without() + 1);
      }
    }
    group_.set_field(field.path.path());
    group_.set_runs_left_out(too_long);
    group_.set_values(too_long > 0 ? 1 : 0);
    group_.set_values_left_out(group_.values());
    AddTexts(field, max_values, runs_of);
    if (!numbers.empty()) AddRanges(field, std::move(numbers));
  }

  // Slice of a row among those of the field; none where it has none.
  std::optional<size_t> Find(const Row& row) const {
    const Value& value = row.values[index_];
    if (value.text == kNumber) {
      return first_range_ +
             static_cast<size_t>(std::upper_bound(thresholds_.begin(),
                                                  thresholds_.end(),
                                                  value.number) -
                                 thresholds_.begin());
    }
    if (value.text < 0) return std::nullopt;
    const int32_t slice = slice_of_[static_cast<size_t>(value.text)];
    if (slice < 0) return std::nullopt;
    return static_cast<size_t>(slice);
  }

  const std::vector<v1::Predicate>& predicates() const { return predicates_; }
  const v1::GroupedField& group() const { return group_; }

 private:
  void AddTexts(const Field& field, size_t max_values,
                const std::vector<uint64_t>& runs_of) {
    std::vector<size_t> present;
    for (size_t t = 0; t < runs_of.size(); ++t) {
      if (runs_of[t] > 0) present.push_back(t);
    }
    std::sort(present.begin(), present.end(), [&](size_t a, size_t b) {
      return runs_of[a] != runs_of[b] ? runs_of[a] > runs_of[b]
                                      : field.texts[a] < field.texts[b];
    });
    slice_of_.assign(runs_of.size(), -1);
    group_.set_values(group_.values() + present.size());
    for (const size_t text : present) {
      if (predicates_.size() == max_values) {
        group_.set_values_left_out(group_.values_left_out() + 1);
        group_.set_runs_left_out(group_.runs_left_out() + runs_of[text]);
        continue;
      }
      slice_of_[text] = static_cast<int32_t>(predicates_.size());
      Compare(field.path.path(), v1::Comparison::OPERATOR_EQUAL,
              &predicates_.emplace_back())
          .set_text(field.texts[text]);
    }
  }

  void AddRanges(const Field& field, std::vector<double> numbers) {
    first_range_ = predicates_.size();
    std::sort(numbers.begin(), numbers.end());
    for (const double quartile : kQuartiles) {
      const double threshold = numbers[static_cast<size_t>(
          quartile * static_cast<double>(numbers.size() - 1))];
      // Nothing is below the least value.
      if (threshold == numbers.front()) continue;
      if (thresholds_.empty() || threshold > thresholds_.back()) {
        thresholds_.push_back(threshold);
      }
    }
    const std::string& path = field.path.path();
    for (size_t range = 0; range <= thresholds_.size(); ++range) {
      v1::Predicate& predicate = predicates_.emplace_back();
      v1::PredicateList& all = *predicate.mutable_all();
      if (range > 0) {
        Compare(path, v1::Comparison::OPERATOR_AT_LEAST, all.add_predicates())
            .set_number(thresholds_[range - 1]);
      }
      if (range < thresholds_.size()) {
        Compare(path, v1::Comparison::OPERATOR_BELOW, all.add_predicates())
            .set_number(thresholds_[range]);
      }
      // Every number is the same one.
      if (thresholds_.empty()) {
        Compare(path, v1::Comparison::OPERATOR_AT_LEAST, all.add_predicates())
            .set_number(numbers.front());
      }
    }
    group_.set_values(group_.values() + thresholds_.size() + 1);
  }

  const size_t index_;
  v1::GroupedField group_;
  std::vector<v1::Predicate> predicates_;  // by slice of the field
  std::vector<int32_t> slice_of_;          // by text; -1: none
  size_t first_range_ = 0;
  std::vector<double> thresholds_;  // ascending
};

absl::StatusOr<std::unique_ptr<SliceCounter>> SliceCounter::Create(
    const GetSliceMetricsRequest& request, absl::string_view intervention_id) {
  FAULTLINE_RETURN_IF_ERROR(CheckRequest(request, intervention_id));
  std::unique_ptr<SliceCounter> counter(new SliceCounter(request));
  counter->intervention_id_ = std::string(intervention_id);
  for (int s = 0; s < request.slices_size(); ++s) {
    const auto added = counter->predicates_.Add(request.slices(s));
    if (!added.ok()) {
      return InField(absl::StrCat("slices[", s, "]"), added.status());
    }
  }
  if (request.has_within()) {
    const auto added = counter->predicates_.Add(request.within());
    if (!added.ok()) return InField("within", added.status());
  }
  for (int f = 0; f < request.group_by_size(); ++f) {
    auto path = trace::TraceField::Parse(request.group_by(f));
    if (!path.ok()) {
      return InField(absl::StrCat("group_by[", f, "]"), path.status());
    }
    counter->fields_.emplace_back(*std::move(path));
  }
  return counter;
}

SliceCounter::Value SliceCounter::ValueOf(const v1::Trace& trace,
                                          Field* field) {
  const trace::FieldValue value = field->path.Get(trace);
  if (const auto* number = std::get_if<double>(&value)) {
    return {kNumber, *number};
  }
  const auto* text = std::get_if<absl::string_view>(&value);
  if (text == nullptr) return {};
  if (text->size() > kMaxValueBytes) return {kTooLong, 0};
  const auto [entry, added] = field->text_numbers.try_emplace(
      *text, static_cast<int32_t>(field->texts.size()));
  if (added) field->texts.emplace_back(*text);
  return {entry->second, 0};
}

void SliceCounter::Add(size_t row_number, const v1::Trace& trace) {
  if (rows_.size() <= row_number) rows_.resize(row_number + 1);
  Row& row = rows_[row_number];
  row = Row();
  policy::PredicateSet::Reader reader(predicates_, trace);
  row.wanted =
      (!request_.has_start_time() ||
       !Earlier(trace.start_time(), request_.start_time())) &&
      (!request_.has_end_time() ||
       Earlier(trace.start_time(), request_.end_time())) &&
      (!request_.has_within() || reader.Matches(request_.slices_size()));
  if (!row.wanted) return;
  for (int s = 0; s < request_.slices_size(); ++s) {
    if (reader.Matches(s)) row.slices |= uint64_t{1} << s;
  }
  for (size_t f = 0; f < fields_.size(); ++f) {
    row.values[f] = ValueOf(trace, &fields_[f]);
  }
  row.policy_version = trace.exposure().policy_version();
  for (const auto& carried : trace.exposure().interventions()) {
    if (carried.intervention_id() == intervention_id_) row.arm = carried.arm();
  }
}

uint64_t SliceCounter::PartOf(const Row& row) const {
  if (request_.split() == GetSliceMetricsRequest::SPLIT_ARM) return row.arm;
  if (request_.split() == GetSliceMetricsRequest::SPLIT_POLICY_VERSION) {
    return row.policy_version;
  }
  return 0;
}

v1::GetSliceMetricsResponse SliceCounter::Count(
    absl::Span<const v1::Outcome> outcomes) const {
  v1::GetSliceMetricsResponse response;
  std::vector<const Row*> wanted;
  std::vector<bool> failed;
  uint64_t pending = 0;
  for (size_t r = 0; r < rows_.size(); ++r) {
    if (!rows_[r].wanted) continue;
    if (outcomes[r] == v1::OUTCOME_UNSPECIFIED) {
      ++pending;
      continue;
    }
    wanted.push_back(&rows_[r]);
    failed.push_back(IsFailure(outcomes[r]));
  }
  response.mutable_stretch()->set_runs(wanted.size());
  response.mutable_stretch()->set_pending(pending);

  const auto slices = static_cast<size_t>(request_.slices_size());
  const size_t max_values = static_cast<size_t>(
      request_.max_values() == 0 ? kDefaultValues : request_.max_values());
  std::vector<Grouping> groupings;
  std::vector<size_t> first_slice;  // by grouping
  std::vector<v1::SliceMetrics> metrics(slices);
  for (size_t s = 0; s < slices; ++s) {
    *metrics[s].mutable_predicate() = request_.slices(static_cast<int>(s));
  }
  for (size_t f = 0; f < fields_.size(); ++f) {
    first_slice.push_back(metrics.size());
    const Grouping& grouping =
        groupings.emplace_back(fields_[f], f, max_values, wanted);
    for (const v1::Predicate& predicate : grouping.predicates()) {
      v1::SliceMetrics& added = metrics.emplace_back();
      *added.mutable_predicate() = predicate;
      added.set_field(grouping.group().field());
    }
    *response.add_fields() = grouping.group();
  }

  Tally all;
  std::vector<Tally> tallies(metrics.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const uint64_t part = PartOf(*wanted[i]);
    all.Add(part, failed[i]);
    for (size_t s = 0; s < slices; ++s) {
      if ((wanted[i]->slices >> s & 1) != 0) tallies[s].Add(part, failed[i]);
    }
    for (size_t f = 0; f < groupings.size(); ++f) {
      const std::optional<size_t> slice = groupings[f].Find(*wanted[i]);
      if (slice.has_value()) {
        tallies[first_slice[f] + *slice].Add(part, failed[i]);
      }
    }
  }

  const bool by_arm = request_.split() == GetSliceMetricsRequest::SPLIT_ARM;
  *response.mutable_aggregate() = RateOf(all.whole);
  AddParts(all, request_.split(), response.mutable_aggregate_parts());
  if (by_arm) *response.mutable_aggregate_treatment() = TreatmentOf(all);
  std::vector<v1::RateDifference*> differences, treatments;
  for (size_t s = 0; s < metrics.size(); ++s) {
    const Counts& in = tallies[s].whole;
    const Counts out = {all.whole.runs - in.runs,
                        all.whole.failures - in.failures};
    v1::SliceMetrics& slice = *response.add_slices();
    slice = std::move(metrics[s]);
    slice.set_text(policy::PredicateText(slice.predicate()));
    *slice.mutable_failures() = RateOf(in);
    *slice.mutable_difference() = DifferenceOf(in, out);
    differences.push_back(slice.mutable_difference());
    AddParts(tallies[s], request_.split(), slice.mutable_parts());
    if (by_arm) {
      *slice.mutable_treatment() = TreatmentOf(tallies[s]);
      treatments.push_back(slice.mutable_treatment());
    }
  }
  AdjustTogether(differences);
  AdjustTogether(treatments);
  return response;
}

}  // namespace faultline::evaluate
