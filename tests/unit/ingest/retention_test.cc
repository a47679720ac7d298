#include "lib/ingest/retention.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::ingest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

// One run for each letter, the first received longest ago, a day apart, the
// last now: `s` a success, `f` a failure, each of 100 bytes.
std::vector<RetainedRun> Runs(const std::string& letters) {
  std::vector<RetainedRun> runs;
  for (size_t i = 0; i < letters.size(); ++i) {
    runs.push_back(
        {.sequence = i + 1,
         .receive_time =
             kNow - absl::Hours(24) * static_cast<int>(letters.size() - 1 - i),
         .bytes = 100,
         .failed = letters[i] == 'f'});
  }
  return runs;
}

// `sequence:reason`.
std::vector<std::string> Expired(const std::vector<RetainedRun>& runs,
                                 const v1::RetentionConfig& limits) {
  std::vector<std::string> expired;
  for (const ExpiredRun& run : FindExpired(runs, limits, kNow)) {
    expired.push_back(
        absl::StrCat(run.sequence, ":",
                     v1::DeletionReason_Name(run.reason)
                         .substr(std::string("DELETION_REASON_").size())));
  }
  return expired;
}

void SetDays(int days, google::protobuf::Duration* duration) {
  duration->set_seconds(days * 24 * 3600);
}

TEST(RetentionTest, WithoutLimitsEverythingStays) {
  EXPECT_THAT(Expired(Runs("sfsfsf"), {}), IsEmpty());
  v1::RetentionConfig limits;
  limits.set_max_traces(6);
  limits.set_max_bytes(600);
  SetDays(5, limits.mutable_max_age());
  EXPECT_THAT(Expired(Runs("sfsfsf"), limits), IsEmpty());
}

TEST(RetentionTest, FailuresAreKeptFourTimesAsLongAsSuccesses) {
  v1::RetentionConfig limits;
  SetDays(1, limits.mutable_max_age());
  EXPECT_THAT(Expired(Runs("fsfsssfs"), limits),
              ElementsAre("1:AGE", "2:AGE", "3:AGE", "4:AGE", "5:AGE", "6:AGE"))
      << "six days";
  EXPECT_THAT(Expired(Runs("fsfss"), limits), ElementsAre("2:AGE"));
}

TEST(RetentionTest, OrAsLongAsIsSaid) {
  v1::RetentionConfig limits;
  SetDays(1, limits.mutable_max_age());
  SetDays(2, limits.mutable_failure_max_age());
  EXPECT_THAT(Expired(Runs("fsfss"), limits), ElementsAre("1:AGE", "2:AGE"));
}

TEST(RetentionTest, TheOldestSuccessesGoFirst) {
  v1::RetentionConfig limits;
  limits.set_max_traces(4);
  EXPECT_THAT(Expired(Runs("fsssfs"), limits),
              ElementsAre("2:COUNT", "3:COUNT"));
}

TEST(RetentionTest, UntilFailuresAreMoreThanHalf) {
  v1::RetentionConfig limits;
  limits.set_max_traces(3);
  // 2 and 3 go: failures are then three of five.
  EXPECT_THAT(Expired(Runs("fssfsfs"), limits),
              ElementsAre("1:COUNT", "2:COUNT", "3:COUNT", "5:COUNT"));
}

TEST(RetentionTest, OnlyFailuresGoWhereThereIsNothingElse) {
  v1::RetentionConfig limits;
  limits.set_max_traces(2);
  EXPECT_THAT(Expired(Runs("ffff"), limits), ElementsAre("1:COUNT", "2:COUNT"));
}

TEST(RetentionTest, BytesAreLimitedByTheirSumAndHalfIsHalfOfTheBytes) {
  std::vector<RetainedRun> runs = Runs("fssss");
  runs[0].bytes = 5000;
  v1::RetentionConfig limits;
  limits.set_max_bytes(5300);
  // One failure, but most of the bytes.
  EXPECT_THAT(Expired(runs, limits), ElementsAre("1:BYTES"));
  limits.set_max_bytes(399);
  EXPECT_THAT(Expired(runs, limits), ElementsAre("1:BYTES", "2:BYTES"));
}

TEST(RetentionTest, WhatAgeRemovedCountsNoMore) {
  v1::RetentionConfig limits;
  SetDays(2, limits.mutable_max_age());
  limits.set_max_traces(2);
  limits.set_max_bytes(100);
  EXPECT_THAT(Expired(Runs("sssss"), limits),
              ElementsAre("1:AGE", "2:AGE", "3:COUNT", "4:BYTES"));
}

TEST(RetentionTest, AClockThatWentBackExpiresNothingEarly) {
  std::vector<RetainedRun> runs = Runs("ss");
  for (RetainedRun& run : runs) run.receive_time = kNow + absl::Hours(1000);
  v1::RetentionConfig limits;
  SetDays(1, limits.mutable_max_age());
  EXPECT_THAT(Expired(runs, limits), IsEmpty());
}

TEST(RetentionTest, MillionsOfRunsAreNoMatter) {
  std::string letters(300'000, 's');
  for (size_t i = 0; i < letters.size(); i += 3) letters[i] = 'f';
  std::vector<RetainedRun> runs = Runs(letters);
  v1::RetentionConfig limits;
  limits.set_max_traces(1000);
  const auto expired = FindExpired(runs, limits, kNow);
  EXPECT_THAT(expired, SizeIs(299'000));
  EXPECT_TRUE(std::is_sorted(expired.begin(), expired.end(),
                             [](const ExpiredRun& a, const ExpiredRun& b) {
                               return a.sequence < b.sequence;
                             }));
}

}  // namespace
}  // namespace faultline::ingest
