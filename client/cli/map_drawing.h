#ifndef FAULTLINE_CLIENT_CLI_MAP_DRAWING_H_
#define FAULTLINE_CLIENT_CLI_MAP_DRAWING_H_

#include <string>

#include "client/cli/terminal.h"
#include "faultline/v1/behavior_service.pb.h"

// A map as a person sees it. Pure functions. Clusters have letters, largest
// first, in every form; colour is never the only carrier of meaning. Text that
// comes from traces is escaped.
namespace faultline::cli {

// A field of characters as wide as the terminal, and a legend. A cell shows the
// letter of the cluster that has most runs in it; else `x` where a failure of
// no cluster lies, `.` where only successes do.
std::string DrawMapText(const v1::GetMapResponse& map,
                        const Terminal& terminal);

// An SVG 1.1 document that needs no other file: a mark for each run, which
// names it when the pointer rests on it, and a legend.
std::string DrawMapSvg(const v1::GetMapResponse& map);

// An HTML document that needs no other file and runs no script: the same
// drawing, and the clusters as a table. `project`: its name.
std::string DrawMapHtml(const v1::GetMapResponse& map,
                        const std::string& project);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_MAP_DRAWING_H_
