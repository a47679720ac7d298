#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/condition.h"
#include "client/cli/text.h"
#include "faultline/v1/evaluation_service.grpc.pb.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::cli {
namespace {

// These read a long stretch of the log, one call after the other.
constexpr absl::Duration kScanTimeout = absl::Minutes(5);

struct Times {
  std::string after;
  std::string before;
};

void AddTimes(CLI::App* command, Times* times) {
  command->add_option("--after", times->after, "Runs that began then or later")
      ->check(TimeProblem)
      ->type_name("TIME");
  command->add_option("--before", times->before, "Runs that began earlier")
      ->check(TimeProblem)
      ->type_name("TIME");
}

template <typename Request>
void SetTimes(const Times& times, Request* request) {
  if (!times.after.empty()) {
    SetTime(times.after, request->mutable_start_time());
  }
  if (!times.before.empty()) {
    SetTime(times.before, request->mutable_end_time());
  }
}

std::string RateText(const v1::FailureRate& rate) {
  if (rate.runs() == 0) return "-";
  return absl::StrCat(Percent(rate.rate()), " (", Percent(rate.lower()), " to ",
                      Percent(rate.upper()), ")");
}

std::string DifferenceText(const v1::RateDifference& difference) {
  if (!difference.defined()) return "-";
  return absl::StrCat(Percent(difference.value()), " (",
                      Percent(difference.lower()), " to ",
                      Percent(difference.upper()), ")");
}

// Good or bad only where it is no chance among all that were asked.
Tone DifferenceTone(const v1::RateDifference& difference) {
  if (!difference.defined()) return Tone::kDim;
  if (difference.adjusted_p_value() > 0.05) return Tone::kPlain;
  return difference.value() > 0 ? Tone::kBad : Tone::kGood;
}

std::string StretchText(const v1::RunStretch& stretch) {
  return absl::StrCat(stretch.runs(), " runs with known outcome, ",
                      stretch.pending(), " without, in records ",
                      stretch.first_sequence(), " to ", stretch.last_sequence(),
                      " (tick ", stretch.tick(), ")");
}

struct SlicesOptions {
  std::vector<std::string> slices;
  std::vector<std::string> group_by;
  std::string within;
  int values = 20;
  std::string split;
  std::string intervention;
  Times times;
};

std::string PartName(const v1::SlicePart& part, bool by_arm) {
  if (!by_arm) return absl::StrCat("version ", part.policy_version());
  return part.arm() == v1::ARM_UNSPECIFIED ? "not carried"
                                           : EnumWord(part.arm());
}

absl::Status ShowSlices(Session* session, const SlicesOptions& options) {
  v1::GetSliceMetricsRequest request;
  request.set_parent(session->Parent());
  for (const std::string& slice : options.slices) {
    FAULTLINE_ASSIGN_OR_RETURN(*request.add_slices(), ParseCondition(slice));
  }
  for (const std::string& field : options.group_by) {
    request.add_group_by(field);
  }
  request.set_max_values(options.values);
  if (!options.within.empty()) {
    FAULTLINE_ASSIGN_OR_RETURN(*request.mutable_within(),
                               ParseCondition(options.within));
  }
  SetTimes(options.times, &request);
  request.set_split(
      ParseEnumWord<v1::GetSliceMetricsRequest::Split>(options.split));
  if (!options.intervention.empty()) {
    request.set_split(v1::GetSliceMetricsRequest::SPLIT_ARM);
    request.set_intervention(
        session->Name("interventions", options.intervention));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::EvaluationService::Stub::GetSliceMetrics, request,
                    kScanTimeout));
  if (session->options().json) return session->PrintJson(response);
  const bool by_arm = request.split() == v1::GetSliceMetricsRequest::SPLIT_ARM;
  session->out() << StretchText(response.stretch()) << "\n\n";
  Table table({{"SLICE", Column::Fit::kCut},
               {"RUNS", Column::Fit::kNumber},
               {"FAILURE RATE"},
               {by_arm ? "TREATED - HELD OUT" : "AGAINST THE REST"},
               {"P, ADJUSTED", Column::Fit::kNumber}});
  const auto add = [&](const std::string& name, const v1::FailureRate& rate,
                       const v1::RateDifference& difference) {
    table.AddRow(
        {OneLine(name),
         absl::StrCat(rate.runs()),
         RateText(rate),
         {DifferenceText(difference), DifferenceTone(difference)},
         difference.defined() ? PValue(difference.adjusted_p_value()) : "-"});
  };
  const auto add_parts = [&](const auto& parts) {
    for (const v1::SlicePart& part : parts) {
      add(absl::StrCat("- ", PartName(part, by_arm)), part.failures(), {});
    }
  };
  add("all", response.aggregate(), response.aggregate_treatment());
  add_parts(response.aggregate_parts());
  for (const v1::SliceMetrics& slice : response.slices()) {
    add(slice.text(), slice.failures(),
        by_arm ? slice.treatment() : slice.difference());
    add_parts(slice.parts());
  }
  session->PrintTable(table, "No runs.");
  for (const v1::GroupedField& field : response.fields()) {
    if (field.values_left_out() == 0) continue;
    session->err() << field.field() << ": " << field.values_left_out() << " of "
                   << field.values() << " values, with "
                   << field.runs_left_out()
                   << " runs, are not shown: raise --values.\n";
  }
  return absl::OkStatus();
}

