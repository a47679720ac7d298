#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/map_drawing.h"
#include "client/cli/text.h"
#include "faultline/v1/behavior_service.grpc.pb.h"

namespace faultline::cli {
namespace {

struct MapOptions {
  int points = 2000;
  std::string svg;
  std::string html;
};

absl::Status WriteFile(Session* session, const std::string& path,
                       const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) {
    return absl::InternalError(absl::StrCat("cannot write ", path));
  }
  session->out() << "wrote " << path << "\n";
  return absl::OkStatus();
}

absl::Status ShowMap(Session* session, const MapOptions& options) {
  v1::GetMapRequest request;
  request.set_parent(session->Parent());
  request.set_max_points(options.points);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto map,
      session->Call(&v1::BehaviorService::Stub::GetMap, request));
  if (session->options().json) return session->PrintJson(map);
  if (!options.svg.empty()) {
    FAULTLINE_RETURN_IF_ERROR(WriteFile(session, options.svg, DrawMapSvg(map)));
  }
  if (!options.html.empty()) {
    FAULTLINE_RETURN_IF_ERROR(WriteFile(
        session, options.html, DrawMapHtml(map, session->options().project)));
  }
  if (!options.svg.empty() || !options.html.empty()) return absl::OkStatus();
  if (map.points().empty()) {
    session->out() << "Nothing to draw before the first tick.\n";
    return absl::OkStatus();
  }
  session->out() << DrawMapText(map, session->environment().out_terminal);
  return absl::OkStatus();
}

}  // namespace

void AddMapCommands(CLI::App* app, Session* session) {
  auto options = std::make_shared<MapOptions>();
  CLI::App* map =
      AddCommand(app, session, "map", "The runs of the last tick in the plane",
                 [session, options] { return ShowMap(session, *options); });
  map->add_option("--svg", options->svg, "Write an SVG document instead")
      ->type_name("FILE");
  map->add_option("--html", options->html, "Write an HTML document instead")
      ->type_name("FILE");
  map->add_option("--points", options->points, "Draw at most so many runs")
      ->check(CLI::Range(1, 2000))
      ->type_name("N")
      ->capture_default_str();
}

}  // namespace faultline::cli
