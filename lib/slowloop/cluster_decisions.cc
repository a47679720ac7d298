#include "lib/slowloop/cluster_decisions.h"

#include <algorithm>
#include <utility>

namespace faultline::slowloop {

using v1::ClusterReview;

ClusterDecisions::ClusterDecisions(const v1::TickState& previous)
    : aliases_(previous.aliases()),
      reviews_(previous.cluster_reviews().begin(),
               previous.cluster_reviews().end()) {}

std::string ClusterDecisions::Root(absl::string_view id) const {
  std::string root(id);
  // An alias is made of a living cluster, so there are no circles.
  for (auto next = aliases_.find(root); next != aliases_.end();
       next = aliases_.find(root)) {
    root = next->second;
  }
  return root;
}

std::vector<std::string> ClusterDecisions::AliasesOf(
    absl::string_view root) const {
  std::vector<std::string> ids;
  for (const auto& [id, next] : aliases_) {
    if (Root(id) == root) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void ClusterDecisions::AddAlias(absl::string_view id, absl::string_view root) {
  aliases_[std::string(id)] = std::string(root);
}

bool ClusterDecisions::Has(absl::string_view request_id) const {
  return !request_id.empty() &&
         std::any_of(reviews_.begin(), reviews_.end(),
                     [request_id](const ClusterReview& review) {
                       return review.request_id() == request_id;
                     });
}

void ClusterDecisions::Add(ClusterReview review) {
  review.clear_parts();
  reviews_.push_back(std::move(review));
}

const ClusterReview* ClusterDecisions::Rejection(absl::string_view root) const {
  for (const ClusterReview* review : ReviewsOf(root)) {
    if (review->decision() == ClusterReview::DECISION_REJECT &&
        review->problem().empty()) {
      return review;
    }
  }
  return nullptr;
}

std::string ClusterDecisions::Label(absl::string_view root) const {
  std::string own;
  std::string inherited;  // of a cluster that it took in
  for (const ClusterReview* review : ReviewsOf(root)) {
    if (review->decision() != ClusterReview::DECISION_LABEL ||
        !review->problem().empty()) {
      continue;
    }
    (review->cluster_id() == root ? own : inherited) = review->label();
  }
  return own.empty() ? inherited : own;
}

bool ClusterDecisions::IsWhole(absl::string_view root) const {
  bool whole = false;
  for (const ClusterReview* review : ReviewsOf(root)) {
    if (!review->problem().empty()) continue;
    switch (review->decision()) {
      case ClusterReview::DECISION_MERGE:
      case ClusterReview::DECISION_MUST_LINK:
      case ClusterReview::DECISION_REJECT:
        whole = true;
        break;
      case ClusterReview::DECISION_SPLIT:
      case ClusterReview::DECISION_CANNOT_LINK:
        if (!review->new_ids().empty()) whole = false;
        break;
      default:
        break;
    }
  }
  return whole;
}

std::set<std::pair<std::string, std::string>> ClusterDecisions::ApartPairs()
    const {
  std::set<std::pair<std::string, std::string>> pairs;
  for (const ClusterReview& review : reviews_) {
    if (!review.problem().empty() ||
        (review.decision() != ClusterReview::DECISION_SPLIT &&
         review.decision() != ClusterReview::DECISION_CANNOT_LINK)) {
      continue;
    }
    // What it set apart, by the ids that stand for it today.
    std::set<std::string> parts = {Root(review.cluster_id())};
    const auto& others =
        review.new_ids().empty() ? review.other_ids() : review.new_ids();
    for (const std::string& id : others) parts.insert(Root(id));
    for (const std::string& a : parts) {
      for (const std::string& b : parts) {
        if (a != b) pairs.emplace(a, b);
      }
    }
  }
  return pairs;
}

std::vector<const ClusterReview*> ClusterDecisions::ReviewsOf(
    absl::string_view root) const {
  std::vector<const ClusterReview*> about;
  for (const ClusterReview& review : reviews_) {
    const auto is_root = [&](const std::string& id) {
      return Root(id) == root;
    };
    if (is_root(review.cluster_id()) ||
        std::any_of(review.other_ids().begin(), review.other_ids().end(),
                    is_root)) {
      about.push_back(&review);
    }
  }
  return about;
}

void ClusterDecisions::StoreTo(v1::TickState* state) const {
  *state->mutable_aliases() = aliases_;
  for (const ClusterReview& review : reviews_) {
    *state->add_cluster_reviews() = review;
  }
}

}  // namespace faultline::slowloop