struct OfflineOptions {
  std::string weights;
  std::string intervention;
  uint64_t policy_version = 0;
  std::string scope;
  Times times;
};

// `a=0.5,b=0.5`.
absl::StatusOr<v1::CandidateWeights> ParseWeights(const std::string& text) {
  v1::CandidateWeights weights;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    double weight = 0;
    if (pair.first.empty() || !absl::SimpleAtod(pair.second, &weight)) {
      return absl::InvalidArgumentError(
          absl::StrCat("`", part, "` is no weight; one is CANDIDATE=NUMBER"));
    }
    v1::CandidateWeights::Weight& added = *weights.add_weights();
    added.set_name(std::string(pair.first));
    added.set_weight(weight);
  }
  return weights;
}

Tone VerdictTone(v1::EvaluatePolicyOfflineResponse::Verdict verdict) {
  return verdict == v1::EvaluatePolicyOfflineResponse::VERDICT_SUPPORTED
             ? Tone::kGood
             : Tone::kWarning;
}

absl::Status EvaluateOffline(Session* session, const OfflineOptions& options) {
  v1::EvaluatePolicyOfflineRequest request;
  request.set_parent(session->Parent());
  const int policies = static_cast<int>(!options.weights.empty()) +
                       static_cast<int>(!options.intervention.empty()) +
                       static_cast<int>(options.policy_version != 0);
  if (policies != 1) {
    return absl::InvalidArgumentError(
        "name one policy: --weights, --intervention or --policy-version");
  }
  if (!options.weights.empty()) {
    FAULTLINE_ASSIGN_OR_RETURN(*request.mutable_weights(),
                               ParseWeights(options.weights));
  } else if (!options.intervention.empty()) {
    request.set_intervention(
        session->Name("interventions", options.intervention));
  } else {
    request.set_policy_version(options.policy_version);
  }
  if (!options.scope.empty()) {
    FAULTLINE_ASSIGN_OR_RETURN(*request.mutable_scope(),
                               ParseCondition(options.scope));
  }
  SetTimes(options.times, &request);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::EvaluationService::Stub::EvaluatePolicyOffline,
                    request, kScanTimeout));
  if (session->options().json) return session->PrintJson(response);
  const v1::OfflineOverlap& overlap = response.overlap();
  session->out() << OneLine(response.policy_text(), 1024) << "\non runs with "
                 << OneLine(policy::PredicateText(response.scope()), 1024)
                 << "\n"
                 << StretchText(response.stretch()) << "\n\n";
  Table verdict({{"VERDICT"}, {"WHY", Column::Fit::kCut}});
  verdict.AddRow(
      {{EnumWord(response.verdict()), VerdictTone(response.verdict())},
       OneLine(response.reason(), 400)});
  session->PrintTable(verdict, "");
  session->out() << "\n"
                 << overlap.runs() << " runs in scope: " << overlap.choices()
                 << " choices used, as many as "
                 << Number(overlap.effective_size())
                 << " by the policy itself; left out "
                 << overlap.without_choice() << " without a choice, "
                 << overlap.without_propensity() << " without propensity, "
                 << overlap.without_candidate()
                 << " without a candidate of the policy\n\n";
  Table estimates({{"FAILURE RATE"}, {"ESTIMATE"}});
  const auto add = [&estimates](const char* name,
                                const v1::OfflineEstimate& estimate) {
    estimates.AddRow({name, WithInterval(estimate.value(), estimate.lower(),
                                         estimate.upper())});
  };
  if (response.has_logged()) {
    add("as logged", response.logged());
    add("inverse propensity", response.ips());
    add("self-normalised", response.snips());
    add("doubly robust", response.dr());
    add("change", response.change());
    add("change, at every look", response.change_at_every_look());
  }
  session->PrintTable(estimates, "No estimates.");
  Table candidates({{"CANDIDATE"},
                    {"CHOSEN", Column::Fit::kNumber},
                    {"FAILED", Column::Fit::kNumber},
                    {"PROPENSITY", Column::Fit::kNumber},
                    {"BY THE POLICY", Column::Fit::kNumber}});
  for (const v1::CandidateOverlap& candidate : overlap.candidates()) {
    candidates.AddRow({OneLine(candidate.name()),
                       absl::StrCat(candidate.chosen()),
                       absl::StrCat(candidate.failures()),
                       Number(candidate.mean_propensity()),
                       Percent(candidate.policy_probability())});
  }
  session->out() << "\n";
  session->PrintTable(candidates, "No candidates.");
  return absl::OkStatus();
}

