#include "tests/bench/failure_map.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "lib/base/status_macros.h"
#include "lib/slowloop/cluster_space.h"
#include "lib/slowloop/matrix.h"
#include "lib/slowloop/tick.h"

namespace faultline::bench {
namespace {

template <typename T>
absl::Status WriteArray(const std::string& path, const char* type,
                        const std::string& shape,
                        const std::vector<T>& values) {
  std::string header =
      absl::StrCat("{'descr': '", type, "', 'fortran_order': False, 'shape': (",
                   shape, "), }");
  // Magic, version, length and header together are a multiple of 64 bytes.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  const auto length = static_cast<uint16_t>(header.size());
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
  return file.good()
             ? absl::OkStatus()
             : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

}  // namespace

FailureMap MapFailures(const slowloop::RunWindow& window,
                       double discovery_share,
                       const embedding::Embedder& embedder, v1::View view,
                       int threads) {
  FailureMap map;
  const auto d = static_cast<size_t>(embedder.dimension());
  map.dimension = embedder.dimension();
  std::vector<const embedding::Run*> discovery;
  std::vector<int32_t> successes;
  for (const embedding::Run* run : window.KnownRuns()) {
    if (!slowloop::OnDiscoverySide(run->trace_id, discovery_share)) continue;
    const auto row = static_cast<int32_t>(discovery.size());
    if (run->failed()) {
      map.failure_row.push_back(row);
      map.sequence.push_back(run->sequence);
    } else {
      successes.push_back(row);
    }
    map.pooled_failed.push_back(run->failed());
    discovery.push_back(run);
  }
  map.pooled.resize(discovery.size() * d);
  slowloop::Matrix trajectory{map.dimension, {}};
  trajectory.values.resize(discovery.size() * d);
  for (size_t i = 0; i < discovery.size(); ++i) {
    embedder.EmbedViews(*discovery[i], trajectory.row(i),
                        absl::MakeSpan(map.pooled).subspan(i * d, d));
  }
  slowloop::EmbeddedRuns embedded;
  embedded.embedder = &embedder;
  embedded.runs = discovery;
  embedded.trajectory = &trajectory;
  embedded.failures = map.failure_row;
  embedded.successes = successes;
  embedded.threads = threads;
  map.vectors =
      slowloop::ClusterSpace(embedded).Vectors(view, map.failure_row).values;
  if (view == v1::VIEW_TRAJECTORY) map.pooled = std::move(trajectory.values);
  return map;
}

absl::StatusOr<cluster::Clustering> ClusterMap(const FailureMap& map,
                                               int threads) {
  cluster::ClusteringInput input;
  input.dimension = map.dimension;
  input.failures = map.vectors;
  input.pooled = map.pooled;
  input.pooled_failed = map.pooled_failed;
  input.failure_row = map.failure_row;
  cluster::ClusterOptions options;
  options.threads = threads;
  return cluster::ClusterFailures(input, options);
}

std::string StepWords(const v1::Trace& trace) {
  std::string line;
  for (const v1::Step& step : trace.steps()) {
    absl::StrAppend(&line, line.empty() ? "" : " ",
                    v1::Step::Kind_Name(step.kind()), ":", step.name());
    for (const std::string* word :
         {&step.error_type(), &step.error_message(), &step.output()}) {
      if (!word->empty()) absl::StrAppend(&line, " ", *word);
    }
  }
  return line;
}

absl::Status WriteNpy(const std::string& path,
                      const std::vector<int32_t>& values) {
  return WriteArray(path, "<i4", absl::StrCat(values.size(), ","), values);
}

absl::Status WriteNpy(const std::string& path, const std::vector<float>& values,
                      int columns) {
  return WriteArray(path, "<f4",
                    absl::StrCat(values.size() / columns, ", ", columns),
                    values);
}

}  // namespace faultline::bench
