#include "lib/slowloop/risk_stage.h"

#include <algorithm>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/status_macros.h"
#include "lib/risk/risk_model.h"

namespace faultline::slowloop {
namespace {

constexpr size_t kMaxRuns = 4000;
constexpr double kFreshShare = 0.1;
constexpr uint64_t kSampleSeed = 0x415c;
// Traces in memory at once.
constexpr size_t kBlock = 256;

bool IsDue(const RiskInput& input) {
  const uint64_t seen = input.previous->watermark();
  size_t fresh = 0;
  for (const embedding::Run* run : input.runs) {
    fresh += std::max(run->sequence, run->known_sequence) > seen ? 1 : 0;
  }
  const size_t used = std::min(kMaxRuns, input.runs.size() - fresh);
  return fresh > 0 &&
         static_cast<double>(fresh) >= kFreshShare * static_cast<double>(used);
}

}  // namespace

absl::StatusOr<v1::RiskModel> LearnRisk(const RiskInput& input) {
  if (!IsDue(input)) return *input.previous;
  std::vector<std::pair<uint64_t, size_t>> sample;  // hash, index into runs
  for (size_t i = 0; i < input.runs.size(); ++i) {
    sample.emplace_back(base::Hash64(input.runs[i]->trace_id, kSampleSeed), i);
  }
  std::sort(sample.begin(), sample.end());
  sample.resize(std::min(sample.size(), kMaxRuns));

  std::vector<risk::Example> examples(sample.size());
  std::vector<v1::Trace> traces;
  for (size_t begin = 0; begin < sample.size(); begin += kBlock) {
    const size_t size = std::min(kBlock, sample.size() - begin);
    traces.clear();
    for (size_t i = begin; i < begin + size; ++i) {
      FAULTLINE_ASSIGN_OR_RETURN(
          traces.emplace_back(),
          input.read_trace(input.runs[sample[i].second]->sequence));
    }
    base::ParallelFor(size, input.threads, [&](size_t i) {
      const auto& [hash, row] = sample[begin + i];
      risk::Example& example = examples[begin + i];
      example.failed = input.runs[row]->failed();
      example.hash = base::Mix64(hash);
      example.prefixes = risk::ReadPrefixes(std::move(traces[i]));
    });
  }
  return risk::Train(examples, input.watermark);
}

}  // namespace faultline::slowloop
