#include "lib/space/blas.h"

#include <cblas.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "absl/strings/string_view.h"

namespace faultline::space {
namespace {

constexpr char kVariable[] = "OPENBLAS_CORETYPE";

// The kernels that a processor can run, by its features. Empty: whatever
// OpenBLAS thinks.
const char* FittingKernels() {
#if defined(__x86_64__)
  const absl::string_view chosen = openblas_get_corename();
  const bool outdated = chosen == "Prescott" || chosen == "Core2" ||
                        chosen == "Nehalem" || chosen == "Generic";
  if (!outdated) return "";
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    return "SkylakeX";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return "Haswell";
  }
#endif
  return "";
}

}  // namespace

void ChooseBlasKernels(char** argv) {
  const char* const kernels = FittingKernels();
  if (*kernels == '\0' || getenv(kVariable) != nullptr) return;
  // By its own path, which is its name in the system's lists.
  std::array<char, 4096> path;
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0 || length == static_cast<ssize_t>(path.size())) return;
  path[length] = '\0';
  setenv(kVariable, kernels, 1);
  execv(path.data(), argv);
  // It is as slow as it was.
  unsetenv(kVariable);
}

void UseOneBlasThread() {
  [[maybe_unused]] static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
}

void MultiplyTransposed(const float* a, int m, const float* b, int n, int d,
                        float* c) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, d, 1, a, d, b, d,
              0, c, n);
}

float SquaredNorm(const float* vector, int d) {
  return cblas_sdot(d, vector, 1, vector, 1);
}

}  // namespace faultline::space
