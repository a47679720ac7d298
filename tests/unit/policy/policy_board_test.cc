#include "lib/policy/policy_board.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/policy/policy_compiler.h"
#include "lib/store/memory_store.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"
#include "tests/support/status_matchers.h"

namespace faultline::policy {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// The next version after `previous`, made different by its ttl.
v1::Policy Next(const v1::Policy& previous,
                const std::string& project = "shop") {
  v1::ProjectConfig config;
  config.mutable_policy_ttl()->set_seconds(100 + previous.version());
  return CompilePolicy({}, previous, config, project, previous.version() + 1,
                       absl::FromUnixSeconds(1'800'000'000));
}

class PolicyBoardTest : public ::testing::Test {
 protected:
  PolicyBoardTest() { Open(); }

  void Open() {
    ASSERT_OK_AND_ASSIGN(board_, PolicyBoard::Create(&store_, &clock_));
  }

  void Store(const std::string& project, const v1::Policy& policy) {
    store::WriteBatch batch;
    board_->Stage(project, policy, &batch);
    ASSERT_OK(store_.Write(batch, true));
  }

  // Stores and publishes the next version; returns it.
  v1::Policy Advance(const std::string& project = "shop") {
    v1::Policy next = Next(board_->Current(project)->policy(), project);
    Store(project, next);
    EXPECT_OK(board_->Publish(project, next));
    return next;
  }

  // Stores `bytes` in the place of a version.
  void Overwrite(uint64_t version, const v1::Policy& policy) {
    v1::Policy position = policy;
    position.set_version(version);
    store::WriteBatch place;
    board_->Stage("shop", position, &place);
    store::WriteBatch batch;
    batch.Put(store::Family::kPolicies, place.operations()[0].key,
              policy.SerializeAsString());
    ASSERT_OK(store_.Write(batch, true));
  }

  store::MemoryStore store_;
  fakes::FakeClock clock_;
  std::unique_ptr<PolicyBoard> board_;
};

TEST_F(PolicyBoardTest, StartsWithTheEmptyVersionZero) {
  const auto current = board_->Current("shop");
  EXPECT_EQ(current->policy().version(), 0);
  EXPECT_THAT(current->policy().rules(), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto versions, board_->Versions("shop", 0, 10));
  EXPECT_THAT(versions, IsEmpty());
}

TEST_F(PolicyBoardTest, AStagedVersionIsNotVisible) {
  const v1::Policy first = Next({});
  Store("shop", first);
  EXPECT_EQ(board_->Current("shop")->policy().version(), 0);
  EXPECT_OK(board_->Publish("shop", first));
  EXPECT_EQ(board_->Current("shop")->policy().version(), 1);
}

TEST_F(PolicyBoardTest, ProjectsDoNotMix) {
  Advance("shop");
  Advance("shop");
  Advance("shop2");
  EXPECT_EQ(board_->Current("shop")->policy().version(), 2);
  EXPECT_EQ(board_->Current("shop2")->policy().version(), 1);
  EXPECT_EQ(board_->Current("sho")->policy().version(), 0);
  ASSERT_OK_AND_ASSIGN(const auto versions, board_->Versions("shop", 0, 10));
  EXPECT_THAT(versions, SizeIs(2));
}

TEST_F(PolicyBoardTest, AReopenedBoardGoesOnWhereItEnded) {
  Advance();
  const v1::Policy second = Advance();
  Advance("another");
  Open();
  EXPECT_EQ(board_->Current("shop")->policy().digest(), second.digest());
  EXPECT_EQ(board_->Current("another")->policy().version(), 1);
  EXPECT_EQ(Advance().version(), 3);
}

TEST_F(PolicyBoardTest, PublishRefusesWhatDoesNotFollow) {
  const v1::Policy first = Advance();
  const v1::Policy second = Next(first);
  EXPECT_THAT(board_->Publish("shop", second),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is not stored")));
  Store("shop", second);
  v1::Policy fork = second;
  fork.set_parent_digest("other");
  EXPECT_THAT(board_->Publish("shop", fork),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("does not follow")));
  v1::Policy altered = second;
  altered.set_digest("other");
  EXPECT_THAT(board_->Publish("shop", altered),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("differs from the stored one")));
  EXPECT_THAT(board_->Publish("shop", Next(second)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("does not follow")));
  EXPECT_EQ(board_->Current("shop")->policy().version(), 1);
}

TEST_F(PolicyBoardTest, PublishingTheCurrentVersionAgainDoesNothing) {
  const v1::Policy first = Advance();
  int calls = 0;
  board_->Watch("shop", [&](auto) { ++calls; });
  EXPECT_OK(board_->Publish("shop", first));
  EXPECT_EQ(calls, 0);
}

TEST_F(PolicyBoardTest, CreateNamesAVersionWhoseBytesChanged) {
  Advance();
  v1::Policy second = Advance();
  Advance();
  second.set_global_holdout(0.9);
  Overwrite(2, second);
  EXPECT_THAT(PolicyBoard::Create(&store_, &clock_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("projects/shop/policies/2 does not fit its "
                                 "digest")));
}

TEST_F(PolicyBoardTest, CreateNamesAVersionOfAnotherChain) {
  Advance();
  v1::Policy second = Advance();
  second.set_parent_digest("other");
  second.set_digest(PolicyDigest(second));
  Overwrite(2, second);
  EXPECT_THAT(PolicyBoard::Create(&store_, &clock_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("projects/shop/policies/2 does not fit its "
                                 "parent")));
}

TEST_F(PolicyBoardTest, CreateNamesAMissingVersion) {
  Advance();
  const v1::Policy second = Advance();
  Advance();
  store::WriteBatch place;
  board_->Stage("shop", second, &place);
  store::WriteBatch batch;
  batch.Delete(store::Family::kPolicies, place.operations()[0].key);
  ASSERT_OK(store_.Write(batch, true));
  EXPECT_THAT(PolicyBoard::Create(&store_, &clock_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("projects/shop/policies/2 is missing")));
}

TEST_F(PolicyBoardTest, ReturnsTheErrorsOfItsStore) {
  Advance();
  fakes::FaultStore fault(&store_);
  fault.FailReads(0, 1);
  EXPECT_THAT(PolicyBoard::Create(&fault, &clock_),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
}

TEST_F(PolicyBoardTest, HistoryIsLatestFirstAndPages) {
  for (int i = 0; i < 5; ++i) Advance();
  const auto versions = [this](uint64_t before, int limit) {
    std::vector<uint64_t> numbers;
    const auto policies = board_->Versions("shop", before, limit);
    EXPECT_OK(policies);
    for (const v1::Policy& policy : *policies) {
      numbers.push_back(policy.version());
    }
    return numbers;
  };
  EXPECT_THAT(versions(0, 3), ElementsAre(5, 4, 3));
  EXPECT_THAT(versions(3, 3), ElementsAre(2, 1));
  EXPECT_THAT(versions(0, 0), IsEmpty());
  EXPECT_THAT(versions(1, 3), IsEmpty());
}

TEST_F(PolicyBoardTest, VersionFindsOneOrSaysNotFound) {
  const v1::Policy first = Advance();
  Advance();
  ASSERT_OK_AND_ASSIGN(const v1::Policy found, board_->Version("shop", 1));
  EXPECT_EQ(found.digest(), first.digest());
  EXPECT_THAT(board_->Version("shop", 3),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("projects/shop/policies/3")));
}

TEST_F(PolicyBoardTest, WatchersSeeLaterVersionsOfTheirProjectInOrder) {
  Advance();
  std::vector<uint64_t> seen;
  const uint64_t id = board_->Watch("shop", [&](auto matcher) {
    seen.push_back(matcher->policy().version());
  });
  EXPECT_GT(id, 0);
  Advance();
  Advance("another");
  Advance();
  board_->Unwatch(id);
  Advance();
  EXPECT_THAT(seen, ElementsAre(2, 3));
}

TEST_F(PolicyBoardTest, UnwatchWaitsForACallInProgress) {
  absl::Notification entered;
  absl::Notification leave;
  bool done = false;
  const uint64_t id = board_->Watch("shop", [&](auto) {
    entered.Notify();
    leave.WaitForNotification();
    done = true;
  });
  std::thread publisher([&] { Advance(); });
  entered.WaitForNotification();
  std::thread leaver([&] { leave.Notify(); });
  board_->Unwatch(id);
  EXPECT_TRUE(done);
  publisher.join();
  leaver.join();
}

TEST_F(PolicyBoardTest, ReadersAlwaysSeeAWholeVersionWhileItChanges) {
  Advance();
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  readers.reserve(2);
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      uint64_t last = 0;
      while (!stop) {
        const auto matcher = board_->Current("shop");
        const v1::Policy& policy = matcher->policy();
        EXPECT_GE(policy.version(), last);
        EXPECT_EQ(policy.ttl().seconds(), 99 + policy.version());
        last = policy.version();
      }
    });
  }
  for (int i = 0; i < 50; ++i) Advance();
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(PolicyBoardTest, RoutersAreListedByIdWithTheirSkew) {
  Advance();
  Advance();
  Advance();
  board_->NoteRouter("shop", {.router_id = "b",
                              .applied_version = 1,
                              .sent_version = 3,
                              .watching = true,
                              .nack_reason = "unknown action"});
  clock_.Advance(absl::Seconds(5));
  board_->NoteRouter("shop", {.router_id = "a", .applied_version = 3});
  board_->NoteRouter("another", {.router_id = "c"});
  board_->NoteRouter("shop", {.router_id = ""});
  const std::vector<v1::Router> routers = board_->Routers("shop");
  ASSERT_THAT(routers, SizeIs(2));
  EXPECT_EQ(routers[0].router_id(), "a");
  EXPECT_EQ(routers[0].version_skew(), 0);
  EXPECT_EQ(routers[1].router_id(), "b");
  EXPECT_EQ(routers[1].version_skew(), 2);
  EXPECT_EQ(routers[1].sent_version(), 3);
  EXPECT_TRUE(routers[1].watching());
  EXPECT_EQ(routers[1].nack_reason(), "unknown action");
  EXPECT_EQ(routers[0].last_seen_time().seconds() -
                routers[1].last_seen_time().seconds(),
            5);
}

TEST_F(PolicyBoardTest, ARouterIsForgottenOnlyForOneHeardOfLater) {
  for (int i = 0; i < 10000; ++i) {
    board_->NoteRouter("shop", {.router_id = absl::StrCat("r", i)});
  }
  board_->NoteRouter("shop", {.router_id = "r0"});
  board_->NoteRouter("shop", {.router_id = "newcomer"});
  const std::vector<v1::Router> routers = board_->Routers("shop");
  EXPECT_THAT(routers, SizeIs(10000));
  std::vector<std::string> missing = {"r0", "r1", "newcomer"};
  for (const v1::Router& router : routers) {
    std::erase(missing, router.router_id());
  }
  EXPECT_THAT(missing, ElementsAre("r1"));
}

}  // namespace
}  // namespace faultline::policy