struct BenchmarkOptions {
  std::string out;
  std::vector<std::string> clusters;
  std::vector<std::string> statuses;
  int per_mode = 50;
  int boundary = 0;
  int successes = 0;
  int max_items = 1000;
  uint64_t seed = 0;
};

void PrintSummary(Session* session, const v1::BenchmarkSummary& summary) {
  Table table({{"CLUSTER"},
               {"FAILURE MODE"},
               {"MEMBERS", Column::Fit::kNumber},
               {"HELD OUT", Column::Fit::kNumber},
               {"EDGE", Column::Fit::kNumber},
               {"SUCCESSES", Column::Fit::kNumber},
               {"TITLE", Column::Fit::kCut}});
  const auto part = [](uint64_t exported, uint64_t all) {
    return absl::StrCat(exported, " of ", all);
  };
  for (const v1::BenchmarkStratum& stratum : summary.strata()) {
    table.AddRow(
        {ShortName(stratum.cluster()), EnumWord(stratum.failure_mode()),
         part(stratum.members_exported(), stratum.members()),
         part(stratum.held_out_exported(), stratum.held_out()),
         absl::StrCat(stratum.boundary_exported()),
         absl::StrCat(stratum.successes_exported()), OneLine(stratum.title())});
  }
  session->PrintTable(table, "No failure modes.");
  session->out() << "\nLeft out: " << summary.over_per_mode()
                 << " failures over --per-mode, " << summary.over_max_items()
                 << " over --max-items, " << summary.deleted()
                 << " deleted. Of " << summary.held_out_failures()
                 << " held-out failures " << summary.held_out_compared()
                 << " were compared, " << summary.held_out_novel()
                 << " are like no mode.\n";
  if (summary.short_of_successes() > 0) {
    session->out() << summary.short_of_successes()
                   << " failures have fewer matching successes than asked "
                      "for.\n";
  }
}

