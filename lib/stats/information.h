#ifndef FAULTLINE_LIB_STATS_INFORMATION_H_
#define FAULTLINE_LIB_STATS_INFORMATION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

// What one labelling tells of another. Pure functions.

namespace faultline::stats {

// How often each pair of labels occurs. Only rows and columns that occur.
struct CrossTable {
  int64_t total = 0;
  std::vector<int64_t> row;     // sums, by label of the first labelling
  std::vector<int64_t> column;  // sums, by label of the second
  std::vector<int64_t> cell;    // row-major
};

// Counts the elements that both labellings know; a negative label is unknown.
// Requires equal lengths.
CrossTable CrossTabulate(absl::Span<const int32_t> a,
                         absl::Span<const int32_t> b);

// Mutual information in bits, less its bias where the labellings are
// independent, (rows - 1)(columns - 1) / (2 n ln 2) (Miller 1955); not below 0.
double MutualInformationBits(const CrossTable& table);

// Mutual information beyond what random tables with the same sums have, over
// the mean entropy beyond it (Vinh, Epps and Bailey 2010): 1 where the
// labellings are the same, about 0 where they are independent. 0 where one
// labelling has a single label, for then nothing can be told.
double AdjustedMutualInformation(const CrossTable& table);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_INFORMATION_H_
