// The bytes of a checkpoint file. Whatever they are, reading ends with an error
// or with spaces that can be searched and saved again; and a file that is not
// byte for byte what was written is never accepted.
//
// The first byte of an input says what the rest is:
//   0  a file
//   1  a body, which a checksum would protect: what loading must bear alone
//   2  changes to the body of a checkpoint that was written
//   3  changes to the file of one
// For 2 and 3 the next byte picks the checkpoint, and a change is a place (two
// bytes) and what is put there; a place beyond the end cuts the bytes, by the
// byte that follows.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/stubs/logging.h"
#include "lib/ingest/checkpoint_file.h"
#include "lib/ingest/outcome_table.h"
#include "lib/space/vector_space.h"

namespace {

using faultline::ingest::CheckpointReader;
using faultline::ingest::CheckpointWriter;
using faultline::ingest::OutcomeTable;
using faultline::space::Quantization;
using faultline::space::VectorSpace;
namespace v1 = faultline::v1;

constexpr int kDimension = 4;
constexpr uint64_t kRuns = 40;
constexpr std::array<Quantization, 3> kQuantizations = {
    Quantization::kNone, Quantization::kFp16, Quantization::kInt8};

void Require(bool claim) {
  if (!claim) std::abort();
}

// The larger one of a checkpoint's spaces is an inverted file where `exact`
// does not forbid it.
VectorSpace::Options SpaceOptions(Quantization quantization, bool exact) {
  VectorSpace::Options options;
  options.dimension = kDimension;
  options.exact_limit = exact ? 2 * kRuns : kRuns / 4;
  options.quantization = quantization;
  return options;
}

// A checkpoint that was written.
struct Written {
  Quantization quantization;
  std::string body;
  std::string file;
};

std::string MakeBody(Quantization quantization, bool exact) {
  std::string body;
  const auto sink = [&body](absl::string_view bytes) {
    body.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  OutcomeTable outcomes;
  std::vector<uint64_t> ids;
  std::vector<float> vectors;
  ids.reserve(kRuns);
  vectors.reserve(kRuns * kDimension);
  for (uint64_t run = 1; run <= kRuns; ++run) {
    outcomes.AddTrace(run, absl::StrCat("run", run),
                      run % 3 == 0 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
    ids.push_back(run);
    for (int i = 0; i < kDimension; ++i) {
      vectors.push_back(static_cast<float>(run * (i + 1) % 7));
    }
  }
  outcomes.AddJudgement(0, "early", v1::OUTCOME_FAIL);
  Require(outcomes.Save(sink).ok());
  for (int view = 0; view < 2; ++view) {
    const auto space = VectorSpace::Create(SpaceOptions(quantization, exact));
    Require(space.ok() && (*space)->Add(ids, vectors).ok());
    Require((*space)->Freeze()->Save(sink).ok());
  }
  return body;
}

// In memory, where that can be had: a commit syncs.
std::string MakeDirectory() {
  const std::string parent = std::filesystem::exists("/dev/shm")
                                 ? "/dev/shm"
                                 : std::filesystem::temp_directory_path();
  std::string path = absl::StrCat(parent, "/faultline-fuzz-XXXXXX");
  Require(mkdtemp(path.data()) != nullptr);
  return path;
}

std::vector<Written> WriteAll() {
  const std::string directory = MakeDirectory();
  const std::string path = absl::StrCat(directory, "/project.ckpt");
  std::vector<Written> all;
  for (const Quantization quantization : kQuantizations) {
    for (const bool exact : {true, false}) {
      Written& written = all.emplace_back();
      written.quantization = quantization;
      written.body = MakeBody(quantization, exact);
      const auto writer = CheckpointWriter::Create(path);
      Require(writer.ok() && (*writer)->Write(written.body).ok());
      v1::CheckpointSummary summary;
      summary.set_project("project");
      summary.set_watermark(kRuns);
      Require((*writer)->Commit(summary).ok());
      std::ifstream file(path, std::ios::binary);
      written.file.assign(std::istreambuf_iterator<char>(file),
                          std::istreambuf_iterator<char>());
    }
  }
  std::filesystem::remove_all(directory);
  return all;
}

const std::vector<Written>& Checkpoints() {
  static const std::vector<Written>& all =
      *new std::vector<Written>(WriteAll());
  return all;
}

// A file without a place on a disk.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view bytes)
      : descriptor_(memfd_create("checkpoint", MFD_CLOEXEC)) {
    Require(descriptor_ >= 0);
    Require(write(descriptor_, bytes.data(), bytes.size()) ==
            static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const {
    return absl::StrCat("/proc/self/fd/", descriptor_);
  }

 private:
  const int descriptor_;
};

// What was loaded can be saved, and is then what it was; it can be searched and
// taken from.
void CheckSpace(const VectorSpace::Options& options, const VectorSpace& space) {
  std::string saved;
  Require(space.Freeze()
              ->Save([&saved](absl::string_view bytes) {
                saved.append(bytes.data(), bytes.size());
                return absl::OkStatus();
              })
              .ok());
  absl::string_view left = saved;
  const auto again =
      VectorSpace::Load(options, [&left](absl::Span<char> bytes) {
        Require(left.copy(bytes.data(), bytes.size()) == bytes.size());
        left.remove_prefix(bytes.size());
        return absl::OkStatus();
      });
  Require(again.ok() && left.empty() && (*again)->size() == space.size());
  const std::vector<float> query(kDimension, 1.0f);
  const auto found = space.Search(query, 3);
  Require(!found.ok() || found->size() == 1);
  const auto snapshot = (*again)->TakeSnapshot();
  if (!snapshot.ok() || snapshot->ids.empty()) return;
  const auto removed = (*again)->Remove({snapshot->ids[0]});
  Require(removed.ok() && *removed >= 1);
}

// As the indexer loads it.
void LoadBody(Quantization quantization, absl::string_view body) {
  const auto source = [&body](absl::Span<char> bytes) -> absl::Status {
    if (bytes.size() > body.size()) return absl::DataLossError("too short");
    body.copy(bytes.data(), bytes.size());
    body.remove_prefix(bytes.size());
    return absl::OkStatus();
  };
  OutcomeTable outcomes;
  if (!outcomes.Load(source, kRuns).ok()) return;
  Require(outcomes.failures() <= kRuns + 1);
  const VectorSpace::Options options = SpaceOptions(quantization, false);
  for (int view = 0; view < 2; ++view) {
    const auto space = VectorSpace::Load(options, source);
    if (!space.ok()) {
      Require(!space.status().message().empty());
      return;
    }
    CheckSpace(options, **space);
  }
}

// Whether all of the file is read and found whole.
bool Accepted(absl::string_view bytes) {
  const MemoryFile file(bytes);
  const auto reader = CheckpointReader::Open(file.path());
  if (!reader.ok()) {
    Require(!reader.status().message().empty());
    return false;
  }
  const v1::CheckpointSummary& summary = (*reader)->summary();
  Require(summary.body_bytes() <= bytes.size());
  std::string body(summary.body_bytes(), '\0');
  Require((*reader)->Read(absl::MakeSpan(body)).ok());
  Require(body == bytes.substr(0, body.size()));
  if (!(*reader)->Finish().ok()) return false;
  LoadBody(Quantization::kNone, body);
  return true;
}

std::string Change(std::string bytes, absl::string_view changes) {
  for (; changes.size() >= 3; changes.remove_prefix(3)) {
    const size_t place = static_cast<uint8_t>(changes[0]) << 8 |
                         static_cast<uint8_t>(changes[1]);
    if (place < bytes.size()) {
      bytes[place] = changes[2];
    } else {
      const size_t cut = static_cast<uint8_t>(changes[2]);
      bytes.resize(bytes.size() - std::min(cut, bytes.size()));
    }
  }
  return bytes;
}

}  // namespace

// Protobuf tells of every fault that it finds.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  Require(std::all_of(Checkpoints().begin(), Checkpoints().end(),
                      [](const Written& w) { return Accepted(w.file); }));
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.size() < 2) return 0;
  const int kind = data[0] % 4;
  const uint8_t which = data[1];
  input.remove_prefix(2);
  const Written& written = Checkpoints()[which % Checkpoints().size()];
  switch (kind) {
    case 0:
      Accepted(input);
      break;
    case 1:
      LoadBody(written.quantization, input);
      break;
    case 2:
      LoadBody(written.quantization, Change(written.body, input));
      break;
    default: {
      const std::string changed = Change(written.file, input);
      Require(Accepted(changed) == (changed == written.file));
    }
  }
  return 0;
}
