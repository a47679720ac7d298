#include "lib/store/ordered_key.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::store {
namespace {

std::string Text(absl::string_view text) {
  std::string key;
  AppendText(text, &key);
  return key;
}

TEST(OrderedKeyTest, TextKeepsItsOrderAndComesBack) {
  const std::vector<std::string> ascending = {"",
                                              std::string("\x00", 1),
                                              std::string("\x00\x00", 2),
                                              std::string("\x00\x01", 2),
                                              std::string("\x00\xff", 2),
                                              std::string("\x01"),
                                              "a",
                                              std::string("a\x00", 2),
                                              std::string("a\x00\x62", 3),
                                              "a\x01",
                                              "ab",
                                              "b",
                                              "\xff",
                                              "\xff\xff"};
  for (size_t i = 0; i < ascending.size(); ++i) {
    const std::string key = Text(ascending[i]) + "rest";
    absl::string_view input = key;
    std::string text;
    ASSERT_TRUE(ConsumeText(&input, &text)) << i;
    EXPECT_EQ(text, ascending[i]);
    EXPECT_EQ(input, "rest");
    // Whatever follows: the order of the first component decides.
    if (i > 0) {
      EXPECT_LT(Text(ascending[i - 1]) + "\xff", Text(ascending[i])) << i;
    }
  }
}

TEST(OrderedKeyTest, NumbersKeepTheirOrderAndComeBack) {
  std::string previous;
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{255},
                                uint64_t{256}, uint64_t{1} << 63, UINT64_MAX}) {
    std::string key;
    AppendNumber(number, &key);
    ASSERT_EQ(key.size(), 8);
    EXPECT_LT(previous, key);
    previous = key;
    absl::string_view input = key;
    uint64_t read = 0;
    ASSERT_TRUE(ConsumeNumber(&input, &read));
    EXPECT_EQ(read, number);
    EXPECT_TRUE(input.empty());
  }
}

TEST(OrderedKeyTest, ComponentsComeBackInOrder) {
  std::string key;
  AppendText("project", &key);
  AppendNumber(7, &key);
  AppendText("id", &key);
  absl::string_view input = key;
  std::string text;
  uint64_t number = 0;
  EXPECT_TRUE(ConsumeText(&input, &text));
  EXPECT_EQ(text, "project");
  EXPECT_TRUE(ConsumeNumber(&input, &number));
  EXPECT_EQ(number, 7);
  EXPECT_TRUE(ConsumeText(&input, &text));
  EXPECT_EQ(text, "id");
}

TEST(OrderedKeyTest, BytesThatAreNoComponentAreRefused) {
  std::string text;
  uint64_t number = 0;
  for (const std::string& bytes :
       {std::string(), std::string("open end"), std::string("a\x00", 2),
        std::string("a\x00\x02", 3)}) {
    absl::string_view input = bytes;
    EXPECT_FALSE(ConsumeText(&input, &text)) << testing::PrintToString(bytes);
  }
  absl::string_view input = "1234567";
  EXPECT_FALSE(ConsumeNumber(&input, &number));
}

TEST(PrefixEndTest, IsAboveEveryKeyWithThePrefixAndNoOther) {
  EXPECT_EQ(PrefixEnd("ab"), "ac");
  EXPECT_EQ(PrefixEnd("a\xff\xff"), "b");
  EXPECT_EQ(PrefixEnd("\xff"), "");
  EXPECT_EQ(PrefixEnd(""), "");
  EXPECT_LT(Text("project") + "\xff\xff", PrefixEnd(Text("project")));
  EXPECT_LT(PrefixEnd(Text("project")), Text("project2"));
}

}  // namespace
}  // namespace faultline::store
