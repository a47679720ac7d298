#include "tests/fakes/fault_store.h"

#include <string>
#include <thread>

#include "lib/store/memory_store.h"
#include "tests/support/status_matchers.h"

namespace faultline::fakes {
namespace {

class FaultStoreTest : public ::testing::Test {
 protected:
  absl::Status Put(const std::string& key, const std::string& value,
                   bool sync) {
    store::WriteBatch batch;
    batch.Put(store::Family::kMeta, key, value);
    return store_.Write(batch, sync);
  }

  std::string Get(const std::string& key) {
    return store_.Get(store::Family::kMeta, key).value_or("(none)");
  }

  store::MemoryStore memory_;
  FaultStore store_{&memory_};
};

TEST_F(FaultStoreTest, FailsTheWritesItWasToldToAndNoOther) {
  store_.FailWrites(1, 2, FaultStore::Fault::kBeforeApplying,
                    absl::ResourceExhaustedError("full"));
  EXPECT_OK(Put("a", "1", true));
  for (const char* key : {"b", "c"}) {
    EXPECT_THAT(
        Put(key, "1", true),
        testing::StatusIs(absl::StatusCode::kResourceExhausted, "full"));
    EXPECT_EQ(Get(key), "(none)");
  }
  EXPECT_OK(Put("d", "1", true));
  EXPECT_EQ(store_.writes(), 4);
}

TEST_F(FaultStoreTest, AWriteMayBeAppliedAndStillFail) {
  store_.FailWrites(0, 1, FaultStore::Fault::kAfterApplying);
  EXPECT_FALSE(Put("a", "1", true).ok());
  EXPECT_EQ(Get("a"), "1");
  store_.Crash();
  EXPECT_EQ(Get("a"), "(none)");
}

TEST_F(FaultStoreTest, FailsReadsOfEveryKind) {
  const auto visit = [](absl::string_view, absl::string_view) { return true; };
  store_.FailReads(1, 3);
  EXPECT_OK(store_.MultiGet(store::Family::kMeta, {"a"}));
  EXPECT_FALSE(store_.MultiGet(store::Family::kMeta, {"a"}).ok());
  EXPECT_FALSE(store_.Scan(store::Family::kMeta, "", "", visit).ok());
  EXPECT_FALSE(store_.ScanReverse(store::Family::kMeta, "", "", visit).ok());
  EXPECT_OK(store_.Scan(store::Family::kMeta, "", "", visit));
}

TEST_F(FaultStoreTest, ACrashUndoesWhatNoSyncFollowed) {
  EXPECT_OK(Put("a", "1", false));
  EXPECT_OK(Put("b", "1", true));
  EXPECT_OK(Put("a", "2", false));
  EXPECT_OK(Put("a", "3", false));
  EXPECT_OK(Put("c", "1", false));
  EXPECT_EQ(Get("a"), "3");
  store_.Crash();
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(Get("b"), "1");
  EXPECT_EQ(Get("c"), "(none)");
}

TEST_F(FaultStoreTest, HoldsWritesUntilReleased) {
  store_.HoldWrites();
  std::thread writer([this] { EXPECT_OK(Put("a", "1", true)); });
  store_.WaitForHeldWrite();
  EXPECT_EQ(Get("a"), "(none)");
  store_.ReleaseWrites();
  writer.join();
  EXPECT_EQ(Get("a"), "1");
}

}  // namespace
}  // namespace faultline::fakes
