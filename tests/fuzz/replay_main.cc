// Runs a fuzz target over its corpus and over mutations of it, the same ones
// each time: what a fuzzer has found once stays found, with any compiler.
//
//   NAME_fuzzer CORPUS_DIRECTORY

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerEntry = 300;
constexpr int kMostChanges = 8;

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()),
                         input.size());
}

// One change: a bit, a byte, a cut, or a piece of `other` in between.
void Mutate(const std::string& other, std::mt19937_64* random,
            std::string* input) {
  const auto below = [random](size_t n) {
    return n == 0 ? 0 : static_cast<size_t>((*random)() % n);
  };
  const size_t place = below(input->size());
  switch (below(5)) {
    case 0:
      if (!input->empty()) (*input)[place] ^= static_cast<char>(1 << below(8));
      break;
    case 1:
      if (!input->empty()) (*input)[place] = static_cast<char>(below(256));
      break;
    case 2:
      input->resize(place);
      break;
    case 3:
      input->erase(place, 1 + below(16));
      break;
    default: {
      const size_t from = below(other.size());
      input->insert(place, other.substr(from, 1 + below(64)));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
    return 2;
  }
  LLVMFuzzerInitialize(&argc, &argv);
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(argv[1])) {
    files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus = {""};
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file),
                        std::istreambuf_iterator<char>());
  }
  if (corpus.size() == 1) {
    std::fprintf(stderr, "%s is empty\n", argv[1]);
    return 2;
  }

  std::mt19937_64 random(1);
  for (const std::string& entry : corpus) {
    Run(entry);
    for (int i = 0; i < kMutationsPerEntry; ++i) {
      std::string input = entry;
      const int changes = 1 + static_cast<int>(random() % kMostChanges);
      for (int k = 0; k < changes; ++k) {
        Mutate(corpus[random() % corpus.size()], &random, &input);
      }
      Run(input);
    }
  }
  std::printf("%zu inputs\n", corpus.size() * (1 + kMutationsPerEntry));
  return 0;
}
