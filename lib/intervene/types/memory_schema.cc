#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/behavior_contrast.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {

using diagnose::ArmContrast;
using diagnose::ContextTable;
using diagnose::RunSet;
using v1::MemorySchema;

// How a step of memory tells that it returned records without a field: an
// attribute, with their number or a flag.
constexpr char kMissingToken[] = "retrieval a:memory.missing.";
// How a run tells that memory contradicted itself: as the reason of a record
// that was left out, or as a number about the state before the run.
constexpr char kSkipToken[] = "retrieval skip:";
constexpr char kStatField[] = "memory.stats.";
constexpr char kConflict[] = "conflict";

// What a change of memory changes cannot delimit it.
constexpr char kMemoryFields[] = "memory.";

// Least runs from which a rate or a quantile is taken.
constexpr size_t kMinRuns = 20;
// Share of the members that must have read what is to be kept from them.
constexpr double kMinMembers = 0.5;
// Share of the members that have it less that of the successes.
constexpr double kMinSeparation = 0.2;
// A bound on every class must separate so much better than one on a class.
constexpr double kClassPreference = 0.02;
constexpr size_t kMaxClasses = 32;
constexpr size_t kMaxFields = 16;
constexpr int kQuantiles = 20;
constexpr int64_t kMaxAgeSeconds = 315'576'000'000;  // of Duration

// Up to whole days, hours or minutes, where there are two of them.
absl::Duration RoundUp(absl::Duration age) {
  for (const absl::Duration unit :
       {absl::Hours(24), absl::Hours(1), absl::Minutes(1)}) {
    if (age >= 2 * unit) return absl::Ceil(age, unit);
  }
  return std::max(absl::Seconds(1), absl::Ceil(age, absl::Seconds(1)));
}

std::string AgeText(absl::Duration age) {
  if (age % absl::Hours(24) == absl::ZeroDuration()) {
    return absl::StrCat(age / absl::Hours(24), " days");
  }
  return absl::FormatDuration(age);
}

// Something that some runs did, of those that tell whether they did.
struct Trait {
  RunSet told;
  RunSet has;
};

// One call of Propose.
class Search {
 public:
  Search(const ProposalContext& context, const ContextTable& table)
      : context_(context),
        table_(table),
        window_{context.runs, context.discovery, context.names},
        natural_(~table.treated()),
        successes_(table.discovery() & ~table.failed() & natural_),
        members_(SampledMembers(context)) {}

  std::vector<Proposal> Run() {
    if (members_.Count() == 0) return {};
    LimitAge();
    RequireField();
    GuardWrites();
    std::stable_sort(proposals_.begin(), proposals_.end(),
                     [](const Proposal& a, const Proposal& b) {
                       return a.expected_reduction > b.expected_reduction;
                     });
    return std::move(proposals_);
  }

 private:
  // Share of the members that have the trait less that of the successes, of
  // those that tell.
  double Separation(const Trait& trait) const {
    const auto share = [&trait](const RunSet& runs) {
      const auto told = static_cast<double>(trait.told.CountBoth(runs));
      return told == 0 ? 0 : trait.has.CountBoth(runs) / told;
    };
    return share(members_) - share(successes_);
  }

  // The trait of having more than `limit`.
  struct Cut {
    double limit = 0;
    Trait trait;
    double separation = 0;
  };

  // What tells members from successes best, of the values of runs; none where
  // nothing separates them by more than `least`. `round` makes a limit of a
  // quantile.
  template <typename Round>
  std::optional<Cut> BestCut(
      const std::vector<std::pair<size_t, double>>& values, double least,
      const Round& round) const {
    std::vector<double> sorted;  // of the discovery side
    for (const auto& [run, value] : values) {
      if (table_.discovery().Has(run)) sorted.push_back(value);
    }
    if (sorted.size() < 2 * kMinRuns) return std::nullopt;
    std::sort(sorted.begin(), sorted.end());
    std::set<double> limits;
    for (int quantile = 1; quantile < kQuantiles; ++quantile) {
      limits.insert(round(sorted[quantile * sorted.size() / kQuantiles]));
    }
    std::optional<Cut> best;
    for (const double limit : limits) {
      Cut cut{limit, {RunSet(table_.size()), RunSet(table_.size())}};
      for (const auto& [run, value] : values) {
        cut.trait.told.Add(run);
        if (value > limit) cut.trait.has.Add(run);
      }
      cut.separation = Separation(cut.trait);
      if (cut.separation > (best ? best->separation : least)) {
        best = std::move(cut);
      }
    }
    return best;
  }

