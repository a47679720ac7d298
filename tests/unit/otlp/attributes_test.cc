#include "lib/ingest/otlp/attributes.h"

#include <limits>

#include "lib/ingest/otlp/json_value.h"
#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

KeyValues Attributes(AttributeList list) {
  KeyValues attributes;
  for (const auto& [key, value] : list) AddAttribute(key, value, &attributes);
  return attributes;
}

AnyValue Text(const std::string& text) {
  AnyValue value;
  value.set_string_value(text);
  return value;
}

TEST(AttributesTest, AreFoundByName) {
  const KeyValues attributes =
      Attributes({{"b.c", "x"}, {"a", 1}, {"b", true}, {"b.a", 2.5}});
  const AttributeTable table(attributes);
  EXPECT_EQ(table.view().Text("b.c"), "x");
  EXPECT_EQ(table.view().Count("a"), 1);
  EXPECT_EQ(table.view().Flag("b"), true);
  EXPECT_EQ(table.view().Find("b."), nullptr);
  EXPECT_EQ(table.view().Find("z"), nullptr);
  const AttributeView below = table.view().Under("b.");
  EXPECT_THAT(below, SizeIs(2));
  EXPECT_EQ(below.Number("a"), 2.5);
  EXPECT_EQ(below.Find("b.c"), nullptr);
}

TEST(AttributesTest, OfOneKeyTheLastCounts) {
  const KeyValues attributes = Attributes({{"a", "1"}, {"b", 1}, {"a", "2"}});
  const AttributeTable table(attributes);
  EXPECT_EQ(table.view().Text("a"), "2");
  EXPECT_THAT(table.view(), SizeIs(2));
}

TEST(AttributesTest, FlattenedListsKeepTheOrderOfTheirIndexes) {
  const KeyValues attributes = Attributes({{"list.10.name", "k"},
                                           {"list.2.name", "c"},
                                           {"list.2.inner.0.name", "i"},
                                           {"list.0.name", "a"},
                                           {"list.x.name", "no index"},
                                           {"list.3", "no element"},
                                           {"list.9999999999.name", "far"},
                                           {"lists.1.name", "other"}});
  const AttributeTable table(attributes);
  std::vector<std::string> names;
  for (const AttributeView& element : table.view().Elements("list")) {
    names.emplace_back(element.Text("name"));
  }
  EXPECT_THAT(names, ElementsAre("a", "c", "k"));
  const auto inner = table.view().Elements("list")[1].Elements("inner");
  ASSERT_THAT(inner, SizeIs(1));
  EXPECT_EQ(inner[0].Text("name"), "i");
}

TEST(AttributesTest, StringIndexesAreCountedAndAbsent) {
  KeyValues attributes = Attributes({{"a", "x"}});
  attributes.Add()->set_key_strindex(3);
  KeyValue& value = *attributes.Add();
  value.set_key("b");
  value.mutable_value()->set_string_value_strindex(4);
  const AttributeTable table(attributes);
  EXPECT_EQ(table.string_indexes(), 2);
  EXPECT_THAT(table.view(), SizeIs(1));
}

TEST(AttributesTest, NumbersMayComeAsText) {
  EXPECT_EQ(NumberOf(Text("2.5")), 2.5);
  EXPECT_EQ(CountOf(Text("12")), 12);
  EXPECT_EQ(NumberOf(Text("many")), std::nullopt);
  EXPECT_EQ(CountOf(Text("-1")), std::nullopt);
  EXPECT_EQ(CountOf(Text("1.5")), std::nullopt);
  AnyValue value;
  value.set_double_value(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(NumberOf(value), std::nullopt);
  EXPECT_EQ(CountOf(value), std::nullopt);
  value.set_double_value(1e300);
  EXPECT_EQ(CountOf(value), std::nullopt);
  value.set_int_value(-1);
  EXPECT_EQ(CountOf(value), std::nullopt);
}

TEST(AttributesTest, StructureBecomesJson) {
  AnyValue value;
  auto& map = *value.mutable_kvlist_value();
  AddAttribute("text", "a\"b", map.mutable_values());
  AddAttribute("number", 3, map.mutable_values());
  AddAttribute("fraction", 0.1, map.mutable_values());
  KeyValue& list = *map.add_values();
  list.set_key("list");
  auto& elements = *list.mutable_value()->mutable_array_value();
  elements.add_values()->set_bool_value(true);
  elements.add_values();
  elements.add_values()->set_bytes_value("\xff");
  EXPECT_EQ(TextOf(value),
            R"({"fraction":0.1,"list":[true,null,"/w=="],"number":3,)"
            R"("text":"a\"b"})");
}

TEST(AttributesTest, LongJsonIsNotRead) {
  EXPECT_TRUE(ReadJson(Text("[1]")).has_value());
  EXPECT_FALSE(ReadJson(Text("[1")).has_value());
  EXPECT_FALSE(
      ReadJson(Text("\"" + std::string(2 << 20, 'x') + "\"")).has_value());
  EXPECT_FALSE(ReadJson(Text(std::string(500000, '['))).has_value());
}

}  // namespace
}  // namespace faultline::otlp
