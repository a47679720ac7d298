#include "client/lab/report.h"

#include <libsmartcols/libsmartcols.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace faultline::lab {
namespace {

using nlohmann::json;

// Rows that one tick shows; the rest is counted.
constexpr size_t kMaxRows = 8;
constexpr size_t kMaxTextBytes = 80;

struct Column {
  const char* title;
  bool number = false;
};

// Rows of text under headings, columns aligned.
class Table {
 public:
  explicit Table(const std::vector<Column>& columns)
      : table_(scols_new_table(), scols_unref_table) {
    scols_table_enable_colors(table_.get(), 0);
    scols_table_set_termforce(table_.get(), SCOLS_TERMFORCE_NEVER);
    for (const Column& column : columns) {
      scols_table_new_column(table_.get(), column.title, 0,
                             column.number ? SCOLS_FL_RIGHT : 0);
    }
  }

  void AddRow(const std::vector<std::string>& cells) {
    libscols_line* line = scols_table_new_line(table_.get(), nullptr);
    for (size_t i = 0; i < cells.size(); ++i) {
      scols_line_set_data(line, i, cells[i].c_str());
    }
  }

  std::string Text() const {
    char* text = nullptr;
    if (scols_print_table_to_string(table_.get(), &text) != 0) return "";
    const std::unique_ptr<char, void (*)(void*)> owned(text, std::free);
    return absl::StrCat(text, "\n");
  }