  // Members read older records than successes do.
  void LimitAge() {
    std::optional<Cut> best;
    std::string best_class;
    for (const std::string& record_class : Classes()) {
      double least = best ? best->separation : kMinSeparation;
      if (record_class.empty()) least += kClassPreference;
      auto cut = BestCut(Oldest(record_class), least, [](double age) {
        return absl::ToDoubleSeconds(RoundUp(absl::Seconds(age)));
      });
      if (!cut) continue;
      best = std::move(cut);
      best_class = record_class;
    }
    if (!best) return;
    MemorySchema schema;
    schema.set_record_class(best_class);
    schema.mutable_max_age()->set_seconds(static_cast<int64_t>(best->limit));
    Avoid(best->trait, schema,
          absl::StrCat("do not return records", OfClass(best_class),
                       " older than ", AgeText(absl::Seconds(best->limit))),
          "that read older ones");
  }

  static std::string OfClass(const std::string& record_class) {
    return record_class.empty() ? "" : absl::StrCat(" of class ", record_class);
  }

  // Classes that discovery runs read, most read first; last the empty one,
  // which stands for every class.
  std::vector<std::string> Classes() const {
    std::map<uint64_t, size_t> counts;
    table_.discovery().ForEach([&](size_t run) {
      for (const embedding::ClassReads& reads : context_.runs[run]->reads) {
        ++counts[reads.record_class];
      }
    });
    std::vector<std::pair<size_t, std::string>> ranked;
    for (const auto& [key, count] : counts) {
      const auto name = context_.names->context.find(key);
      if (name == context_.names->context.end() || name->second.value.empty()) {
        continue;
      }
      ranked.emplace_back(count, name->second.value);
    }
    std::sort(ranked.rbegin(), ranked.rend());
    if (ranked.size() > kMaxClasses) ranked.resize(kMaxClasses);
    std::vector<std::string> classes;
    for (auto& [count, name] : ranked) classes.push_back(std::move(name));
    classes.emplace_back();
    return classes;
  }

  // Age of the oldest record of the class that each run read, in seconds, where
  // it is told.
  std::vector<std::pair<size_t, double>> Oldest(
      const std::string& record_class) const {
    const uint64_t key = embedding::MemoryClassKey(record_class);
    std::vector<std::pair<size_t, double>> ages;
    for (size_t run = 0; run < context_.runs.size(); ++run) {
      double oldest = -1;
      for (const embedding::ClassReads& reads : context_.runs[run]->reads) {
        if (!record_class.empty() && reads.record_class != key) continue;
        oldest = std::max<double>(oldest, reads.oldest);
      }
      if (oldest >= 0) ages.emplace_back(run, oldest);
    }
    return ages;
  }

  // Members get records without some field.
  void RequireField() {
    std::set<std::string> fields;
    for (const auto& [key, text] : context_.names->tokens) {
      absl::string_view field = text;
      if (!absl::ConsumePrefix(&field, kMissingToken)) continue;
      fields.emplace(field.substr(0, field.rfind('=')));
    }
    double best = kMinSeparation;
    const std::string* best_field = nullptr;
    std::optional<Trait> without;
    size_t tried = 0;
    for (const std::string& field : fields) {
      if (++tried > kMaxFields) break;
      const std::string prefix = absl::StrCat(kMissingToken, field, "=");
      Trait trait{diagnose::RunsWithToken(window_,
                                          [&](absl::string_view text) {
                                            return absl::StartsWith(text,
                                                                    prefix);
                                          }),
                  diagnose::RunsWithToken(window_, [&](absl::string_view text) {
                    return absl::ConsumePrefix(&text, prefix) && text != "0" &&
                           text != "false";
                  })};
      const double separation = Separation(trait);
      if (separation <= best) continue;
      best = separation;
      best_field = &field;
      without = std::move(trait);
    }
    if (!without) return;
    MemorySchema schema;
    schema.set_required_field(*best_field);
    Avoid(*without, schema,
          absl::StrCat("return only records with a ", *best_field),
          "that read others");
  }

  // Members find memory in contradiction with itself.
  void GuardWrites() {
    Trait conflicting{
        RunsWithMemory(),
        diagnose::RunsWithToken(window_, [](absl::string_view text) {
          return absl::StartsWith(text, kSkipToken) &&
                 absl::StrContains(text, kConflict);
        })};
    double best = Separation(conflicting);
    std::set<std::string> fields;
    for (const auto& [key, field] : context_.names->numbers) {
      if (absl::StartsWith(field, kStatField) &&
          absl::StrContains(field, kConflict)) {
        fields.insert(field);
      }
    }
    for (const std::string& field : fields) {
      auto cut = BestCut(NumbersOf(field), best, [](double x) { return x; });
      if (!cut) continue;
      best = cut->separation;
      conflicting = std::move(cut->trait);
    }
    if (best <= kMinSeparation) return;
    MemorySchema schema;
    schema.set_refuse_conflicting_writes(true);
    Avoid(conflicting, schema,
          "refuse writes that conflict with a newer record",
          "with conflicting records");
  }

