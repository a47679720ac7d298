#ifndef FAULTLINE_TESTS_BENCH_SYNTHETIC_TRACES_H_
#define FAULTLINE_TESTS_BENCH_SYNTHETIC_TRACES_H_

#include <cstdint>

#include "faultline/v1/trace.pb.h"

namespace faultline::bench {

// The i-th run of an endless stream of tool-calling runs of about 2 KB: six
// task types, three models, a dozen steps, eight ways to fail that leave a
// mark in the steps, and failures without any. Pure.
v1::Trace MakeSyntheticTrace(uint64_t i, uint64_t seed);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_SYNTHETIC_TRACES_H_