 private:
  const std::unique_ptr<libscols_table, void (*)(libscols_table*)> table_;
};

std::string RateText(const Score& score, int failures) {
  return absl::StrFormat("%.3f", score.Rate(failures));
}

std::string Percent(double share) {
  return absl::StrFormat("%.0f %%", 100 * share);
}

// `NAME` of `PREFIX_NAME`, in lower case.
std::string EnumText(absl::string_view name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string StatusText(v1::Cluster::Status status) {
  return EnumText(v1::Cluster::Status_Name(status), "STATUS_");
}
std::string StatusText(v1::Intervention::Status status) {
  return EnumText(v1::Intervention::Status_Name(status), "STATUS_");
}
std::string ModeText(v1::FailureMode mode) {
  return EnumText(v1::FailureMode_Name(mode), "FAILURE_MODE_");
}
std::string KindText(v1::InterventionKind kind) {
  return EnumText(v1::InterventionKind_Name(kind), "INTERVENTION_KIND_");
}

std::string Cut(absl::string_view text) {
  std::string cut;
  for (const char c : text.substr(0, kMaxTextBytes)) {
    cut += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? ' ' : c;
  }
  return text.size() > kMaxTextBytes ? absl::StrCat(cut, "...") : cut;
}

// What acts or may act comes first; otherwise as the server orders them.
int Rank(const v1::Cluster& cluster) {
  return cluster.status() == v1::Cluster::STATUS_STABLE ? 0 : 1;
}
int Rank(const v1::Intervention& intervention) {
  return intervention.status() == v1::Intervention::STATUS_TRIAL ||
                 intervention.status() == v1::Intervention::STATUS_CONFIRMED
             ? 0
             : 1;
}

// Calls `add_row` for the first kMaxRows resources by rank; returns a line that
// counts the others by status.
template <typename Resource, typename AddRow>
std::string AddRows(const std::vector<Resource>& resources,
                    const AddRow& add_row) {
  std::vector<const Resource*> sorted;
  sorted.reserve(resources.size());
  for (const Resource& resource : resources) sorted.push_back(&resource);
  std::stable_sort(
      sorted.begin(), sorted.end(),
      [](const Resource* a, const Resource* b) { return Rank(*a) < Rank(*b); });
  std::map<std::string, int> others;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (i < kMaxRows) {
      add_row(*sorted[i]);
    } else {
      ++others[StatusText(sorted[i]->status())];
    }
  }
  std::vector<std::string> counts;
  counts.reserve(others.size());
  for (const auto& [status, count] : others) {
    counts.push_back(absl::StrCat(count, " ", status));
  }
  return counts.empty()
             ? ""
             : absl::StrCat("  and ", absl::StrJoin(counts, ", "), "\n");
}

std::string ClusterTable(const std::vector<v1::Cluster>& clusters) {
  Table table(
      {{"CLUSTER"}, {"SIZE", true}, {"STATUS"}, {"FAILURE MODE"}, {"TITLE"}});
  const std::string others =
      AddRows(clusters, [&table](const v1::Cluster& cluster) {
        table.AddRow({Cut(cluster.cluster_id()), absl::StrCat(cluster.size()),
                      StatusText(cluster.status()),
                      ModeText(cluster.diagnosis().failure_mode()),
                      Cut(cluster.title())});
      });
  return absl::StrCat(table.Text(), others);
}

std::string InterventionTable(
    const std::vector<v1::Intervention>& interventions) {
  Table table({{"INTERVENTION"}, {"KIND"}, {"STATUS"}, {"WHAT"}});
  const std::string others =
      AddRows(interventions, [&table](const v1::Intervention& it) {
        table.AddRow({Cut(it.intervention_id()), KindText(it.kind()),
                      StatusText(it.status()), Cut(it.summary())});
      });
  return absl::StrCat(table.Text(), others);
}

json ScoreJson(const Score& score) {
  return {{"runs", score.problems},
          {"none", score.Rate(score.none)},
          {"random", score.Rate(score.random)},
          {"bandit", score.Rate(score.bandit)},
          {"oracle", score.Rate(score.oracle)},
          {"reached", score.Rate(score.reached)},
          {"captured", Captured(score, score.reached)}};
}

std::string EffectText(Truth::Effect effect) {
  switch (effect) {
    case Truth::Effect::kHelps:
      return "helps";
    case Truth::Effect::kInert:
      return "inert";
    case Truth::Effect::kHurts:
      return "hurts";
  }
  return "";
}

std::string TickTable(const std::vector<TickReport>& reports) {
  Table table({{"TICK", true},
               {"NONE", true},
               {"RANDOM", true},
               {"BANDIT", true},
               {"OURS", true},
               {"ORACLE", true},
               {"CAPTURED", true},
               {"CLUSTERS", true},
               {"STABLE", true},
               {"TRIALS", true}});
  for (const TickReport& report : reports) {
    const Score& score = report.scores.all;
    table.AddRow({absl::StrCat(report.number), RateText(score, score.none),
                  RateText(score, score.random), RateText(score, score.bandit),
                  RateText(score, score.reached), RateText(score, score.oracle),
                  Percent(Captured(score, score.reached)),
                  absl::StrCat(report.tick.clusters()),
                  absl::StrCat(report.tick.stable_clusters()),
                  absl::StrCat(report.tick.trials())});
  }
  return table.Text();
}

std::string FamilyTable(const std::vector<TickReport>& reports,
                        int last_ticks) {
  Table table({{"LAST TICKS"},
               {"NONE", true},
               {"RANDOM", true},
               {"BANDIT", true},
               {"OURS", true},
               {"ORACLE", true},
               {"CAPTURED", true}});
  for (const Family family : kFamilies) {
    Score score;
    for (size_t i = reports.size() - last_ticks; i < reports.size(); ++i) {
      score.Add(reports[i].scores.by_family[static_cast<size_t>(family)]);
    }
    if (score.problems == 0) continue;
    table.AddRow({FamilyName(family), RateText(score, score.none),
                  RateText(score, score.random), RateText(score, score.bandit),
                  RateText(score, score.reached), RateText(score, score.oracle),
                  Percent(Captured(score, score.reached))});
  }
  return table.Text();
}

std::string TrialTable(const std::vector<TrialReport>& trials) {
  Table table({{"TRIAL", true},
               {"VERDICT", true},
               {"STATUS"},
               {"IN TRUTH"},
               {"PREVENTS", true},
               {"CAUSES", true},
               {"OF", true},
               {"WHAT"}});
  for (const TrialReport& trial : trials) {
    table.AddRow(
        {absl::StrCat(trial.start_tick),
         trial.verdict_tick ? absl::StrCat(*trial.verdict_tick) : "-",
         StatusText(trial.intervention.status()),
         EffectText(trial.truth.effect()), absl::StrCat(trial.truth.prevented),
         absl::StrCat(trial.truth.caused), absl::StrCat(trial.truth.in_scope),
         Cut(trial.intervention.summary())});
  }
  return table.Text();
}

std::string NamingTable(const std::vector<NamingReport>& naming) {
  Table table({{"HIDDEN KIND OF MOST"}, {"SHARE", true}, {"READ AS"}, {""}});
  for (const NamingReport& report : naming) {
    table.AddRow({absl::StrCat(FamilyName(report.family), " ", report.kind),
                  Percent(report.share), ModeText(report.mode),
                  report.right ? "right" : "not right"});
  }
  return table.Text();
}

double RightShare(const Summary& summary) {
  return summary.accepted_clusters == 0
             ? 0
             : static_cast<double>(summary.rightly_named) /
                   summary.accepted_clusters;
}

std::string Line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string TickText(const TickReport& report) {
  const Score& score = report.scores.all;
  std::string text = absl::StrCat(
      "tick ", report.number, ": ", score.problems, " runs, failure rate ",
      RateText(score, score.reached), " (no policy ",
      RateText(score, score.none), ", oracle ", RateText(score, score.oracle),
      "), ", Percent(Captured(score, score.reached)),
      " of the gap captured, next policy ", report.tick.policy_version(), "\n");
  if (!report.clusters.empty()) {
    absl::StrAppend(&text, ClusterTable(report.clusters));
  }
  if (!report.interventions.empty()) {
    absl::StrAppend(&text, InterventionTable(report.interventions));
  }
  return text;
}

std::string TickJson(const TickReport& report) {
  json value = ScoreJson(report.scores.all);
  value["tick"] = report.number;
  value["policy_version"] = report.tick.policy_version();
  value["clusters"] = json::array();
  for (const v1::Cluster& cluster : report.clusters) {
    value["clusters"].push_back(
        {{"id", cluster.cluster_id()},
         {"size", cluster.size()},
         {"status", StatusText(cluster.status())},
         {"failure_mode", ModeText(cluster.diagnosis().failure_mode())},
         {"title", cluster.title()}});
  }
  value["interventions"] = json::array();
  for (const v1::Intervention& it : report.interventions) {
    value["interventions"].push_back({{"id", it.intervention_id()},
                                      {"kind", KindText(it.kind())},
                                      {"status", StatusText(it.status())},
                                      {"summary", it.summary()}});
  }
  return Line(value);
}

std::string SummaryText(const Results& results) {
  const Summary summary =
      Summarize(results.reports, results.trials, results.naming);
  const Score& first = summary.first;
  const Score& last = summary.last;
  std::string text =
      absl::StrCat(TickTable(results.reports), "\n",
                   FamilyTable(results.reports, summary.last_ticks));
  if (!results.trials.empty()) {
    absl::StrAppend(&text, "\n", TrialTable(results.trials));
  }
  if (!results.naming.empty()) {
    absl::StrAppend(&text, "\n", NamingTable(results.naming));
  }
  const auto rates = [&](const char* name, int at_first, int at_last) {
    absl::StrAppend(&text, name, " failure rate, first tick and last ",
                    summary.last_ticks, ": ", RateText(first, at_first), " ",
                    RateText(last, at_last), "\n");
  };
  text += "\n";
  rates("none   ", first.none, last.none);
  rates("random ", first.random, last.random);
  rates("bandit ", first.bandit, last.bandit);
  rates("oracle ", first.oracle, last.oracle);
  rates("ours   ", first.reached, last.reached);
  absl::StrAppendFormat(
      &text,
      "trials started %d, confirmed %d, of these inert or harmful in truth %d, "
      "rolled back %d\n",
      summary.trials, summary.confirmed, summary.false_confirmations,
      summary.rolled_back);
  absl::StrAppendFormat(&text, "median ticks from start to verdict: %g\n",
                        summary.median_ticks_to_verdict);
  absl::StrAppendFormat(
      &text, "accepted clusters whose failure mode is right: %d of %d, %.3f\n",
      summary.rightly_named, summary.accepted_clusters, RightShare(summary));
  absl::StrAppendFormat(
      &text,
      "share of the gap from none to oracle that is captured, "
      "last ticks: random %.3f, bandit %.3f, ours %.3f\n",
      summary.captured_by_random, summary.captured_by_bandit, summary.captured);
  return text;
}

std::string SummaryJson(const Results& results) {
  const Summary summary =
      Summarize(results.reports, results.trials, results.naming);
  json value = {{"summary",
                 {{"last_ticks", summary.last_ticks},
                  {"first", ScoreJson(summary.first)},
                  {"last", ScoreJson(summary.last)},
                  {"captured", summary.captured},
                  {"captured_by_random", summary.captured_by_random},
                  {"captured_by_bandit", summary.captured_by_bandit},
                  {"trials", summary.trials},
                  {"confirmed", summary.confirmed},
                  {"false_confirmations", summary.false_confirmations},
                  {"harmful", summary.harmful},
                  {"harmful_confirmed", summary.harmful_confirmed},
                  {"rolled_back", summary.rolled_back},
                  {"median_ticks_to_verdict", summary.median_ticks_to_verdict},
                  {"accepted_clusters", summary.accepted_clusters},
                  {"rightly_named", summary.rightly_named}}},
                {"trials", json::array()},
                {"naming", json::array()}};
  for (const TrialReport& trial : results.trials) {
    json entry = {{"id", trial.intervention.intervention_id()},
                  {"kind", KindText(trial.intervention.kind())},
                  {"status", StatusText(trial.intervention.status())},
                  {"summary", trial.intervention.summary()},
                  {"start_tick", trial.start_tick},
                  {"confirmed", trial.confirmed},
                  {"truth", EffectText(trial.truth.effect())},
                  {"in_scope", trial.truth.in_scope},
                  {"prevented", trial.truth.prevented},
                  {"caused", trial.truth.caused}};
    if (trial.verdict_tick) entry["verdict_tick"] = *trial.verdict_tick;
    value["trials"].push_back(std::move(entry));
  }
  for (const NamingReport& report : results.naming) {
    value["naming"].push_back({{"family", FamilyName(report.family)},
                               {"kind", report.kind},
                               {"share", report.share},
                               {"failure_mode", ModeText(report.mode)},
                               {"right", report.right}});
  }
  return Line(value);
}

std::string KindsText(const std::vector<KindReport>& reports) {
  std::string text;
  Score all;
  for (const Family family : kFamilies) {
    const std::vector<Choice>& routes = AgentRuntime::RoutesOf(family);
    const std::vector<Choice>& strategies = AgentRuntime::StrategiesOf(family);
    std::vector<Column> columns = {{"HIDDEN KIND"}, {"RUNS", true}};
    for (const Choice& route : routes) {
      columns.push_back({route.name.c_str(), true});
    }
    if (strategies.size() > 1) {
      for (const Choice& strategy : strategies) {
        columns.push_back({strategy.name.c_str(), true});
      }
    }
    columns.push_back({"NONE", true});
    columns.push_back({"ORACLE", true});
    Table table(columns);
    bool any = false;
    for (const KindReport& report : reports) {
      if (report.family != family) continue;
      any = true;
      Score score;
      score.problems = report.problems;
      std::vector<std::string> row = {report.kind,
                                      absl::StrCat(report.problems)};
      for (const int failures : report.route_failures) {
        row.push_back(RateText(score, failures));
      }
      if (strategies.size() > 1) {
        for (const int failures : report.strategy_failures) {
          row.push_back(RateText(score, failures));
        }
      }
      row.push_back(RateText(score, report.none));
      row.push_back(RateText(score, report.oracle));
      table.AddRow(row);
      all.problems += report.problems;
      all.none += report.none;
      all.oracle += report.oracle;
    }
    if (any) {
      absl::StrAppend(&text, FamilyName(family), ", failure rates\n",
                      table.Text());
    }
  }
  return absl::StrCat(text, "none    ", RateText(all, all.none), "\noracle  ",
                      RateText(all, all.oracle), "\n");
}

std::string KindsJson(const std::vector<KindReport>& reports) {
  std::string text;
  for (const KindReport& report : reports) {
    Score score;
    score.problems = report.problems;
    json value = {{"family", FamilyName(report.family)},
                  {"kind", report.kind},
                  {"runs", report.problems},
                  {"none", score.Rate(report.none)},
                  {"oracle", score.Rate(report.oracle)}};
    const auto& routes = AgentRuntime::RoutesOf(report.family);
    for (size_t i = 0; i < routes.size(); ++i) {
      value["routes"][routes[i].name] = score.Rate(report.route_failures[i]);
    }
    const auto& strategies = AgentRuntime::StrategiesOf(report.family);
    for (size_t i = 0; i < strategies.size(); ++i) {
      value["strategies"][strategies[i].name] =
          score.Rate(report.strategy_failures[i]);
    }
    text += Line(value);
  }
  return text;
}

}  // namespace faultline::lab
