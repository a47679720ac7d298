#include "lib/policy/policy_board.h"

#include <iterator>
#include <list>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/policy/policy_compiler.h"
#include "lib/store/ordered_key.h"

namespace faultline::policy {
namespace {

constexpr size_t kMaxRouters = 10000;
// Any caller can name a project, whether it exists or not.
constexpr size_t kMaxRouterProjects = 1000;

std::string VersionKey(absl::string_view project, uint64_t version) {
  std::string key;
  store::AppendText(project, &key);
  store::AppendNumber(version, &key);
  return key;
}

std::string ResourceName(absl::string_view project, uint64_t version) {
  return absl::StrCat("projects/", project, "/policies/", version);
}

absl::StatusOr<v1::Policy> ParsePolicy(absl::string_view project,
                                       uint64_t version,
                                       absl::string_view bytes) {
  v1::Policy policy;
  if (!policy.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      policy.version() != version || policy.digest() != PolicyDigest(policy)) {
    return absl::DataLossError(
        absl::StrCat(ResourceName(project, version),
                     " does not fit its digest; restore a backup"));
  }
  return policy;
}

// The newest version seen so far of the project that is being read.
struct Chain {
  std::string project;
  v1::Policy newest;
};

class StoredPolicyBoard : public PolicyBoard {
 public:
  StoredPolicyBoard(store::KeyValueStore* store, const base::Clock* clock)
      : store_(store),
        clock_(clock),
        empty_(PolicyMatcher::Create(v1::Policy())) {}

  absl::Status Load() ABSL_LOCKS_EXCLUDED(mutex_) {
    Chain chain;
    absl::Status verdict;
    FAULTLINE_RETURN_IF_ERROR(
        store_->Scan(store::Family::kPolicies, "", "",
                     [&](absl::string_view key, absl::string_view value) {
                       verdict = Follow(key, value, &chain);
                       return verdict.ok();
                     }));
    FAULTLINE_RETURN_IF_ERROR(verdict);
    SetCurrent(chain.project, std::move(chain.newest));
    return absl::OkStatus();
  }

  void Stage(absl::string_view project, const v1::Policy& policy,
             store::WriteBatch* batch) const override {
    batch->Put(store::Family::kPolicies, VersionKey(project, policy.version()),
               policy.SerializeAsString());
  }

  absl::Status Publish(absl::string_view project,
                       const v1::Policy& policy) override
      ABSL_LOCKS_EXCLUDED(publish_mutex_, mutex_) {
    // Held while the watchers are called: they see the versions in order, and
    // Unwatch waits for them.
    absl::MutexLock lock(&publish_mutex_);
    const std::shared_ptr<const PolicyMatcher> current = Current(project);
    const v1::Policy& previous = current->policy();
    if (policy.version() == previous.version() &&
        policy.digest() == previous.digest()) {
      return absl::OkStatus();
    }
    if (policy.version() != previous.version() + 1 ||
        policy.parent_digest() != previous.digest()) {
      return absl::FailedPreconditionError(absl::StrCat(
          ResourceName(project, policy.version()),
          " does not follow the current version ", previous.version()));
    }
    const absl::StatusOr<v1::Policy> stored =
        Version(project, policy.version());
    if (absl::IsNotFound(stored.status())) {
      return absl::FailedPreconditionError(
          absl::StrCat(ResourceName(project, policy.version()),
                       " is not stored; write its staged batch first"));
    }
    FAULTLINE_RETURN_IF_ERROR(stored.status());
    if (policy.digest() != stored->digest()) {
      return absl::FailedPreconditionError(
          absl::StrCat(ResourceName(project, policy.version()),
                       " differs from the stored one"));
    }
    const std::shared_ptr<const PolicyMatcher> next =
        SetCurrent(project, *stored);
    for (const auto& [id, entry] : watchers_) {
      if (entry.project == project) entry.watcher(next);
    }
    return absl::OkStatus();
  }

  std::shared_ptr<const PolicyMatcher> Current(
      absl::string_view project) const override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::ReaderMutexLock lock(&mutex_);
    const auto it = current_.find(project);
    return it == current_.end() ? empty_ : it->second;
  }

  absl::StatusOr<v1::Policy> Version(absl::string_view project,
                                     uint64_t version) const override {
    const absl::StatusOr<std::string> bytes =
        store_->Get(store::Family::kPolicies, VersionKey(project, version));
    if (absl::IsNotFound(bytes.status())) {
      return base::DetailedError(
          absl::StatusCode::kNotFound,
          base::MakeErrorDetail(
              v1::ErrorDetail::REASON_NOT_FOUND, "version",
              "a version that ListPolicyVersions names",
              absl::StrCat("there is no ", ResourceName(project, version))));
    }
    FAULTLINE_RETURN_IF_ERROR(bytes.status());
    return ParsePolicy(project, version, *bytes);
  }

  absl::StatusOr<std::vector<v1::Policy>> Versions(absl::string_view project,
                                                   uint64_t before,
                                                   int limit) const override {
    std::vector<v1::Policy> policies;
    absl::Status verdict;
    if (limit <= 0) return policies;
    FAULTLINE_RETURN_IF_ERROR(store_->ScanReverse(
        store::Family::kPolicies, VersionKey(project, 0),
        VersionKey(project, before == 0 ? UINT64_MAX : before),
        [&](absl::string_view, absl::string_view value) {
          v1::Policy policy;
          if (!policy.ParseFromArray(value.data(),
                                     static_cast<int>(value.size()))) {
            verdict = absl::DataLossError(absl::StrCat(
                "a policy of projects/", project, " cannot be read"));
            return false;
          }
          policies.push_back(std::move(policy));
          return policies.size() < static_cast<size_t>(limit);
        }));
    FAULTLINE_RETURN_IF_ERROR(verdict);
    return policies;
  }

