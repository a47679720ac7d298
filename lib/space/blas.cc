#include "lib/space/blas.h"

#include <cblas.h>

namespace faultline::space {

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

}  // namespace faultline::space
