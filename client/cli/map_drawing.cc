#include "client/cli/map_drawing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/cli/table.h"
#include "client/cli/text.h"

namespace faultline::cli {
namespace {

using Map = v1::GetMapResponse;

// Without `x`, which is a failure of no cluster.
constexpr char kLetters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwyz";
constexpr int kManyLetters = sizeof(kLetters) - 1;

// Okabe and Ito's colours, which most colour-blind people tell apart.
constexpr std::array<const char*, 7> kColors = {"#0072b2", "#d55e00", "#009e73",
                                                "#cc79a7", "#e69f00", "#56b4e9",
                                                "#f0e442"};
constexpr char kNoiseColor[] = "#333333";
constexpr char kSuccessColor[] = "#bbbbbb";

constexpr size_t kMaxColumns = 120;
constexpr int kPlotWidth = 720;
constexpr int kPlotHeight = 540;
constexpr int kMargin = 16;
constexpr int kLegendWidth = 420;
constexpr int kLineHeight = 18;
constexpr int kLegendLines = 26;

std::string Letter(int area) {
  return area < kManyLetters ? std::string(1, kLetters[area]) : "*";
}

const char* Color(int area) { return kColors[area % kColors.size()]; }

// Place of each cluster in `areas`.
absl::flat_hash_map<std::string, int> AreaIndex(const Map& map) {
  absl::flat_hash_map<std::string, int> index;
  for (int a = 0; a < map.areas_size(); ++a) index[map.areas(a).cluster()] = a;
  return index;
}

// -1: of no cluster.
int AreaOf(const absl::flat_hash_map<std::string, int>& index,
           const Map::Point& point) {
  const auto area = index.find(point.cluster());
  return area == index.end() ? -1 : area->second;
}

// The rectangle that the points fill.
struct Bounds {
  double left = 0;
  double right = 0;
  double bottom = 0;
  double top = 0;

  // Never empty, so that one point has a place too.
  double width() const { return std::max(1e-6, right - left); }
  double height() const { return std::max(1e-6, top - bottom); }
};

Bounds BoundsOf(const Map& map) {
  Bounds bounds;
  bool first = true;
  for (const Map::Point& point : map.points()) {
    bounds.left = first ? point.x() : std::min(bounds.left, point.x());
    bounds.right = first ? point.x() : std::max(bounds.right, point.x());
    bounds.bottom = first ? point.y() : std::min(bounds.bottom, point.y());
    bounds.top = first ? point.y() : std::max(bounds.top, point.y());
    first = false;
  }
  return bounds;
}

std::string Caption(const Map& map) {
  return absl::StrCat("Tick ", map.tick(), ": ", map.points_size(), " of ",
                      map.runs(), " runs; axes of tick ", map.axes_tick(),
                      ", which show ", Percent(map.shown_scatter()),
                      " of what tells the groups apart");
}

// Text of unknown origin as content or attribute value of XML and HTML.
std::string Escape(const std::string& text, size_t max_bytes) {
  // U+FFFE and U+FFFF are no characters of XML.
  return absl::StrReplaceAll(OneLine(text, max_bytes), {{"&", "&amp;"},
                                                        {"<", "&lt;"},
                                                        {">", "&gt;"},
                                                        {"\"", "&quot;"},
                                                        {"'", "&#39;"},
                                                        {"\xEF\xBF\xBE", "?"},
                                                        {"\xEF\xBF\xBF", "?"}});
}

std::string AreaText(const Map::Area& area) {
  return absl::StrCat(
      OneLine(area.title().empty() ? ShortName(area.cluster()) : area.title(),
              48),
      " (", EnumWord(area.status()), ", ", area.size(), ")");
}

// Positions in the drawing; both axes have the same scale.
class Canvas {
 public:
  explicit Canvas(const Bounds& bounds)
      : bounds_(bounds),
        scale_(std::min((kPlotWidth - 2 * kMargin) / bounds.width(),
                        (kPlotHeight - 2 * kMargin) / bounds.height())) {}