  uint64_t Watch(absl::string_view project, Watcher watcher) override
      ABSL_LOCKS_EXCLUDED(publish_mutex_) {
    absl::MutexLock lock(&publish_mutex_);
    const uint64_t id = ++last_watcher_;
    WatcherEntry& entry = watchers_[id];
    entry.project.assign(project.data(), project.size());
    entry.watcher = std::move(watcher);
    return id;
  }

  void Unwatch(uint64_t id) override ABSL_LOCKS_EXCLUDED(publish_mutex_) {
    absl::MutexLock lock(&publish_mutex_);
    watchers_.erase(id);
  }

  void NoteRouter(absl::string_view project, const RouterNote& note) override
      ABSL_LOCKS_EXCLUDED(router_mutex_) {
    if (note.router_id.empty()) return;
    const absl::Duration seen = clock_->Now() - absl::UnixEpoch();
    v1::Router router;
    router.set_router_id(note.router_id);
    router.set_applied_version(note.applied_version);
    router.set_sent_version(note.sent_version);
    router.set_watching(note.watching);
    router.set_nack_reason(note.nack_reason);
    absl::Duration nanos;
    router.mutable_last_seen_time()->set_seconds(
        absl::IDivDuration(seen, absl::Seconds(1), &nanos));
    router.mutable_last_seen_time()->set_nanos(
        static_cast<int32_t>(absl::ToInt64Nanoseconds(nanos)));

    absl::MutexLock lock(&router_mutex_);
    if (routers_.size() >= kMaxRouterProjects && !routers_.contains(project)) {
      return;
    }
    RouterTable& table = routers_[project];
    const auto known = table.by_id.find(note.router_id);
    if (known != table.by_id.end()) {
      table.by_age.erase(known->second);
    } else if (table.by_id.size() == kMaxRouters) {
      table.by_id.erase(table.by_age.front().router_id());
      table.by_age.pop_front();
    }
    table.by_age.push_back(std::move(router));
    table.by_id[note.router_id] = std::prev(table.by_age.end());
  }

  std::vector<v1::Router> Routers(absl::string_view project) const override
      ABSL_LOCKS_EXCLUDED(router_mutex_, mutex_) {
    const uint64_t current = Current(project)->policy().version();
    std::vector<v1::Router> routers;
    absl::MutexLock lock(&router_mutex_);
    const auto table = routers_.find(project);
    if (table == routers_.end()) return routers;
    for (const auto& [id, position] : table->second.by_id) {
      routers.push_back(*position);
      const uint64_t applied = position->applied_version();
      routers.back().set_version_skew(current > applied ? current - applied
                                                        : 0);
    }
    return routers;
  }

 private:
  struct WatcherEntry {
    std::string project;
    Watcher watcher;
  };
  struct RouterTable {
    std::list<v1::Router> by_age;  // heard of longest ago first
    std::map<std::string, std::list<v1::Router>::iterator> by_id;
  };

  // Takes the next entry of the scan, and checks that it follows the last.
  absl::Status Follow(absl::string_view key, absl::string_view value,
                      Chain* chain) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::string project;
    absl::string_view rest = key;
    if (!store::ConsumeText(&rest, &project)) {
      return absl::DataLossError("a key of the policies cannot be read");
    }
    if (project != chain->project) {
      SetCurrent(chain->project, std::move(chain->newest));
      *chain = Chain{project, v1::Policy()};
    }
    const uint64_t version = chain->newest.version() + 1;
    if (key != VersionKey(project, version)) {
      return absl::DataLossError(absl::StrCat(ResourceName(project, version),
                                              " is missing; restore a backup"));
    }
    FAULTLINE_ASSIGN_OR_RETURN(v1::Policy policy,
                               ParsePolicy(project, version, value));
    if (policy.parent_digest() != chain->newest.digest()) {
      return absl::DataLossError(
          absl::StrCat(ResourceName(project, version),
                       " does not fit its parent; restore a backup"));
    }
    chain->newest = std::move(policy);
    return absl::OkStatus();
  }

  std::shared_ptr<const PolicyMatcher> SetCurrent(absl::string_view project,
                                                  v1::Policy policy)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    if (policy.version() == 0) return empty_;
    std::shared_ptr<const PolicyMatcher> matcher =
        PolicyMatcher::Create(std::move(policy));
    absl::MutexLock lock(&mutex_);
    current_[project] = matcher;
    return matcher;
  }

  store::KeyValueStore* const store_;
  const base::Clock* const clock_;
  const std::shared_ptr<const PolicyMatcher> empty_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<const PolicyMatcher>>
      current_ ABSL_GUARDED_BY(mutex_);

  absl::Mutex publish_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  uint64_t last_watcher_ ABSL_GUARDED_BY(publish_mutex_) = 0;
  std::map<uint64_t, WatcherEntry> watchers_ ABSL_GUARDED_BY(publish_mutex_);

  mutable absl::Mutex router_mutex_;
  absl::flat_hash_map<std::string, RouterTable> routers_
      ABSL_GUARDED_BY(router_mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<PolicyBoard>> PolicyBoard::Create(
    store::KeyValueStore* store, const base::Clock* clock) {
  auto board = std::make_unique<StoredPolicyBoard>(store, clock);
  FAULTLINE_RETURN_IF_ERROR(board->Load());
  return board;
}

}  // namespace faultline::policy
