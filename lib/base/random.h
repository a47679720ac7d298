#ifndef FAULTLINE_LIB_BASE_RANDOM_H_
#define FAULTLINE_LIB_BASE_RANDOM_H_

#include <cmath>
#include <cstdint>
#include <random>
#include <utility>

namespace faultline::base {

// Seeded pseudo-random numbers, the same on every machine: the engine is
// specified by the standard, the distributions are our own. Not thread-safe.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t Next() { return engine_(); }

  // In [0, 1).
  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

  // In [0, n), n > 0; without bias.
  uint64_t Below(uint64_t n) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x = engine_();
    while (x >= limit) x = engine_();
    return x % n;
  }

  bool Bernoulli(double p) { return Uniform() < p; }

  // Mean 0, variance 1 (Box and Muller 1958).
  double Normal() {
    const double u = 1 - Uniform();
    return std::sqrt(-2 * std::log(u)) *
           std::cos(6.283185307179586 * Uniform());
  }

  // Fisher and Yates.
  template <typename Container>
  void Shuffle(Container* items) {
    for (size_t i = items->size(); i > 1; --i) {
      using std::swap;
      swap((*items)[i - 1], (*items)[Below(i)]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_RANDOM_H_
