#ifndef FAULTLINE_LIB_SLOWLOOP_CLUSTER_DECISIONS_H_
#define FAULTLINE_LIB_SLOWLOOP_CLUSTER_DECISIONS_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/lineage.pb.h"
#include "faultline/v1/tick.pb.h"

namespace faultline::slowloop {

// What reviewers decided about clusters, and which ids stand for others. A
// later decision about the same clusters holds against an earlier one. Not
// thread-safe.
class ClusterDecisions {
 public:
  // As the previous tick left it.
  explicit ClusterDecisions(const v1::TickState& previous);

  // The cluster that lives on under `id`: itself, if it was never merged.
  std::string Root(absl::string_view id) const;
  // Ids that lead to the cluster, ascending; without its own.
  std::vector<std::string> AliasesOf(absl::string_view root) const;
  // From now on `id` leads to the cluster `root`.
  void AddAlias(absl::string_view id, absl::string_view root);

  // Whether a decision with this request id was recorded; false for an empty
  // one.
  bool Has(absl::string_view request_id) const;
  // In force from now on, unless it says of itself that it cannot be.
  void Add(v1::ClusterReview review);

  // Of living clusters, by root.
  //
  // The rejection in force; null: none.
  const v1::ClusterReview* Rejection(absl::string_view root) const;
  // The label in force; empty: none.
  std::string Label(absl::string_view root) const;
  // Whether whatever is mostly part of it is it: it was merged by a reviewer
  // and not split since, or it was rejected.
  bool IsWhole(absl::string_view root) const;
  // Pairs that must never be one; each in both orders.
  std::set<std::pair<std::string, std::string>> ApartPairs() const;
  // All decisions about it, those that could not be applied, too.
  std::vector<const v1::ClusterReview*> ReviewsOf(absl::string_view root) const;

  // Writes aliases and decisions, for the next tick.
  void StoreTo(v1::TickState* state) const;

 private:
  google::protobuf::Map<std::string, std::string> aliases_;
  std::vector<v1::ClusterReview> reviews_;  // in the order of the log
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_CLUSTER_DECISIONS_H_
