#include "tests/bench/world_tick.h"

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/identity.h"
#include "lib/slowloop/project_config.h"

namespace faultline::bench {
namespace {

// The defaults, with a window of so many failures and successes.
v1::ProjectConfig Config(uint64_t failures) {
  v1::ProjectConfig config = *slowloop::ResolveConfig({}, {});
  config.set_max_failures(failures);
  config.set_max_successes(failures);
  return config;
}

}  // namespace

TraceFile::TraceFile() : file_(std::tmpfile()) {}

TraceFile::~TraceFile() {
  if (file_) std::fclose(file_);
}

void TraceFile::Append(const v1::Trace& trace) {
  const std::string bytes = trace.SerializeAsString();
  // A trace may have been read since the last one was written.
  if (file_ && std::fseek(file_, 0, SEEK_END) == 0) {
    std::fwrite(bytes.data(), 1, bytes.size(), file_);
  }
  end_.push_back((end_.empty() ? 0 : end_.back()) + bytes.size());
}

absl::StatusOr<v1::Trace> TraceFile::Read(uint64_t i) const {
  const uint64_t begin = i == 0 ? 0 : end_[i - 1];
  std::string bytes(end_[i] - begin, '\0');
  v1::Trace trace;
  if (!file_ || fseeko(file_, static_cast<off_t>(begin), SEEK_SET) != 0 ||
      std::fread(bytes.data(), 1, bytes.size(), file_) != bytes.size() ||
      !trace.ParseFromString(bytes)) {
    return absl::DataLossError("cannot read the temporary file of traces");
  }
  return trace;
}

TickDriver::TickDriver(v1::ProjectConfig config, int threads)
    : config_(std::move(config)),
      threads_(threads),
      window_({.failures = config_.max_failures(),
               .successes = config_.max_successes()}) {}

uint64_t TickDriver::Append(const v1::Trace& trace) {
  traces_.Append(trace);
  v1::LogRecord record;
  record.set_sequence(++last_sequence_);
  *record.mutable_trace() = trace;
  window_.Apply(record);
  return last_sequence_;
}

absl::Time TickDriver::now() const {
  return absl::UnixEpoch() + absl::Seconds(last_sequence_ + 1);
}

absl::StatusOr<slowloop::TickOutput> TickDriver::Tick() {
  const v1::TickState previous = state_;
  const v1::Policy previous_policy = policy_;
  slowloop::TickInput input;
  input.project = "world";
  input.tick = previous.tick().tick() + 1;
  input.now = now();
  input.watermark = last_sequence_;
  input.window = &window_;
  input.cluster_reviews = std::exchange(reviews_, {});
  input.config = config_;
  input.previous = &previous;
  input.previous_policy = &previous_policy;
  input.read_trace = [this](uint64_t sequence) { return ReadTrace(sequence); };
  input.threads = threads_;
  input.clock = base::Clock::System();
  FAULTLINE_ASSIGN_OR_RETURN(slowloop::TickOutput output,
                             slowloop::ComputeTick(input));
  state_ = output.state;
  window_.Pin(slowloop::ExemplarsOf(state_));
  policy_ = output.policy;
  return output;
}

WorldTicks::WorldTicks(const worlds::WorldOptions& options, uint64_t failures,
                       int threads)
    : world_(options),
      failures_(failures),
      threads_(threads),
      driver_(Config(failures), threads) {
  Advance();
}

void WorldTicks::Advance() {
  for (uint64_t failures = 0; failures < failures_;) {
    worlds::SimulatedRun run = world_.Draw(truths_.size());
    failures += run.truth.failed ? 1 : 0;
    truths_.push_back(std::move(run.truth));
    driver_.Append(run.trace);
  }
}

WorldFailures WorldTicks::MapFailures(
    const embedding::Embedder& embedder) const {
  WorldFailures failures{
      bench::MapFailures(driver_.window(), driver_.config().discovery_share(),
                         embedder, v1::VIEW_BEHAVIOR, threads_),
      {}};
  failures.truth.reserve(failures.sequence.size());
  for (const uint64_t sequence : failures.sequence) {
    failures.truth.push_back(truth(sequence));
  }
  return failures;
}

}  // namespace faultline::bench
