#ifndef FAULTLINE_LIB_POLICY_POLICY_BOARD_H_
#define FAULTLINE_LIB_POLICY_POLICY_BOARD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/policy.pb.h"
#include "lib/base/clock.h"
#include "lib/policy/policy_matcher.h"
#include "lib/store/key_value_store.h"

namespace faultline::policy {

// Current policy, history, watchers and routers of every project. History is
// in the store; the current version is an immutable snapshot behind a pointer.
// Does not own the store or the clock. Thread-safe.
class PolicyBoard {
 public:
  // Called with each new version, from the publishing thread; must not block
  // nor call the board.
  using Watcher = std::function<void(std::shared_ptr<const PolicyMatcher>)>;

  // Reads every project's chain; DATA_LOSS names the version whose digest or
  // parent does not fit.
  static absl::StatusOr<std::unique_ptr<PolicyBoard>> Create(
      store::KeyValueStore* store, const base::Clock* clock);

  virtual ~PolicyBoard() = default;

  // Adds the version to `batch`, so that it is stored with its tick. Nothing
  // is visible before Publish. A version that does not change needs neither.
  virtual void Stage(absl::string_view project, const v1::Policy& policy,
                     store::WriteBatch* batch) const = 0;

  // Makes a stored version current and tells the watchers. Publishing the
  // current version again does nothing. FAILED_PRECONDITION where it does not
  // follow the current one, its digest is wrong or it is not stored; returns
  // the store's errors.
  virtual absl::Status Publish(absl::string_view project,
                               const v1::Policy& policy) = 0;

  // The current policy; version 0 without rules where there is none.
  virtual std::shared_ptr<const PolicyMatcher> Current(
      absl::string_view project) const = 0;

  // One version. NOT_FOUND where there is none.
  virtual absl::StatusOr<v1::Policy> Version(absl::string_view project,
                                             uint64_t version) const = 0;

  // Versions below `before` (0: all), latest first, at most `limit`.
  virtual absl::StatusOr<std::vector<v1::Policy>> Versions(
      absl::string_view project, uint64_t before, int limit) const = 0;

  // Registers a watcher; returns its id, above 0. It is called for later
  // versions only, so read Current after Watch, not before.
  virtual uint64_t Watch(absl::string_view project, Watcher watcher) = 0;
  // After it returns the watcher is not called any more: it waits for a call
  // in progress, so hold no lock that the watcher takes.
  virtual void Unwatch(uint64_t id) = 0;

  // Notes what a router does. An empty router id is ignored. At most 10000
  // routers a project; the one heard of longest ago is forgotten.
  struct RouterNote {
    std::string router_id;
    uint64_t applied_version = 0;
    uint64_t sent_version = 0;
    bool watching = false;
    std::string nack_reason{};
  };
  virtual void NoteRouter(absl::string_view project,
                          const RouterNote& note) = 0;

  // Routers, ascending by id.
  virtual std::vector<v1::Router> Routers(absl::string_view project) const = 0;
};

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_POLICY_BOARD_H_