// The file appears when it is whole.
absl::Status ExportBenchmark(Session* session,
                             const BenchmarkOptions& options) {
  v1::ExportBenchmarkRequest request;
  request.set_parent(session->Parent());
  for (const std::string& id : options.clusters) {
    request.add_clusters(session->Name("clusters", id));
  }
  for (const std::string& word : options.statuses) {
    request.add_statuses(ParseEnumWord<v1::Cluster::Status>(word));
  }
  request.set_per_mode(options.per_mode);
  request.set_boundary_per_mode(options.boundary);
  request.set_successes_per_failure(options.successes);
  request.set_max_items(options.max_items);
  request.set_seed(options.seed);

  const std::string partial = options.out + ".partial";
  std::ofstream file(partial);
  v1::EvaluationService::Stub stub(session->channel());
  grpc::ClientContext context;
  session->SetDeadline(&context, kScanTimeout);
  const auto stream = stub.ExportBenchmark(&context, request);
  v1::ExportBenchmarkResponse response;
  v1::BenchmarkSummary summary;
  uint64_t items = 0;
  while (stream->Read(&response)) {
    if (response.has_summary()) summary = response.summary();
    if (!response.has_item()) continue;
    ++items;
    FAULTLINE_RETURN_IF_ERROR(session->PrintJson(response.item(), &file));
  }
  const absl::Status status = session->ToStatus(stream->Finish(), context);
  file.close();
  if (!status.ok() || !file) {
    std::remove(partial.c_str());
    FAULTLINE_RETURN_IF_ERROR(status);
    return absl::InternalError(absl::StrCat("cannot write ", partial));
  }
  if (std::rename(partial.c_str(), options.out.c_str()) != 0) {
    return absl::InternalError(absl::StrCat("cannot write ", options.out));
  }
  if (session->options().json) return session->PrintJson(summary);
  PrintSummary(session, summary);
  session->out() << "Wrote " << items << " runs, one a line, to " << options.out
                 << ".\n";
  return absl::OkStatus();
}

Tone StateTone(v1::ChainLink::State state) {
  if (state == v1::ChainLink::STATE_OK) return Tone::kGood;
  return state == v1::ChainLink::STATE_BROKEN ? Tone::kBad : Tone::kWarning;
}

struct ChainOptions {
  std::string cluster;
  int limit = 50;
};

void PrintChain(Session* session, const v1::ChainReport& report) {
  session->out() << ShortName(report.cluster()) << "  "
                 << OneLine(report.title()) << "\n"
                 << EnumWord(report.status()) << ", "
                 << EnumWord(report.failure_mode()) << ", "
                 << Percent(report.failure_share()) << " of the failures\n"
                 << OneLine(report.summary(), 1024) << "\n\n";
  Table table(
      {{"INTERVENTION"}, {"LINK"}, {"HOLDS"}, {"WHY", Column::Fit::kCut}});
  const auto add = [&table](const std::string& name, const auto& links) {
    for (const v1::ChainLink& link : links) {
      table.AddRow({name,
                    EnumWord(link.kind()),
                    {EnumWord(link.state()), StateTone(link.state())},
                    OneLine(link.reason(), 400)});
    }
  };
  add("", report.links());
  for (const v1::InterventionChain& chain : report.chains()) {
    add(ShortName(chain.intervention()), chain.links());
  }
  session->PrintTable(table, "");
}

