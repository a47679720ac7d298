// A trace as it comes off the wire: what the validator accepts can be stored,
// read back, extracted and embedded into finite numbers.

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/trace.pb.h"
#include "google/protobuf/stubs/logging.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"
#include "lib/trace/trace_validator.h"

namespace {

using faultline::embedding::Embedder;
using faultline::trace::TraceValidator;
namespace v1 = faultline::v1;

const TraceValidator& Validator() {
  static const TraceValidator& validator =
      *new TraceValidator(*TraceValidator::Create({}));
  return validator;
}

const Embedder& FirstEmbedder() {
  static const Embedder& embedder =
      *Embedder::Create({}, v1::CorpusSnapshot())->release();
  return embedder;
}

}  // namespace

// Protobuf tells of every fault that it finds.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  v1::Trace trace;
  if (!trace.ParseFromArray(data, static_cast<int>(size))) return 0;
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  if (Validator().CheckTrace(trace, "fuzz", 0, now)) return 0;

  std::string stored;
  if (!trace.SerializeToString(&stored)) std::abort();
  v1::Trace back;
  if (!back.ParseFromString(stored)) std::abort();

  faultline::embedding::FeatureNames names;
  const faultline::embedding::Run run =
      faultline::embedding::ExtractRun(back, &names);
  std::vector<float> vector(FirstEmbedder().dimension());
  FirstEmbedder().Embed(run, faultline::embedding::Map::kTrajectory, nullptr,
                        absl::MakeSpan(vector));
  for (const float value : vector) {
    if (!std::isfinite(value)) std::abort();
  }
  return 0;
}
