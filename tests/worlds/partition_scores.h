#ifndef FAULTLINE_TESTS_WORLDS_PARTITION_SCORES_H_
#define FAULTLINE_TESTS_WORLDS_PARTITION_SCORES_H_

#include <cstdint>
#include <vector>

namespace faultline::worlds {

// How well two labellings of the same things agree. Labels are any numbers;
// things with one label are one class, and so are those labelled -1. Pure
// functions; the vectors have the same length.

// Adjusted Rand index (Hubert and Arabie 1985): 1 where the partitions are the
// same, about 0 by chance.
double AdjustedRandIndex(const std::vector<int32_t>& truth,
                         const std::vector<int32_t>& found);

// Adjusted mutual information (Vinh, Epps and Bailey 2010), normalised by the
// arithmetic mean of the entropies.
double AdjustedMutualInformation(const std::vector<int32_t>& truth,
                                 const std::vector<int32_t>& found);

// Harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg
// 2007).
double VMeasure(const std::vector<int32_t>& truth,
                const std::vector<int32_t>& found);

// Share of things whose class is the most frequent one of their group.
double Purity(const std::vector<int32_t>& truth,
              const std::vector<int32_t>& found);

// Best F1 of each class 0 .. classes - 1 over the groups other than -1; 0 for
// a class that nothing has.
std::vector<double> BestF1(const std::vector<int32_t>& truth,
                           const std::vector<int32_t>& found, int classes);

}  // namespace faultline::worlds

#endif  // FAULTLINE_TESTS_WORLDS_PARTITION_SCORES_H_
