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
          {"oracle", score.Rate(score.oracle)},
          {"reached", score.Rate(score.reached)},
          {"gap_closed", GapClosed(score)}};
}

std::string Line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string TickText(const TickReport& report) {
  const Score& score = report.score;
  std::string text = absl::StrCat(
      "tick ", report.number, ": ", score.problems, " runs, failure rate ",
      RateText(score, score.reached), " (no policy ",
      RateText(score, score.none), ", oracle ", RateText(score, score.oracle),
      "), ", Percent(GapClosed(score)), " of the gap closed, next policy ",
      report.tick.policy_version(), "\n");
  if (!report.clusters.empty()) {
    absl::StrAppend(&text, ClusterTable(report.clusters));
  }
  if (!report.interventions.empty()) {
    absl::StrAppend(&text, InterventionTable(report.interventions));
  }
  return text;
}

std::string TickJson(const TickReport& report) {
  json value = ScoreJson(report.score);
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

std::string SummaryText(const std::vector<TickReport>& reports) {
  Table table({{"TICK", true},
               {"NONE", true},
               {"ORACLE", true},
               {"REACHED", true},
               {"REASONING", true},
               {"ARITHMETIC", true},
               {"GAP CLOSED", true},
               {"CLUSTERS", true},
               {"STABLE", true},
               {"TRIALS", true}});
  for (const TickReport& report : reports) {
    const Score& score = report.score;
    const auto& [reasoning, arithmetic] = report.by_family;
    table.AddRow({absl::StrCat(report.number), RateText(score, score.none),
                  RateText(score, score.oracle), RateText(score, score.reached),
                  RateText(reasoning, reasoning.reached),
                  RateText(arithmetic, arithmetic.reached),
                  Percent(GapClosed(score)),
                  absl::StrCat(report.tick.clusters()),
                  absl::StrCat(report.tick.stable_clusters()),
                  absl::StrCat(report.tick.trials())});
  }
  const Summary summary = Summarize(reports);
  const Score& first = summary.first;
  const Score& last = summary.last;
  const auto line = [&](const char* name, int at_first, int at_last) {
    return absl::StrCat(name, " failure rate, first tick and last ",
                        summary.last_ticks, ": ", RateText(first, at_first),
                        " ", RateText(last, at_last), "\n");
  };
  return absl::StrCat(table.Text(), line("none   ", first.none, last.none),
                      line("oracle ", first.oracle, last.oracle),
                      line("reached", first.reached, last.reached),
                      "share of the gap from none to oracle that is closed, "
                      "last ticks: ",
                      absl::StrFormat("%.3f", summary.gap_closed), "\n");
}

std::string SummaryJson(const std::vector<TickReport>& reports) {
  const Summary summary = Summarize(reports);
  return Line({{"summary",
                {{"last_ticks", summary.last_ticks},
                 {"first", ScoreJson(summary.first)},
                 {"last", ScoreJson(summary.last)},
                 {"gap_closed", summary.gap_closed}}}});
}

std::string KindsText(const std::vector<KindReport>& reports) {
  std::string text;
  Score all;
  for (const Family family : {Family::kReasoning, Family::kArithmetic}) {
    const std::vector<Route>& routes = AgentRuntime::RoutesOf(family);
    std::vector<Column> columns = {{"HIDDEN KIND"}, {"RUNS", true}};
    for (const Route& route : routes) {
      columns.push_back({route.name.c_str(), true});
    }
    columns.push_back({"NONE", true});
    columns.push_back({"ORACLE", true});
    Table table(columns);
    for (const KindReport& report : reports) {
      if (report.family != family) continue;
      Score score;
      score.problems = report.problems;
      std::vector<std::string> row = {report.kind,
                                      absl::StrCat(report.problems)};
      for (const int failures : report.route_failures) {
        row.push_back(RateText(score, failures));
      }
      row.push_back(RateText(score, report.none));
      row.push_back(RateText(score, report.oracle));
      table.AddRow(row);
      all.problems += report.problems;
      all.none += report.none;
      all.oracle += report.oracle;
    }
    absl::StrAppend(&text, FamilyName(family), ", failure rates\n",
                    table.Text());
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
    const std::vector<Route>& routes = AgentRuntime::RoutesOf(report.family);
    for (size_t i = 0; i < routes.size(); ++i) {
      value["routes"][routes[i].name] = score.Rate(report.route_failures[i]);
    }
    text += Line(value);
  }
  return text;
}

}  // namespace faultline::lab
