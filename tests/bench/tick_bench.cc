// Seconds of one tick by stage, at a number of points (failed and successful
// runs of the window):
//   tick_bench [POINTS...]        default: 10000 100000

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/clock.h"
#include "lib/slowloop/project_config.h"
#include "lib/slowloop/run_window.h"
#include "lib/slowloop/tick.h"
#include "lib/space/blas.h"
#include "tests/bench/synthetic_traces.h"

namespace faultline::bench {
namespace {

using ::google::protobuf::util::TimeUtil;

int RunTick(uint64_t points) {
  slowloop::RunWindow::Capacity capacity;
  capacity.failures = points;
  capacity.successes = points;
  slowloop::RunWindow window(capacity);
  for (uint64_t i = 0; i < points; ++i) {
    v1::LogRecord record;
    record.set_sequence(i + 1);
    *record.mutable_trace() = MakeSyntheticTrace(i, 1);
    window.Apply(record);
  }
  const v1::TickState previous;
  const v1::Policy policy;
  slowloop::TickInput input;
  input.project = "bench";
  input.tick = 1;
  input.now = base::Clock::System()->Now();
  input.watermark = points;
  input.window = &window;
  input.config = *slowloop::ResolveConfig({}, {});
  input.previous = &previous;
  input.previous_policy = &policy;
  input.read_trace = [](uint64_t sequence) {
    return MakeSyntheticTrace(sequence - 1, 1);
  };
  input.clock = base::Clock::System();
  const auto output = slowloop::ComputeTick(input);
  if (!output.ok()) {
    std::fprintf(stderr, "%s\n", output.status().ToString().c_str());
    return 1;
  }
  double total = 0;
  for (const v1::TickStage& stage : output->stages) {
    const double seconds =
        static_cast<double>(TimeUtil::DurationToNanoseconds(stage.duration())) /
        1e9;
    total += seconds;
    std::printf("%9lu  %-10s %8.3f s  %s\n", static_cast<unsigned long>(points),
                stage.name().c_str(), seconds, stage.summary().c_str());
  }
  std::printf("%9lu  %-10s %8.3f s\n", static_cast<unsigned long>(points),
              "total", total);
  return 0;
}

int Main(int argc, char** argv) {
  std::vector<uint64_t> sizes;
  for (int i = 1; i < argc; ++i) {
    uint64_t size = 0;
    if (!absl::SimpleAtoi(argv[i], &size) || size < 100) {
      std::fprintf(stderr, "tick_bench: %s is not a number of points\n",
                   argv[i]);
      return 2;
    }
    sizes.push_back(size);
  }
  if (sizes.empty()) sizes = {10000, 100000};
  for (const uint64_t size : sizes) {
    if (const int code = RunTick(size); code != 0) return code;
  }
  return 0;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::bench::Main(argc, argv);
}
