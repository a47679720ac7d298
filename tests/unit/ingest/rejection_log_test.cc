#include "lib/ingest/rejection_log.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"

namespace faultline::ingest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr auto kTooLong = v1::ErrorDetail::REASON_TOO_LONG;
constexpr auto kQuota = v1::ErrorDetail::REASON_QUOTA;

class RejectionLogTest : public ::testing::Test {
 protected:
  void Add(const std::string& project, const std::string& trace_id) {
    log_.Add(project, v1::RECORD_SOURCE_TRACE, absl::FromUnixSeconds(5),
             trace_id,
             base::MakeErrorDetail(kTooLong, "session_id", "at most 128 bytes",
                                   "has 129"));
  }

  // `number:trace_id`.
  std::vector<std::string> List(const std::string& project, uint64_t before = 0,
                                size_t limit = 100) {
    std::vector<std::string> listed;
    for (const auto& entry : log_.List(project, before, limit)) {
      listed.push_back(
          absl::StrCat(entry.number, ":", entry.record.trace_id()));
    }
    return listed;
  }

  RejectionLog log_;
};

TEST_F(RejectionLogTest, ListsTheLatestFirstInPages) {
  for (const char* id : {"a", "b", "c"}) Add("p", id);
  Add("q", "z");
  EXPECT_THAT(List("p"), ElementsAre("3:c", "2:b", "1:a"));
  EXPECT_THAT(List("p", 0, 2), ElementsAre("3:c", "2:b"));
  EXPECT_THAT(List("p", 2, 2), ElementsAre("1:a"));
  EXPECT_THAT(List("none"), IsEmpty());
}

TEST_F(RejectionLogTest, KeepsWhenWhatAndWhy) {
  Add("p", std::string(200, 'x'));
  const auto entries = log_.List("p", 0, 1);
  ASSERT_THAT(entries, SizeIs(1));
  const v1::RejectedRecord& record = entries[0].record;
  EXPECT_EQ(record.time().seconds(), 5);
  EXPECT_EQ(record.source(), v1::RECORD_SOURCE_TRACE);
  EXPECT_EQ(record.trace_id(), std::string(128, 'x'));
  EXPECT_EQ(record.error().field(), "session_id");
}

TEST_F(RejectionLogTest, CountsByReasonBeyondWhatItKeeps) {
  for (size_t i = 0; i < RejectionLog::kKept + 5; ++i) {
    Add("p", absl::StrCat(i));
  }
  log_.Count("p", kQuota, 7);
  EXPECT_THAT(log_.List("p", 0, 10'000), SizeIs(RejectionLog::kKept));
  EXPECT_THAT(
      log_.Counts("p"),
      ElementsAre(Pair(kTooLong, RejectionLog::kKept + 5), Pair(kQuota, 7)));
  EXPECT_THAT(log_.Counts("q"), IsEmpty());
}

TEST_F(RejectionLogTest, InventedProjectsDoNotFillTheMemory) {
  for (size_t i = 0; i < RejectionLog::kKeptProjects + 1; ++i) {
    Add(absl::StrCat("p", i), "a");
  }
  EXPECT_THAT(List("p0"), SizeIs(1));
  EXPECT_THAT(List(absl::StrCat("p", RejectionLog::kKeptProjects)), IsEmpty());
  EXPECT_THAT(List(RejectionLog::kOthers), SizeIs(1));
}

}  // namespace
}  // namespace faultline::ingest
