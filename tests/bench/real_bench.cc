// What the slow loop makes of recorded runs whose causes are known: one tick
// over a file, and what clustered it, for those who score it.
//   real_bench --runs whowhen_alggen.jsonl --export DIRECTORY
// Writes, for each failure of the discovery side, in one order:
//   ids.txt         trace ids
//   behavior.npy    vectors that the behaviour view clusters, n x d
//   trajectory.npy  vectors that the trajectory view clusters, n x d
//   ours.npy        the tick's cluster, the strongest of several; -1: none
//   ours_behavior.npy, ours_trajectory.npy    groups of each view alone
//   runs.txt        the run as words, one line each
// and figures.json. Answers are taken off the runs before the tick sees them.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/importers/trace_reader.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/project_config.h"
#include "lib/slowloop/run_window.h"
#include "lib/slowloop/tick.h"
#include "lib/space/blas.h"
#include "tests/bench/failure_map.h"

namespace faultline::bench {
namespace {

struct Options {
  std::string runs;
  std::string directory;
  uint64_t draw = 0;
  int threads = 2;
};

// Leaves that a run failed, and nothing of why.
void TakeAnswersOff(v1::Trace* trace) {
  const v1::Outcome outcome = trace->evaluation().outcome();
  trace->clear_evaluation();
  trace->mutable_evaluation()->set_outcome(outcome);
  trace->clear_annotations();
  trace->mutable_task()->clear_id();
}

absl::StatusOr<std::vector<v1::Trace>> ReadRuns(const std::string& path) {
  FAULTLINE_ASSIGN_OR_RETURN(
      const std::unique_ptr<importers::TraceReader> reader,
      importers::OpenTraceFile("runs", path));
  std::vector<v1::Trace> traces;
  while (true) {
    FAULTLINE_ASSIGN_OR_RETURN(std::optional<v1::Trace> trace, reader->Next());
    if (!trace.has_value()) return traces;
    TakeAnswersOff(&*trace);
    traces.push_back(*std::move(trace));
  }
}

std::string RunWords(const v1::Trace& trace) {
  std::string line = absl::StrCat(trace.task().type(), " ",
                                  trace.task().input(), " ", StepWords(trace));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; },
      ' ');
  return line;
}

// The cluster of each failure: the strongest, the first of equals.
std::vector<int32_t> StrongestClusters(const v1::TickState& state,
                                       const std::vector<uint64_t>& failures) {
  absl::flat_hash_map<uint64_t, std::pair<float, int32_t>> strongest;
  for (int c = 0; c < state.members_size(); ++c) {
    const v1::ClusterMembers& members = state.members(c);
    for (int i = 0; i < members.sequences_size(); ++i) {
      const auto [place, fresh] = strongest.try_emplace(
          members.sequences(i), members.strengths(i), int32_t{c});
      if (!fresh && members.strengths(i) > place->second.first) {
        place->second = {members.strengths(i), int32_t{c}};
      }
    }
  }
  std::vector<int32_t> labels;
  labels.reserve(failures.size());
  for (const uint64_t sequence : failures) {
    const auto place = strongest.find(sequence);
    labels.push_back(place == strongest.end() ? -1 : place->second.second);
  }
  return labels;
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return file.good()
             ? absl::OkStatus()
             : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status Run(const Options& options) {
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<v1::Trace> traces,
                             ReadRuns(options.runs));
  FAULTLINE_ASSIGN_OR_RETURN(const v1::ProjectConfig config,
                             slowloop::ResolveConfig({}, {}));
  slowloop::RunWindow window({});
  for (size_t i = 0; i < traces.size(); ++i) {
    v1::LogRecord record;
    record.set_sequence(i + 1);
    *record.mutable_trace() = traces[i];
    // The id alone says on which side a run is.
    if (options.draw != 0) {
      absl::StrAppend(record.mutable_trace()->mutable_trace_id(), "#",
                      options.draw);
    }
    window.Apply(record);
  }

  const v1::TickState previous;
  const v1::Policy previous_policy;
  slowloop::TickInput input;
  input.project = "real";
  input.tick = 1;
  input.now = absl::UnixEpoch() + absl::Seconds(traces.size());
  input.watermark = traces.size();
  input.window = &window;
  input.config = config;
  input.previous = &previous;
  input.previous_policy = &previous_policy;
  input.read_trace = [&traces](uint64_t sequence) {
    return absl::StatusOr<v1::Trace>(traces[sequence - 1]);
  };
  input.threads = options.threads;
  input.clock = base::Clock::System();
  const absl::Duration begin = input.clock->SteadyNow();
  FAULTLINE_ASSIGN_OR_RETURN(const slowloop::TickOutput output,
                             slowloop::ComputeTick(input));
  const absl::Duration taken = input.clock->SteadyNow() - begin;

  std::vector<uint64_t> failures;
  for (const auto& [view, name] :
       {std::pair{v1::VIEW_BEHAVIOR, "behavior"},
        std::pair{v1::VIEW_TRAJECTORY, "trajectory"}}) {
    const FailureMap map = MapFailures(window, config.discovery_share(),
                                       *output.embedder, view, options.threads);
    FAULTLINE_ASSIGN_OR_RETURN(const cluster::Clustering found,
                               ClusterMap(map, options.threads));
    FAULTLINE_RETURN_IF_ERROR(
        WriteNpy(absl::StrCat(options.directory, "/", name, ".npy"),
                 map.vectors, map.dimension));
    FAULTLINE_RETURN_IF_ERROR(WriteNpy(
        absl::StrCat(options.directory, "/ours_", name, ".npy"), found.label));
    failures = map.sequence;
  }
  FAULTLINE_RETURN_IF_ERROR(
      WriteNpy(options.directory + "/ours.npy",
               StrongestClusters(output.state, failures)));
  std::string ids;
  std::string words;
  for (const uint64_t sequence : failures) {
    absl::StrAppend(&ids, traces[sequence - 1].trace_id(), "\n");
    absl::StrAppend(&words, RunWords(traces[sequence - 1]), "\n");
  }
  FAULTLINE_RETURN_IF_ERROR(WriteText(options.directory + "/ids.txt", ids));
  FAULTLINE_RETURN_IF_ERROR(WriteText(options.directory + "/runs.txt", words));
  const v1::Tick& tick = output.state.tick();
  return WriteText(
      options.directory + "/figures.json",
      absl::StrCat(
          "{\"runs\": ", tick.runs(), ", \"failures\": ", tick.failures(),
          ", \"clustered\": ", failures.size(), ", \"clusters\": ",
          tick.clusters(), ", \"accepted\": ", tick.stable_clusters(),
          ", \"tick_seconds\": ", absl::ToDoubleSeconds(taken), "}\n"));
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("One tick over recorded runs, and what clustered them.");
  app.add_option("--runs", options.runs, "File of runs, an object per line")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--export", options.directory, "Directory for what was found")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option(
      "--draw", options.draw,
      "Another draw of the runs that are clustered; 0: the server's");
  app.add_option("--threads", options.threads, "Of the tick")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = Run(options); !status.ok()) {
    std::fprintf(stderr, "real_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::bench::Main(argc, argv);
}
