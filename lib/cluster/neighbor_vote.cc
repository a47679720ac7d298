#include "lib/cluster/neighbor_vote.h"

#include <algorithm>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/cluster/duplicates.h"
#include "lib/space/knn_graph.h"

namespace faultline::cluster {
namespace {

// Reference runs at one point.
struct Voters {
  int64_t runs = 0;
  std::vector<std::pair<int32_t, int64_t>> modes;  // mode, runs
};

std::vector<Voters> CountVoters(const Folding& folding,
                                absl::Span<const int32_t> labels) {
  std::vector<Voters> voters(folding.first_row.size());
  for (size_t row = 0; row < labels.size(); ++row) {
    Voters& here = voters[folding.point[row]];
    ++here.runs;
    if (labels[row] < 0) continue;
    const auto entry = std::find_if(
        here.modes.begin(), here.modes.end(),
        [&](const auto& mode) { return mode.first == labels[row]; });
    if (entry == here.modes.end()) {
      here.modes.emplace_back(labels[row], 1);
    } else {
      ++entry->second;
    }
  }
  return voters;
}

// A mode and its share of the voters.
struct Winner {
  int32_t mode = -1;
  float share = 0;
};

// The mode with the most votes among the voters at `points`, nearest first.
// `votes` is scratch (by mode), zero on entry and on return.
Winner Vote(absl::Span<const int32_t> points, const std::vector<Voters>& voters,
            std::vector<double>* votes) {
  std::vector<int32_t> voted;
  int64_t missing = kVoters;
  for (const int32_t point : points) {
    if (point < 0 || missing <= 0) break;
    const Voters& here = voters[point];
    const int64_t taken = std::min(missing, here.runs);
    missing -= taken;
    for (const auto& [mode, runs] : here.modes) {
      if ((*votes)[mode] == 0) voted.push_back(mode);
      (*votes)[mode] += static_cast<double>(runs) * static_cast<double>(taken) /
                        static_cast<double>(here.runs);
    }
  }
  int32_t winner = -1;
  for (const int32_t mode : voted) {
    if ((*votes)[mode] < kLeastVotes) continue;
    if (winner < 0 || (*votes)[mode] > (*votes)[winner] ||
        ((*votes)[mode] == (*votes)[winner] && mode < winner)) {
      winner = mode;
    }
  }
  Winner result;
  if (winner >= 0) {
    result = {winner, static_cast<float>((*votes)[winner] / kVoters)};
  }
  for (const int32_t mode : voted) (*votes)[mode] = 0;
  return result;
}

}  // namespace

absl::StatusOr<Votes> VoteByNeighbors(const Reference& reference,
                                      absl::Span<const int32_t> label,
                                      int modes,
                                      absl::Span<const float> queries,
                                      int threads) {
  const Folding& voting = reference.folding;
  const std::vector<Voters> voters = CountVoters(voting, label);
  const Folding asking = FoldDuplicates(queries, reference.dimension);

  std::vector<double> votes(modes);
  std::vector<Winner> winners(asking.first_row.size());
  if (asking.located > 0 && voting.located > 0) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const space::KnnGraph knn,
        reference.index.Search(asking.vectors, kVoters, threads));
    for (int32_t point = 0; point < asking.located; ++point) {
      winners[point] =
          Vote(absl::MakeConstSpan(knn.neighbors)
                   .subspan(static_cast<size_t>(point) * knn.k, knn.k),
               voters, &votes);
    }
  }
  // Runs without any token are near to each other only.
  if (asking.located < static_cast<int32_t>(winners.size()) &&
      voting.located < static_cast<int32_t>(voters.size())) {
    winners[asking.located] = Vote({voting.located}, voters, &votes);
  }
  Votes result;
  result.mode.reserve(asking.point.size());
  result.share.reserve(asking.point.size());
  for (const int32_t point : asking.point) {
    result.mode.push_back(winners[point].mode);
    result.share.push_back(winners[point].share);
  }
  return result;
}

absl::StatusOr<Votes> VoteByNeighbors(absl::Span<const float> reference,
                                      absl::Span<const int32_t> label,
                                      int modes,
                                      absl::Span<const float> queries, int d,
                                      int threads) {
  FAULTLINE_ASSIGN_OR_RETURN(const Reference ready,
                             MakeReference(reference, d, threads));
  return VoteByNeighbors(ready, label, modes, queries, threads);
}

}  // namespace faultline::cluster
