#ifndef FAULTLINE_CLIENT_LAB_WORLD_H_
#define FAULTLINE_CLIENT_LAB_WORLD_H_

#include <array>
#include <cstdint>

namespace faultline::lab {

// What the parts of the runtime are, and so what an action can do. In none of
// them is an outcome written down: the parts differ, and the rest follows.
enum class World : uint8_t {
  // Every way to fail has its fix.
  kNormal,
  // No action can help: whatever a policy chooses, the same part answers.
  kNull,
  // Some of what a policy may choose is worse than what it replaces, and looks
  // better where the router's own choice goes by how easy a question is.
  kHarmful,
  // Normal until a tick, from which on some parts are worse ones.
  kDrift,
};

inline constexpr std::array<World, 4> kWorlds = {
    World::kNormal, World::kNull, World::kHarmful, World::kDrift};

constexpr const char* WorldName(World world) {
  switch (world) {
    case World::kNormal:
      return "normal";
    case World::kNull:
      return "null";
    case World::kHarmful:
      return "harmful";
    case World::kDrift:
      return "drift";
  }
  return "";
}

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_WORLD_H_
