#include <map>
#include <string>
#include <vector>

#include "client/lab/memory_store.h"
#include "client/lab/memory_world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

MemoryRecord Record(const std::string& record_class, const std::string& value,
                    int days, bool sourced = true) {
  MemoryRecord record;
  record.id = "ada/" + record_class;
  record.record_class = record_class;
  record.value = value;
  record.age = absl::Hours(24 * days);
  if (sourced) record.fields["source"] = "Uwe";
  return record;
}

std::vector<std::string> Values(const MemoryStore::Returned& returned) {
  std::vector<std::string> values;
  for (const MemoryRecord& record : returned.records) {
    values.push_back(record.value);
  }
  return values;
}

TEST(MemoryStoreTest, LetsTheLastWriteWin) {
  MemoryStore store;
  EXPECT_FALSE(store.Write(Record("place", "Oslo", 0)).late);
  const MemoryStore::Written late = store.Write(Record("place", "Lyon", 9));
  EXPECT_TRUE(late.late);
  EXPECT_TRUE(late.contradicts);
  EXPECT_FALSE(late.refused);
  EXPECT_EQ(late.record.version, 2);
  const MemoryStore::Returned read = store.Read("ada");
  EXPECT_THAT(Values(read), ElementsAre("Lyon"));
  // It shows that it had known better.
  ASSERT_THAT(read.skipped, SizeIs(1));
  EXPECT_EQ(read.skipped[0].reason, "conflict_overwritten");
  EXPECT_EQ(read.skipped[0].record.value, "Oslo");
  EXPECT_FALSE(store.Write(Record("place", "Lyon", 1)).contradicts);
  EXPECT_THAT(store.Read("ada").skipped, IsEmpty());
  EXPECT_THAT(store.Read("ad").records, IsEmpty());
}

TEST(MemoryStoreTest, RefusesALateWriteWhereASchemaSaysSo) {
  v1::MemorySchema schema;
  schema.set_record_class("place");
  schema.set_refuse_conflicting_writes(true);
  MemoryStore store({schema});
  store.Write(Record("place", "Oslo", 1));
  store.Write(Record("project", "mills", 1));
  EXPECT_TRUE(store.Write(Record("place", "Lyon", 9)).refused);
  EXPECT_FALSE(store.Write(Record("place", "Graz", 0)).refused);
  // Of another class.
  EXPECT_FALSE(store.Write(Record("project", "kilns", 9)).refused);
  EXPECT_THAT(Values(store.Read("ada")), ElementsAre("Graz", "kilns"));
}

TEST(MemoryStoreTest, ReturnsWhatKeepsTheBoundsAndSaysWhatDoesNot) {
  v1::MemorySchema age;
  age.mutable_max_age()->set_seconds(3 * 86400);
  age.set_record_class("place");
  v1::MemorySchema field;
  field.set_required_field("source");
  MemoryStore store({age, field});
  store.Write(Record("place", "Oslo", 4));
  store.Write(Record("project", "mills", 40));
  store.Write(Record("origin", "Porto", 0, /*sourced=*/false));
  const MemoryStore::Returned returned = store.Read("ada");
  EXPECT_THAT(Values(returned), ElementsAre("mills"));
  ASSERT_THAT(returned.skipped, SizeIs(2));
  EXPECT_EQ(returned.skipped[0].reason, "required_field");
  EXPECT_EQ(returned.skipped[1].reason, "max_age");
  EXPECT_EQ(returned.skipped[1].record.value, "Oslo");
}

TEST(MemoryWorldTest, AgentsCanReadWhatIsAsked) {
  base::Random random(5);
  std::map<std::string, int> kinds;
  for (int i = 0; i < 500; ++i) {
    const auto session = MakeMemorySession(World::kNormal, 2, &random);
    ASSERT_THAT(session, SizeIs(2));
    EXPECT_EQ(session[0].notebook->name, session[1].notebook->name);
    EXPECT_THAT(session[1].notebook->earlier, ElementsAre(session[0].question));
    for (const Problem& problem : session) {
      ++kinds[problem.kind];
      const MemoryTask task = ReadMemoryTask(problem.question);
      const std::string id = task.subject + "/" + task.record_class;
      // The directory holds the truth.
      ASSERT_EQ(problem.notebook->directory.count(id), 1u) << problem.question;
      EXPECT_EQ(problem.notebook->directory.at(id), problem.answer);
      if (problem.kind == "conflict") {
        ASSERT_FALSE(task.notes.empty());
        EXPECT_EQ(task.notes[0].id, id);
        EXPECT_GE(task.notes[0].age, absl::Hours(4 * 24));
      }
      if (problem.kind == "rumour") {
        EXPECT_THAT(task.notes[0].fields, IsEmpty());
      }
    }
  }
  EXPECT_THAT(kinds, SizeIs(5));
}

TEST(MemoryWorldTest, FactsChangeAsOftenAsTheyShould) {
  base::Random random(6);
  std::map<std::string, std::pair<int, int>> changed;  // by class: of how many
  for (int i = 0; i < 1000; ++i) {
    const auto session = MakeMemorySession(World::kNormal, 1, &random);
    for (const MemoryRecord& record : session[0].notebook->held) {
      if (record.age < absl::Hours(10 * 24)) continue;
      auto& [stale, all] = changed[record.record_class];
      ++all;
      stale += record.value != session[0].notebook->directory.at(record.id);
    }
  }
  const auto share = [&](const char* name) {
    return static_cast<double>(changed[name].first) / changed[name].second;
  };
  EXPECT_GT(share("place"), .75);
  EXPECT_GT(share("project"), .6);
  EXPECT_GT(share("place"), share("project"));
  EXPECT_EQ(changed["origin"].first, 0);
}

TEST(MemoryWorldTest, UnderstandsNothingElse) {
  EXPECT_EQ(ReadMemoryTask("What time is it?").subject, "");
  const MemoryTask task = ReadMemoryTask(
      "Note of Uwe, 99999999999999999999 days ago: Ada is in "
      "Oslo. Where is Ada?");
  EXPECT_THAT(task.notes, IsEmpty());
  EXPECT_EQ(task.subject, "ada");
}

}  // namespace
}  // namespace faultline::lab
