#ifndef FAULTLINE_TESTS_WORLDS_DICE_H_
#define FAULTLINE_TESTS_WORLDS_DICE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace faultline::worlds {

// Random numbers of a world, the same on every machine: SplitMix64 (Steele, Lea
// and Flood 2014), and distributions made of integer arithmetic and
// comparisons. Dice of different labels are independent, so that one draw more
// here leaves everything elsewhere as it was. Not thread-safe.
class Dice {
 public:
  explicit Dice(uint64_t seed, uint64_t label = 0, uint64_t index = 0)
      : state_(Scramble(Scramble(Scramble(seed) + label) + index)) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    return Scramble(state_);
  }

  // In [0, n), n > 0; without bias.
  uint64_t Below(uint64_t n) {
    const uint64_t excess = (UINT64_MAX % n + 1) % n;
    uint64_t draw = Next();
    while (draw > UINT64_MAX - excess) draw = Next();
    return draw % n;
  }

  // In [low, high].
  int Between(int low, int high) {
    return low + static_cast<int>(Below(static_cast<uint64_t>(high - low) + 1));
  }

  bool Chance(double p) {
    return static_cast<double>(Next() >> 11) < p * 0x1p53;
  }

  // Index drawn by weight; the weights are not all 0.
  int Weighted(const std::vector<uint32_t>& weights) {
    uint64_t total = 0;
    for (const uint32_t weight : weights) total += weight;
    uint64_t place = Below(total);
    size_t i = 0;
    for (; place >= weights[i]; ++i) place -= weights[i];
    return static_cast<int>(i);
  }

  template <typename Container>
  auto& Pick(Container& items) {
    return items[Below(items.size())];
  }

  template <typename Container>
  void Shuffle(Container* items) {
    for (size_t i = items->size(); i > 1; --i) {
      using std::swap;
      swap((*items)[i - 1], (*items)[Below(i)]);
    }
  }

 private:
  static uint64_t Scramble(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  uint64_t state_;
};

}  // namespace faultline::worlds

#endif  // FAULTLINE_TESTS_WORLDS_DICE_H_
