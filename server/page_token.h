#ifndef FAULTLINE_SERVER_PAGE_TOKEN_H_
#define FAULTLINE_SERVER_PAGE_TOKEN_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::server {

// Where a list goes on. The token is opaque and bound to `scope` (method,
// parent and filter), so that the token of another list is refused rather
// than misread. It is no secret.

// Part of a list.
struct Page {
  uint64_t position = 0;  // as given to MakePageToken; 0: the beginning
  size_t size = 0;        // most elements
};

std::string MakePageToken(absl::string_view scope, uint64_t position);

// INVALID_ARGUMENT, naming `page_size` or `page_token`, where the size is not
// in 1 to 1000 (0: `default_size`) or the token was not made for `scope`.
absl::StatusOr<Page> ParsePage(absl::string_view scope, int32_t page_size,
                               size_t default_size,
                               absl::string_view page_token);

// Leaves the page's part of a whole list whose positions are indexes, and
// returns the token of the next page; empty on the last one.
template <typename T>
std::string TakePage(const Page& page, absl::string_view scope,
                     std::vector<T>* list) {
  const size_t begin = std::min<uint64_t>(page.position, list->size());
  const size_t end = begin + std::min(page.size, list->size() - begin);
  const bool last = end == list->size();
  list->erase(list->begin() + end, list->end());
  list->erase(list->begin(), list->begin() + begin);
  return last ? "" : MakePageToken(scope, end);
}

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_PAGE_TOKEN_H_
