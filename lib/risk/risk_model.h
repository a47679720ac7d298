#ifndef FAULTLINE_LIB_RISK_RISK_MODEL_H_
#define FAULTLINE_LIB_RISK_RISK_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/risk.pb.h"
#include "faultline/v1/trace.pb.h"

// The risk that a run fails, by what it has done so far. Pure functions,
// thread-safe.

namespace faultline::risk {

// Shares of its steps after which a run is cut to be learnt from; 1: whole.
inline constexpr double kCuts[] = {0.25, 0.5, 0.75, 1};

// What a risk is made of: the slice, and everything that the embedding reads of
// a run but who answers, which the slice says; how many steps there are.
struct Features {
  uint64_t slice = 0;  // of task type, dataset, model and route
  std::vector<std::pair<uint64_t, float>> values;  // by key, ascending
};

// Reads no outcome, annotation, cost or latency.
Features ReadFeatures(const v1::Trace& run);

// A run as it was after `share` of its steps, at least one: without its later
// steps and decisions, what memory was written, and signals of the evaluation,
// which come with its end. At 1 it is whole.
v1::Trace CutRun(v1::Trace run, double share);
// The features of a run after each of kCuts.
std::vector<Features> ReadPrefixes(v1::Trace run);

// A run to learn from.
struct Example {
  bool failed = false;
  uint64_t hash = 0;               // of its id
  std::vector<Features> prefixes;  // one for each of kCuts
};

// A logistic regression on the features, beside the log-odds of the slice, with
// a ridge that leaves the slice alone. It is calibrated by what models of one
// half of the runs, by hash, say of the other half, where each run counts with
// one of its prefixes. The result depends on the order of the examples, not on
// chance. Empty (no runs) where a half has fewer than 30 failures or 30
// successes. `watermark` is stored.
v1::RiskModel Train(absl::Span<const Example> examples, uint64_t watermark);

// A probability with its interval.
struct Risk {
  double risk = 0;
  // 95 % Wilson interval of the share of failures among the runs of
  // this level, widened where `risk` is outside.
  double lower = 0;
  double upper = 1;
  uint64_t runs = 0;  // of the level
};

// `model` must have runs.
Risk Assess(const v1::RiskModel& model, const Features& features);

}  // namespace faultline::risk

#endif  // FAULTLINE_LIB_RISK_RISK_MODEL_H_
