#include "client/lab/html_report.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace faultline::lab {
namespace {

// Colours that differ for the colour-blind, too, and dashes beside them.
struct Series {
  const char* name;
  int Score::*failures;
  const char* color;
  const char* dashes;
};
constexpr Series kSeries[] = {{"none", &Score::none, "#8a8f98", ""},
                              {"random", &Score::random, "#c98a1b", "2 3"},
                              {"bandit", &Score::bandit, "#7a5bb5", "7 3"},
                              {"ours", &Score::reached, "#0b6e4f", ""},
                              {"oracle", &Score::oracle, "#2b6cb0", "1 3"}};

constexpr char kStyle[] = R"css(
:root { color-scheme: light; --ink: #1c2330; --soft: #667085; --line: #e4e7ec; --good: #0b6e4f; --bad: #b42318; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1040px; padding: 40px 24px 64px; color: var(--ink);
       font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 40px 0 10px; }
p, .soft { color: var(--soft); margin: 0 0 12px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0 8px; }
.figure { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.figure b { display: block; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 13px; }
.families { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 8px 20px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 6px 0 10px; font-size: 13px; }
.legend svg { vertical-align: middle; margin-right: 6px; }
svg text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px 6px 0; }
td { border-bottom: 1px solid var(--line); padding: 6px 10px 6px 0; vertical-align: top; }
.n { text-align: right; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
)css";

std::string Escape(absl::string_view text) {
  std::string printable;
  for (const char c : text) {
    printable += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? ' ' : c;
  }
  return absl::StrReplaceAll(
      printable,
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Rate(const Score& score, int failures) {
  return absl::StrFormat("%.3f", score.Rate(failures));
}

std::string Words(absl::string_view name, absl::string_view prefix) {
  return absl::StrReplaceAll(
      absl::AsciiStrToLower(absl::StripPrefix(name, prefix)), {{"_", " "}});
}

// One chart of the failure rates by tick. `pick`: the score of a tick.
template <typename Pick>
std::string Chart(const std::vector<TickReport>& reports, int width, int height,
                  int drift_tick, const Pick& pick) {
  constexpr int kLeft = 44;
  constexpr int kRight = 60;
  constexpr int kTop = 12;
  constexpr int kBottom = 30;
  double top = .1;
  for (const TickReport& report : reports) {
    const Score& score = pick(report);
    for (const Series& series : kSeries) {
      top = std::max(top, score.Rate(score.*series.failures));
    }
  }
  top = std::ceil(top * 10) / 10;
  const double last =
      std::max<double>(1, static_cast<double>(reports.size()) - 1);
  const auto x = [&](double i) {
    return kLeft + (width - kLeft - kRight) * i / last;
  };
  const auto y = [&](double rate) {
    return kTop + (height - kTop - kBottom) * (1 - rate / top);
  };
  std::string svg = absl::StrFormat(
      "<svg viewBox='0 0 %d %d' width='100%%' role='img' "
      "aria-label='failure rate by tick'>",
      width, height);
  for (int i = 0; i <= std::lround(10 * top); ++i) {
    const double rate = i / 10.;
    absl::StrAppendFormat(
        &svg,
        "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='#e4e7ec'/>"
        "<text x='%d' y='%.1f' text-anchor='end'>%.1f</text>",
        kLeft, width - kRight, y(rate), y(rate), kLeft - 8, y(rate) + 4, rate);
  }
  const int each = static_cast<int>(reports.size() + 11) / 12;
  for (size_t i = 0; i < reports.size(); ++i) {
    if (i % each != 0) continue;
    absl::StrAppendFormat(
        &svg, "<text x='%.1f' y='%d' text-anchor='middle'>%d</text>",
        x(static_cast<double>(i)), height - 10, reports[i].number);
  }
  if (drift_tick > 1 && drift_tick <= static_cast<int>(reports.size())) {
    const double at = x(drift_tick - 1.5);
    absl::StrAppendFormat(
        &svg,
        "<line x1='%.1f' x2='%.1f' y1='%d' y2='%d' stroke='#b42318' "
        "stroke-dasharray='4 4'/><text x='%.1f' y='%d'>drift</text>",
        at, at, kTop, height - kBottom, at + 5, kTop + 10);
  }
  std::vector<std::pair<double, std::string>> ends;
  for (const Series& series : kSeries) {
    std::vector<std::string> points;
    for (size_t i = 0; i < reports.size(); ++i) {
      const Score& score = pick(reports[i]);
      points.push_back(absl::StrFormat("%.1f,%.1f", x(static_cast<double>(i)),
                                       y(score.Rate(score.*series.failures))));
    }
    absl::StrAppendFormat(
        &svg,
        "<polyline points='%s' fill='none' stroke='%s' stroke-width='%s' "
        "stroke-dasharray='%s' stroke-linejoin='round' "
        "stroke-linecap='round'/>",
        absl::StrJoin(points, " "), series.color,
        series.failures == &Score::reached ? "3" : "2", series.dashes);
    const Score& score = pick(reports.back());
    ends.emplace_back(
        y(score.Rate(score.*series.failures)),
        absl::StrFormat("style='fill:%s'>%s", series.color, series.name));
  }
  // Names at the ends of the lines, pushed apart where they would overlap.
  std::sort(ends.begin(), ends.end());
  double least = 0;
  for (const auto& [at, name] : ends) {
    least = std::max(at + 4, least + 13);
    absl::StrAppendFormat(&svg, "<text x='%d' y='%.1f' %s</text>",
                          width - kRight + 8, least, name);
  }
  return svg + "</svg>";
}

std::string Legend() {
  std::string html = "<div class='legend'>";
  constexpr const char* kMeanings[] = {
      "no policy", "an action drawn by lot each tick, untested",
      "one Thompson sampler over routes, without context",
      "the policy that Faultline published",
      "the best actions for the hidden kind"};
  for (size_t i = 0; i < std::size(kSeries); ++i) {
    absl::StrAppendFormat(
        &html,
        "<span><svg width='26' height='8'><line x1='1' x2='25' y1='4' y2='4' "
        "stroke='%s' stroke-width='3' stroke-dasharray='%s'/></svg><b>%s</b> "
        "%s</span>",
        kSeries[i].color, kSeries[i].dashes, kSeries[i].name, kMeanings[i]);
  }
  return html + "</div>";
}

std::string Figure(absl::string_view value, absl::string_view what) {
  return absl::StrCat("<div class='figure'><b>", value, "</b><span>", what,
                      "</span></div>");
}

std::string TickRows(const std::vector<TickReport>& reports) {
  std::string html = "<div class='scroll'><table><tr><th class='n'>tick</th>";
  for (const Series& series : kSeries) {
    absl::StrAppend(&html, "<th class='n'>", series.name, "</th>");
  }
  html +=
      "<th class='n'>captured</th><th class='n'>clusters</th>"
      "<th class='n'>accepted</th><th class='n'>in trial</th></tr>";
  for (const TickReport& report : reports) {
    const Score& score = report.scores.all;
    absl::StrAppend(&html, "<tr><td class='n'>", report.number, "</td>");
    for (const Series& series : kSeries) {
      absl::StrAppend(&html, "<td class='n'>",
                      Rate(score, score.*series.failures), "</td>");
    }
    absl::StrAppendFormat(
        &html,
        "<td class='n'>%.0f %%</td><td class='n'>%d</td><td class='n'>%d</td>"
        "<td class='n'>%d</td></tr>",
        100 * Captured(score, score.reached), report.tick.clusters(),
        report.tick.stable_clusters(), report.tick.trials());
  }
  return html + "</table></div>";
}

std::string TrialRows(const std::vector<TrialReport>& trials) {
  std::string html =
      "<div class='scroll'><table><tr><th class='n'>started</th>"
      "<th class='n'>verdict</th><th>status</th><th>in truth</th>"
      "<th class='n'>prevents</th><th class='n'>causes</th>"
      "<th class='n'>of runs</th><th>what</th></tr>";
  for (const TrialReport& trial : trials) {
    const Truth::Effect effect = trial.truth.effect();
    const char* name = effect == Truth::Effect::kHelps   ? "helps"
                       : effect == Truth::Effect::kInert ? "inert"
                                                         : "hurts";
    const bool wrong = trial.confirmed && effect != Truth::Effect::kHelps;
    absl::StrAppend(
        &html, "<tr><td class='n'>", trial.start_tick, "</td><td class='n'>",
        trial.verdict_tick ? absl::StrCat(*trial.verdict_tick) : "",
        "</td><td class='",
        wrong             ? "bad"
        : trial.confirmed ? "good"
                          : "",
        "'>",
        Words(v1::Intervention::Status_Name(trial.intervention.status()),
              "STATUS_"),
        "</td><td>", name, "</td><td class='n'>", trial.truth.prevented,
        "</td><td class='n'>", trial.truth.caused, "</td><td class='n'>",
        trial.truth.in_scope, "</td><td>", Escape(trial.intervention.summary()),
        "</td></tr>");
  }
  return html + "</table></div>";
}

std::string NamingRows(const std::vector<NamingReport>& naming) {
  std::string html =
      "<div class='scroll'><table><tr><th>hidden kind of most members</th>"
      "<th class='n'>share</th><th>read as</th><th>cluster</th></tr>";
  for (const NamingReport& report : naming) {
    absl::StrAppendFormat(
        &html,
        "<tr><td>%s %s</td><td class='n'>%.0f %%</td><td class='%s'>%s</td>"
        "<td>%s</td></tr>",
        FamilyName(report.family), report.kind, 100 * report.share,
        report.right ? "good" : "bad",
        Words(v1::FailureMode_Name(report.mode), "FAILURE_MODE_"),
        Escape(report.title));
  }
  return html + "</table></div>";
}

}  // namespace

std::string HtmlReport(const Lab& lab, const Results& results) {
  const std::vector<TickReport>& reports = results.reports;
  const Summary summary = Summarize(reports, results.trials, results.naming);
  const int drift_tick =
      lab.options().world == World::kDrift ? lab.options().drift_tick : 0;
  std::string html = absl::StrCat(
      "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
      "<meta name='viewport' content='width=device-width'>"
      "<title>Faultline lab</title><style>",
      kStyle, "</style></head><body><h1>Faultline lab</h1><p>World ",
      WorldName(lab.options().world), ", seed ", lab.options().seed, ", ",
      reports.size(), " ticks of ", lab.options().tasks_per_tick,
      " questions. Every policy answered the same questions with the same "
      "random numbers.</p><div class='figures'>");
  absl::StrAppend(
      &html,
      Figure(absl::StrFormat("%.2f", summary.captured),
             absl::StrFormat("of the gap from none to oracle captured, last %d "
                             "ticks; bandit %.2f, random %.2f",
                             summary.last_ticks, summary.captured_by_bandit,
                             summary.captured_by_random)),
      Figure(absl::StrCat(Rate(summary.last, summary.last.none), " → ",
                          Rate(summary.last, summary.last.reached)),
             "late failure rate, none → ours"),
      Figure(absl::StrCat(summary.confirmed, " / ", summary.trials),
             absl::StrCat("trials confirmed; ", summary.rolled_back,
                          " rolled back")),
      Figure(absl::StrCat(summary.false_confirmations),
             "confirmed though inert or harmful in truth"),
      Figure(absl::StrFormat("%g", summary.median_ticks_to_verdict),
             "median ticks from start to verdict"),
      Figure(
          absl::StrCat(summary.rightly_named, " / ", summary.accepted_clusters),
          "accepted clusters named rightly"),
      "</div>");
  if (!reports.empty()) {
    absl::StrAppend(&html, "<h2>Failure rate by tick</h2>", Legend(),
                    Chart(reports, 990, 340, drift_tick,
                          [](const TickReport& report) -> const Score& {
                            return report.scores.all;
                          }),
                    "<h2>By family of tasks</h2><div class='families'>");
    for (const Family family : lab.options().families) {
      absl::StrAppend(
          &html, "<div><b>", FamilyName(family), "</b>",
          Chart(reports, 490, 220, drift_tick,
                [family](const TickReport& report) -> const Score& {
                  return report.scores.by_family[static_cast<size_t>(family)];
                }),
          "</div>");
    }
    absl::StrAppend(&html, "</div><h2>Ticks</h2>", TickRows(reports));
  }
  absl::StrAppend(
      &html,
      "<h2>Trials beside the truth</h2><p>In truth: fresh questions run with "
      "the change on every run in scope, and without it.</p>",
      TrialRows(results.trials),
      "<h2>Accepted clusters beside the hidden causes</h2>",
      NamingRows(results.naming), "</body></html>\n");
  return html;
}

}  // namespace faultline::lab
