#include "client/cli/map_drawing.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace faultline::cli {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Two members at the left, a lone failure at the top right, a success at the
// bottom right. What traces say is hostile.
v1::GetMapResponse Map() {
  v1::GetMapResponse map;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        points { trace_id: "ok" x: 1 y: -1 outcome: OUTCOME_PASS }
        points {
          trace_id: "<script>alert(1)</script>"
          x: -1
          y: 0
          outcome: OUTCOME_FAIL
          cluster: "projects/p/clusters/c1"
          task_type: "a\" onload=\"b"
          model: "m & n"
        }
        points {
          trace_id: "two"
          x: -1
          y: 0
          outcome: OUTCOME_FAIL
          cluster: "projects/p/clusters/c1"
        }
        points { trace_id: "lone" x: 1 y: 1 outcome: OUTCOME_ERROR }
        areas {
          cluster: "projects/p/clusters/c1"
          title: "loops </text><b>\033[31m"
          status: STATUS_STABLE
          size: 41
          x: -1
          points: 2
        }
        tick: 7
        axes_tick: 3
        shown_scatter: 0.625
        runs: 900
      )pb",
      &map));
  return map;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(MapDrawingTest, ATerminalShowsWhatLiesWhere) {
  const std::string text = DrawMapText(Map(), {.width = 40});
  const std::string top = text.substr(0, text.find('\n'));
  EXPECT_EQ(top, std::string(39, ' ') + "x");
  EXPECT_THAT(
      text, AllOf(HasSubstr("\nA\n"),  // the middle row, at the left
                  HasSubstr("\n" + std::string(39, ' ') + ".\n"),
                  HasSubstr("4 of 900 runs; axes of tick 3"),
                  ContainsRegex("A +c1 +stable +41"), Not(HasSubstr("\033"))));
}

TEST(MapDrawingTest, ACellShowsTheClusterWithMostRuns) {
  v1::GetMapResponse map = Map();
  auto& other = *map.add_areas();
  other.set_cluster("projects/p/clusters/c2");
  auto& point = *map.add_points();
  point = map.points(2);
  point.set_cluster(other.cluster());
  EXPECT_THAT(DrawMapText(map, {.width = 40}), HasSubstr("\nA\n"));
  *map.add_points() = point;
  *map.add_points() = point;
  EXPECT_THAT(DrawMapText(map, {.width = 40}), HasSubstr("\nB\n"));
}

TEST(MapDrawingTest, OnePointAndNoPointHaveADrawing) {
  v1::GetMapResponse map;
  EXPECT_THAT(DrawMapSvg(map), HasSubstr("</svg>"));
  map.add_points()->set_x(.5);
  EXPECT_THAT(DrawMapSvg(map), Not(HasSubstr("nan")));
  EXPECT_THAT(DrawMapText(map, {}), HasSubstr("x"));
}

TEST(MapDrawingTest, AnSvgNamesEveryRunAndEscapesWhatTracesSay) {
  const std::string svg = DrawMapSvg(Map());
  EXPECT_THAT(
      svg,
      AllOf(StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\""),
            HasSubstr("<title>&lt;script&gt;alert(1)&lt;/script&gt;: fail, "
                      "cluster A, a&quot; onload=&quot;b, m &amp; n</title>"),
            HasSubstr("<title>lone: error</title></path>"),
            HasSubstr("<title>ok: pass</title></circle>"),
            HasSubstr("A loops &lt;/text&gt;&lt;b&gt;"),
            Not(HasSubstr("<script")), Not(HasSubstr("<b>")),
            Not(HasSubstr("\033"))));
  // Four runs, one cluster's letter; nothing is loaded from elsewhere.
  EXPECT_EQ(Count(svg, "<title>"), 5);
  EXPECT_EQ(Count(svg, "http"), 1);
}

TEST(MapDrawingTest, AnHtmlPageHoldsTheDrawingAndATableAndRunsNoScript) {
  const std::string html = DrawMapHtml(Map(), "p<q");
  EXPECT_THAT(html, AllOf(StartsWith("<!DOCTYPE html>"), HasSubstr("<svg "),
                          HasSubstr("default-src 'none'"),
                          HasSubstr("<h1>Failures of p&lt;q, tick 7</h1>"),
                          HasSubstr("<td>c1</td><td>stable</td><td>41</td>"
                                    "<td>loops &lt;/text&gt;&lt;b&gt;"),
                          Not(HasSubstr("<script")), Not(HasSubstr("<b>"))));
}

}  // namespace
}  // namespace faultline::cli
