#include "lib/intervene/type_list.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

TEST(TypeListTest, HasEachKindOnceInOrder) {
  v1::InterventionKind previous = v1::INTERVENTION_KIND_UNSPECIFIED;
  for (const auto& type : InterventionTypes()) {
    EXPECT_GT(type->kind(), previous);
    previous = type->kind();
    EXPECT_EQ(FindInterventionType(type->kind()), type.get());
  }
  EXPECT_EQ(InterventionTypes().size(), 6u);
}

TEST(TypeListTest, KindsNobodyKnowsAreFoundNot) {
  EXPECT_EQ(FindInterventionType(v1::INTERVENTION_KIND_UNSPECIFIED), nullptr);
  EXPECT_EQ(FindInterventionType(static_cast<v1::InterventionKind>(99)),
            nullptr);
}

TEST(TypeListTest, TheArmsOfActionHaveTheNumbersOfTheirKinds) {
  const google::protobuf::OneofDescriptor* arms =
      v1::Action::descriptor()->FindOneofByName("kind");
  const google::protobuf::EnumDescriptor* kinds =
      v1::InterventionKind_descriptor();
  ASSERT_EQ(arms->field_count() + 1, kinds->value_count());
  for (int i = 0; i < arms->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* arm = arms->field(i);
    const auto* kind = kinds->FindValueByNumber(arm->number());
    ASSERT_NE(kind, nullptr) << arm->name();
    std::string name = arm->name();
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    EXPECT_EQ(kind->name(), "INTERVENTION_KIND_" + name);
  }
}

TEST(TypeListTest, RefusesAnActionWithoutAKnownArm) {
  const absl::Status status = ValidateAction(v1::Action());
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("action.kind")));
  ASSERT_TRUE(base::GetErrorDetail(status).has_value());
  EXPECT_EQ(base::GetErrorDetail(status)->reason(),
            v1::ErrorDetail::REASON_UNKNOWN_ENUM);
}

}  // namespace
}  // namespace faultline::intervene
