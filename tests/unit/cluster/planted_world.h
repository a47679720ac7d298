#ifndef FAULTLINE_TESTS_UNIT_CLUSTER_PLANTED_WORLD_H_
#define FAULTLINE_TESTS_UNIT_CLUSTER_PLANTED_WORLD_H_

#include <cstdint>
#include <vector>

#include "lib/base/random.h"
#include "lib/cluster/clusterer.h"

namespace faultline::cluster {

// Failures and successes with known modes. Owns what a ClusteringInput views.
struct PlantedWorld {
  int dimension = 0;
  std::vector<float> failures;  // n x d
  std::vector<int32_t> mode;    // n: planted mode, or -1: no pattern
  std::vector<float> pooled;    // failures, then successes
  std::vector<bool> pooled_failed;
  std::vector<int32_t> failure_row;  // n

  ClusteringInput Input() const;
};

// Unit vectors around `modes` random centres, with Gaussian noise of norm about
// `spread`, and `noise` vectors in random directions; then `successes` more.
PlantedWorld MakeGaussianWorld(int modes, int per_mode, int noise,
                               int successes, double spread, int d,
                               base::Random* random);

// Bags of tokens, hashed by sign into two blocks of equal weight: tool calls,
// tilted by one of five tasks, and errors, two common ones in every run. A run
// of a mode has the three errors of its mode twice, each with probability
// `signature`; successes and other failures have none.
PlantedWorld MakeTokenWorld(int modes, int per_mode, int noise, int successes,
                            double signature, int d, base::Random* random);

// Adjusted Rand index of two labellings over the elements where `planted` is
// not -1 (Hubert and Arabie 1985); a -1 in `found` is a class of its own.
double PlantedAgreement(const std::vector<int32_t>& planted,
                        const std::vector<int32_t>& found);

}  // namespace faultline::cluster

#endif  // FAULTLINE_TESTS_UNIT_CLUSTER_PLANTED_WORLD_H_