  double X(double x) const {
    return kPlotWidth / 2.0 + (x - (bounds_.left + bounds_.right) / 2) * scale_;
  }
  double Y(double y) const {
    return kPlotHeight / 2.0 -
           (y - (bounds_.bottom + bounds_.top) / 2) * scale_;
  }

 private:
  const Bounds bounds_;
  const double scale_;
};

std::string PointTitle(const Map::Point& point, int area) {
  std::string title =
      absl::StrCat(point.trace_id(), ": ", EnumWord(point.outcome()));
  if (area >= 0) absl::StrAppend(&title, ", cluster ", Letter(area));
  for (const std::string& part : {point.task_type(), point.model()}) {
    if (!part.empty()) absl::StrAppend(&title, ", ", part);
  }
  return Escape(title, 300);
}

// A disc for members and successes, a cross for failures of no cluster.
std::string Mark(double x, double y, int area, bool passed) {
  if (area < 0 && !passed) {
    return absl::StrFormat(
        "<path d=\"M%.1f %.1fl4 4m0 -4l-4 4\" stroke=\"%s\" fill=\"none\">",
        x - 2, y - 2, kNoiseColor);
  }
  return absl::StrFormat(
      "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\">", x, y,
      area < 0 ? "2" : "3.5", area < 0 ? kSuccessColor : Color(area));
}

void AppendMarks(const Map& map, const Canvas& canvas, std::string* svg) {
  const absl::flat_hash_map<std::string, int> index = AreaIndex(map);
  for (const Map::Point& point : map.points()) {
    const int area = AreaOf(index, point);
    const bool cross = area < 0 && point.outcome() != v1::OUTCOME_PASS;
    absl::StrAppend(
        svg, Mark(canvas.X(point.x()), canvas.Y(point.y()), area, !cross),
        "<title>", PointTitle(point, area), "</title>",
        cross ? "</path>\n" : "</circle>\n");
  }
  for (int a = 0; a < map.areas_size(); ++a) {
    absl::StrAppendFormat(svg,
                          "<text x=\"%.1f\" y=\"%.1f\" class=\"letter\">%s"
                          "<title>%s</title></text>\n",
                          canvas.X(map.areas(a).x()),
                          canvas.Y(map.areas(a).y()), Letter(a),
                          Escape(AreaText(map.areas(a)), 300));
  }
}

void AppendLegend(const Map& map, std::string* svg) {
  int line = 1;
  const auto add = [&](const std::string& mark, const std::string& text) {
    absl::StrAppendFormat(svg, "%s</%s><text x=\"%d\" y=\"%d\">%s</text>\n",
                          mark, mark[1] == 'p' ? "path" : "circle",
                          kPlotWidth + 30, line * kLineHeight + 14,
                          Escape(text, 300));
    ++line;
  };
  const auto mark = [&](int area, bool passed) {
    return Mark(kPlotWidth + 16, line * kLineHeight + 10, area, passed);
  };
  const int shown = std::min(map.areas_size(), kLegendLines);
  for (int a = 0; a < shown; ++a) {
    add(mark(a, false), absl::StrCat(Letter(a), " ", AreaText(map.areas(a))));
  }
  if (shown < map.areas_size()) {
    add(mark(shown, false),
        absl::StrCat("and ", map.areas_size() - shown, " smaller clusters"));
  }
  add(mark(-1, false), "failure of no cluster");
  add(mark(-1, true), "success");
}

}  // namespace

std::string DrawMapText(const Map& map, const Terminal& terminal) {
  const size_t columns = std::clamp<size_t>(terminal.width, 20, kMaxColumns);
  const size_t rows = columns / 3;
  const Bounds bounds = BoundsOf(map);
  const absl::flat_hash_map<std::string, int> index = AreaIndex(map);
  // Runs of each cluster in each cell; failures of none and successes come
  // after all clusters.
  const int noise = map.areas_size();
  std::vector<std::map<int, int>> cells(rows * columns);
  for (const Map::Point& point : map.points()) {
    const auto place = [](double share, size_t cells_across) {
      return std::min(
          cells_across - 1,
          static_cast<size_t>(share * static_cast<double>(cells_across)));
    };
    const size_t column =
        place((point.x() - bounds.left) / bounds.width(), columns);
    const size_t row = place((bounds.top - point.y()) / bounds.height(), rows);
    const int area = AreaOf(index, point);
    const bool passed = point.outcome() == v1::OUTCOME_PASS;
    ++cells[row * columns + column]
           [area >= 0 ? area : noise + (passed ? 1 : 0)];
  }
  std::string text;
  for (size_t row = 0; row < rows; ++row) {
    std::string line;
    for (size_t column = 0; column < columns; ++column) {
      const std::map<int, int>& cell = cells[row * columns + column];
      if (cell.empty()) {
        line += ' ';
        continue;
      }
      int symbol = cell.begin()->first;
      for (const auto& [candidate, count] : cell) {
        if (candidate < noise && count > cell.at(symbol)) symbol = candidate;
      }
      line += symbol < noise ? Letter(symbol) : symbol == noise ? "x" : ".";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  Table legend({{""},
                {"CLUSTER"},
                {"STATUS"},
                {"SIZE", Column::Fit::kNumber},
                {"TITLE", Column::Fit::kCut}});
  for (int a = 0; a < map.areas_size(); ++a) {
    const Map::Area& area = map.areas(a);
    legend.AddRow({Letter(a),
                   ShortName(area.cluster()),
                   {EnumWord(area.status()), ToneOf(area.status())},
                   absl::StrCat(area.size()),
                   OneLine(area.title())});
  }
  absl::StrAppend(&text, "\n", Caption(map),
                  ".\nx failure of no cluster   . success\n");
  if (legend.rows() > 0) absl::StrAppend(&text, legend.Render(terminal));
  return text;
}

std::string DrawMapSvg(const Map& map) {
  const Canvas canvas(BoundsOf(map));
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
      "width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n"
      "<style>.letter{font-size:18px;font-weight:bold;stroke:#fff;"
      "stroke-width:4px;paint-order:stroke;text-anchor:middle}</style>\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
      kPlotWidth + kLegendWidth, kPlotHeight + 2 * kLineHeight,
      kPlotWidth + kLegendWidth, kPlotHeight + 2 * kLineHeight);
  AppendMarks(map, canvas, &svg);
  AppendLegend(map, &svg);
  absl::StrAppendFormat(&svg, "<text x=\"%d\" y=\"%d\">%s</text>\n</svg>\n",
                        kMargin, kPlotHeight + kLineHeight,
                        Escape(Caption(map), 300));
  return svg;
}

std::string DrawMapHtml(const Map& map, const std::string& project) {
  const std::string title =
      Escape(absl::StrCat("Failures of ", project, ", tick ", map.tick()), 300);
  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
      "'none'; style-src 'unsafe-inline'\">\n<title>",
      title,
      "</title>\n<style>body{font-family:sans-serif;margin:2em}"
      "svg{max-width:100%;height:auto}td,th{text-align:left;"
      "padding:.2em 1em .2em 0}</style>\n</head>\n<body>\n<h1>",
      title, "</h1>\n", DrawMapSvg(map),
      "<table>\n<tr><th></th><th>Cluster</th><th>Status</th><th>Size</th>"
      "<th>Title</th></tr>\n");
  for (int a = 0; a < map.areas_size(); ++a) {
    const Map::Area& area = map.areas(a);
    absl::StrAppend(&html, "<tr><td>", Letter(a), "</td><td>",
                    Escape(ShortName(area.cluster()), 100), "</td><td>",
                    Escape(EnumWord(area.status()), 100), "</td><td>",
                    area.size(), "</td><td>", Escape(area.title(), 500),
                    "</td></tr>\n");
  }
  absl::StrAppend(&html, "</table>\n</body>\n</html>\n");
  return html;
}

}  // namespace faultline::cli
