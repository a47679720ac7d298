// Names, pages and checks of requests.
#include <numeric>
#include <string>
#include <vector>

#include "lib/base/error_detail.h"
#include "server/page_token.h"
#include "server/request_check.h"
#include "server/resource_name.h"
#include "tests/support/status_matchers.h"

namespace faultline::server {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ResourceNameTest, PartsAndWholeAgree) {
  ASSERT_OK_AND_ASSIGN(const std::string project,
                       ParseProjectName("parent", MakeProjectName("p-1")));
  EXPECT_EQ(project, "p-1");
  ASSERT_OK_AND_ASSIGN(
      const ResourceName name,
      ParseResourceName("name", MakeResourceName("p", "clusters", "c"),
                        "clusters"));
  EXPECT_EQ(name.project, "p");
  EXPECT_EQ(name.id, "c");
}

TEST(ResourceNameTest, TheIdOfATraceMayHaveSlashes) {
  ASSERT_OK_AND_ASSIGN(
      const ResourceName name,
      ParseResourceName("name", "projects/p/traces/a/b/", "traces"));
  EXPECT_EQ(name.id, "a/b/");
}

TEST(ResourceNameTest, AnyOtherFormNamesTheField) {
  for (const char* name :
       {"", "p", "projects", "projects/", "projects/P", "projects/p/",
        "projects/p/clusters", "/projects/p", "project/p", "projects/a b"}) {
    const auto parsed = ParseProjectName("parent", name);
    ASSERT_THAT(parsed, StatusIs(absl::StatusCode::kInvalidArgument, _))
        << name;
    EXPECT_EQ(base::GetErrorDetail(parsed.status())->field(), "parent") << name;
  }
  for (const std::string& name :
       {std::string("projects/p/clusters/"), std::string("projects/p"),
        std::string("projects/p/interventions/c"),
        std::string("projects/p/clusters/c/d"),
        std::string("projects/P/clusters/c"),
        "projects/p/clusters/" + std::string(129, 'c')}) {
    EXPECT_THAT(ParseResourceName("name", name, "clusters"),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << name;
  }
}

TEST(ResourceNameTest, AMissingNameIsRequired) {
  const auto parsed = ParseProjectName("parent", "");
  EXPECT_EQ(base::GetErrorDetail(parsed.status())->reason(),
            v1::ErrorDetail::REASON_REQUIRED);
}

TEST(PageTokenTest, LeadsBackToThePosition) {
  for (const uint64_t position : {uint64_t{1}, uint64_t{77}, UINT64_MAX}) {
    ASSERT_OK_AND_ASSIGN(
        const Page page,
        ParsePage("list", 5, 50, MakePageToken("list", position)));
    EXPECT_EQ(page.position, position);
    EXPECT_EQ(page.size, 5);
  }
}

TEST(PageTokenTest, SizesHaveADefaultAndALimit) {
  ASSERT_OK_AND_ASSIGN(const Page page, ParsePage("list", 0, 50, ""));
  EXPECT_EQ(page.size, 50);
  EXPECT_EQ(page.position, 0);
  EXPECT_OK(ParsePage("list", 1000, 50, ""));
  for (const int size : {-1, 1001}) {
    EXPECT_THAT(ParsePage("list", size, 50, ""),
                StatusIs(absl::StatusCode::kInvalidArgument, _));
  }
}

TEST(PageTokenTest, ForeignTokensAreRefused) {
  const std::string token = MakePageToken("list", 7);
  std::string changed = token;
  changed[changed.size() / 2] ^= 1;
  for (const std::string& bad :
       {changed, token + "A", token.substr(1), std::string("!"),
        MakePageToken("other list", 7)}) {
    EXPECT_THAT(ParsePage("list", 5, 50, bad),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << bad;
  }
}

TEST(TakePageTest, WalksTheWholeList) {
  Page page;
  page.size = 2;
  std::vector<int> seen;
  for (int pages = 0; pages < 3; ++pages) {
    std::vector<int> list(5);
    std::iota(list.begin(), list.end(), 0);
    const std::string token = TakePage(page, "list", &list);
    seen.insert(seen.end(), list.begin(), list.end());
    EXPECT_EQ(token.empty(), pages == 2);
    if (!token.empty()) page = *ParsePage("list", 2, 2, token);
  }
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 4));
}

TEST(TakePageTest, AListThatShrankEnds) {
  Page page;
  page.position = 9;
  page.size = 2;
  std::vector<int> list = {1, 2, 3};
  EXPECT_EQ(TakePage(page, "list", &list), "");
  EXPECT_THAT(list, IsEmpty());
}

TEST(RequestCheckTest, TellsMissingFromTooMuch) {
  EXPECT_OK(CheckLength("reviewer", "ann", 1, 3));
  EXPECT_EQ(base::GetErrorDetail(CheckLength("reviewer", "", 1, 3))->reason(),
            v1::ErrorDetail::REASON_REQUIRED);
  EXPECT_EQ(
      base::GetErrorDetail(CheckLength("reviewer", "anna", 1, 3))->reason(),
      v1::ErrorDetail::REASON_TOO_LONG);
  EXPECT_OK(CheckCount("traces", 0, 0, 3));
  EXPECT_EQ(base::GetErrorDetail(CheckCount("traces", 0, 1, 3))->reason(),
            v1::ErrorDetail::REASON_REQUIRED);
  EXPECT_EQ(base::GetErrorDetail(CheckCount("traces", 4, 1, 3))->reason(),
            v1::ErrorDetail::REASON_TOO_MANY);
}

}  // namespace
}  // namespace faultline::server