  // Value of a context field of each run that tells it.
  std::vector<std::pair<size_t, double>> NumbersOf(
      const std::string& field) const {
    const uint64_t key = embedding::NumberKey(field);
    std::vector<std::pair<size_t, double>> values;
    for (size_t i = 0; i < context_.runs.size(); ++i) {
      for (const auto& [field_key, value] : context_.runs[i]->context_numbers) {
        if (field_key == key) values.emplace_back(i, value);
      }
    }
    return values;
  }

  // Runs that read memory, or that some record was kept from.
  RunSet RunsWithMemory() const {
    RunSet runs = diagnose::RunsWithToken(window_, [](absl::string_view text) {
      return absl::StartsWith(text, "retrieval skipped:");
    });
    for (size_t i = 0; i < context_.runs.size(); ++i) {
      if (!context_.runs[i]->reads.empty()) runs.Add(i);
    }
    return runs;
  }

  // Proposes `schema` where it is worth most to the cluster that runs do
  // without the trait, if held-out runs confirm it.
  void Avoid(const Trait& trait, const MemorySchema& schema,
             const std::string& what, const std::string& who) {
    if (trait.has.CountBoth(members_) <
        kMinMembers * static_cast<double>(members_.Count())) {
      return;
    }
    const RunSet without = trait.told & ~trait.has;
    const auto discovery = static_cast<double>(table_.discovery().Count());
    diagnose::RegretCounter regrets(table_, {&without}, members_);
    const auto worth = [&](const RunSet& runs, const RunSet& term) {
      regrets.Count(runs, term & trait.told);
      const diagnose::Regret regret = regrets.Of(0);
      return regret.runs >= kMinRuns ? ScopeWorth(discovery, regret) : 0;
    };
    const diagnose::Scope scope =
        diagnose::SearchScope(table_, worth, kScopeGain, kMemoryFields);
    if (worth(scope.runs, scope.runs) <= 0) return;
    const RunSet runs =
        RunsWithChoice(table_, scope.runs, regrets.Of(0)) & natural_;
    const auto arms = diagnose::CompareArms(
        table_, runs & without, runs & trait.has, diagnose::Prognostic::kNone);
    if (!arms || !arms->Holds()) return;

    Proposal& proposal = proposals_.emplace_back();
    *proposal.action.mutable_memory_schema() = schema;
    proposal.scope = scope.predicate;
    proposal.expected_reduction =
        diagnose::HeldOutShare(table_, runs & trait.has) *
        std::max(0.0, arms->difference);
    proposal.summary = absl::StrFormat(
        "In runs where %s, %s: held-out runs %s failed in %.0f %% of %d, the "
        "others in %.0f %% of %d.",
        policy::PredicateText(scope.predicate), what, who,
        100 * arms->other_rate, arms->other_runs, 100 * arms->better_rate,
        arms->better_runs);
  }

  const ProposalContext& context_;
  const ContextTable& table_;
  const diagnose::Window window_;
  const RunSet natural_;    // that no intervention treated
  const RunSet successes_;  // of the discovery side, natural
  const RunSet members_;
  std::vector<Proposal> proposals_;
};

// Bounds what memory returns and takes.
class MemorySchemaType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_MEMORY_SCHEMA;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_MEMORY_MISALIGNMENT;
  }

  std::vector<Proposal> Propose(const ProposalContext& context,
                                const ContextTable& table) const override {
    return Search(context, table).Run();
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kMemorySchema, "action.memory_schema"));
    const MemorySchema& schema = action.memory_schema();
    if (!schema.has_max_age() && schema.required_field().empty() &&
        !schema.refuse_conflicting_writes()) {
      return Invalid(v1::ErrorDetail::REASON_REQUIRED, "action.memory_schema",
                     "max_age, required_field or refuse_conflicting_writes",
                     "bounds nothing");
    }
    FAULTLINE_RETURN_IF_ERROR(CheckOptionalName(
        "action.memory_schema.record_class", schema.record_class()));
    FAULTLINE_RETURN_IF_ERROR(CheckOptionalName(
        "action.memory_schema.required_field", schema.required_field()));
    return schema.has_max_age() ? ValidateAge(schema.max_age())
                                : absl::OkStatus();
  }

 private:
  static absl::Status ValidateAge(const google::protobuf::Duration& age) {
    constexpr char kField[] = "action.memory_schema.max_age";
    constexpr int32_t kNanosInSecond = 1'000'000'000;
    const bool positive = age.seconds() > 0 || age.nanos() > 0;
    if (positive && age.seconds() >= 0 && age.seconds() <= kMaxAgeSeconds &&
        age.nanos() >= 0 && age.nanos() < kNanosInSecond) {
      return absl::OkStatus();
    }
    return Invalid(
        v1::ErrorDetail::REASON_OUT_OF_RANGE, kField,
        "above zero, at most 10000 years, nanoseconds below a second",
        absl::StrCat("is ", age.seconds(), " s and ", age.nanos(), " ns"));
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeMemorySchema() {
  return std::make_unique<MemorySchemaType>();
}

}  // namespace faultline::intervene
