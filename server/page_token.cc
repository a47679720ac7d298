#include "server/page_token.h"

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"

namespace faultline::server {
namespace {

constexpr int32_t kMaxPageSize = 1000;

}  // namespace

std::string MakePageToken(absl::string_view scope, uint64_t position) {
  const uint64_t check = base::Hash64(scope, position);
  return absl::WebSafeBase64Escape(
      absl::StrCat(absl::Hex(check, absl::kZeroPad16), position));
}

absl::StatusOr<Page> ParsePage(absl::string_view scope, int32_t page_size,
                               size_t default_size,
                               absl::string_view page_token) {
  Page page;
  if (page_size < 0 || page_size > kMaxPageSize) {
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, "page_size",
                              absl::StrCat("1 to ", kMaxPageSize),
                              absl::StrCat("got ", page_size)));
  }
  page.size = page_size == 0 ? default_size : page_size;
  if (page_token.empty()) return page;

  std::string text;
  if (!absl::WebSafeBase64Unescape(page_token, &text) || text.size() < 17 ||
      !absl::SimpleAtoi(absl::string_view(text).substr(16), &page.position) ||
      MakePageToken(scope, page.position) != page_token) {
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_MALFORMED, "page_token",
            "next_page_token of the same list",
            "is not of this list; start again without a token"));
  }
  return page;
}

}  // namespace faultline::server
