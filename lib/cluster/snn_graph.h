#ifndef FAULTLINE_LIB_CLUSTER_SNN_GRAPH_H_
#define FAULTLINE_LIB_CLUSTER_SNN_GRAPH_H_

#include <cstddef>

#include "lib/cluster/leiden.h"
#include "lib/space/knn_graph.h"

namespace faultline::cluster {

// Neighbours to take among n points: 15 (n / 1000)^0.35, in [12, 64] (METHODS
// 2.1, step 3); fewer where there are fewer points.
int SnnNeighbors(size_t n);

// Shared-nearest-neighbour graph: points are joined where one is a neighbour of
// the other, by the Jaccard similarity of their neighbourhoods, themselves
// included (Levine et al. 2015). Weights in (0, 1]. Pure; the result does not
// depend on `threads`.
Graph BuildSnnGraph(const space::KnnGraph& knn, int threads);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_SNN_GRAPH_H_