absl::Status ShowChains(Session* session, const ChainOptions& options) {
  v1::GetChainReportRequest request;
  request.set_parent(session->Parent());
  if (!options.cluster.empty()) {
    request.set_cluster(session->Name("clusters", options.cluster));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      auto response, session->List(&v1::EvaluationService::Stub::GetChainReport,
                                   request, options.limit, [](auto* page) {
                                     return page->mutable_reports();
                                   }));
  if (session->options().json) return session->PrintJson(response);
  if (!options.cluster.empty() && response.reports_size() == 1) {
    PrintChain(session, response.reports(0));
    return absl::OkStatus();
  }
  Table table({{"CLUSTER"},
               {"STATUS"},
               {"FAILURE MODE"},
               {"SHARE", Column::Fit::kNumber},
               {"CLOSED"},
               {"WHERE IT STANDS", Column::Fit::kCut}});
  for (const v1::ChainReport& report : response.reports()) {
    table.AddRow({ShortName(report.cluster()),
                  {EnumWord(report.status()), ToneOf(report.status())},
                  EnumWord(report.failure_mode()),
                  Percent(report.failure_share()),
                  {report.closed() ? "yes" : "no",
                   report.closed() ? Tone::kGood : Tone::kPlain},
                  OneLine(report.summary())});
  }
  session->PrintTable(table, "No clusters yet.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

void AddSlices(CLI::App* app, Session* session) {
  auto options = std::make_shared<SlicesOptions>();
  CLI::App* command =
      AddCommand(app, session, "slices",
                 "Failure rates by slice, each held against the other runs",
                 [session, options] { return ShowSlices(session, *options); });
  command
      ->add_option("--slice", options->slices,
                   "Runs of one slice, such as 'task.type=qa && steps>=9'")
      ->check(ConditionProblem)
      ->type_name("CONDITION");
  command
      ->add_option("--by", options->group_by,
                   "Each value of a field is a slice")
      ->type_name("FIELD")
      ->delimiter(',');
  command->add_option("--within", options->within, "Look at these runs only")
      ->check(ConditionProblem)
      ->type_name("CONDITION");
  command
      ->add_option("--values", options->values,
                   "Most values of a field, most frequent first")
      ->check(CLI::Range(1, 200))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--split", options->split, "Split each slice")
      ->check(CLI::IsMember({"policy_version"}))
      ->type_name("HOW");
  command
      ->add_option("--arms", options->intervention,
                   "Split each slice by the arms of an intervention")
      ->type_name("INTERVENTION");
  AddTimes(command, &options->times);
}

void AddOffline(CLI::App* app, Session* session) {
  auto options = std::make_shared<OfflineOptions>();
  CLI::App* command = AddCommand(
      app, session, "offline",
      "What a routing policy would have made of the runs that were",
      [session, options] { return EvaluateOffline(session, *options); });
  command
      ->add_option("--weights", options->weights,
                   "Candidates with their probabilities, such as a=0.7,b=0.3")
      ->type_name("WEIGHTS");
  command
      ->add_option("--intervention", options->intervention,
                   "The action of an intervention on every run in its scope")
      ->type_name("INTERVENTION");
  command
      ->add_option("--policy-version", options->policy_version,
                   "The routing rules of a stored version")
      ->type_name("N");
  command->add_option("--scope", options->scope, "On these runs only")
      ->check(ConditionProblem)
      ->type_name("CONDITION");
  AddTimes(command, &options->times);
}

void AddBenchmark(CLI::App* app, Session* session) {
  auto options = std::make_shared<BenchmarkOptions>();
  CLI::App* command = AddCommand(
      app, session, "benchmark",
      "Write failures by mode, one run a line, as a benchmark",
      [session, options] { return ExportBenchmark(session, *options); });
  command->add_option("--out", options->out, "JSON Lines; replaced when whole")
      ->required()
      ->type_name("FILE");
  command->add_option("--cluster", options->clusters, "Only these")
      ->type_name("CLUSTER")
      ->delimiter(',');
  command
      ->add_option("--status", options->statuses,
                   "Only these; default: hypothesis, candidate and stable")
      ->check(CLI::IsMember(EnumWords<v1::Cluster::Status>()))
      ->type_name("STATUS")
      ->delimiter(',');
  command
      ->add_option("--per-mode", options->per_mode,
                   "Most failures of a mode, of each split")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--boundary", options->boundary,
                   "Most failures at the edge of a mode")
      ->check(CLI::Range(0, 10))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--successes", options->successes,
                   "Matching successes for each failure")
      ->check(CLI::Range(0, 10))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--max-items", options->max_items, "Most runs in all")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--seed", options->seed,
                   "Equal seeds over one tick give equal benchmarks")
      ->type_name("N")
      ->capture_default_str();
}

}  // namespace

void AddEvaluationCommands(CLI::App* app, Session* session) {
  AddSlices(app, session);
  AddOffline(app, session);
  AddBenchmark(app, session);

  auto options = std::make_shared<ChainOptions>();
  CLI::App* chain =
      AddCommand(app, session, "chain",
                 "From each failure mode to its reduction, link by link",
                 [session, options] { return ShowChains(session, *options); });
  chain->add_option("CLUSTER", options->cluster,
                    "Id or resource name; default: all, one line each");
  AddLimit(chain, &options->limit);
}

}  // namespace faultline::cli
