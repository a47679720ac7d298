#ifndef FAULTLINE_LIB_SPACE_BLAS_H_
#define FAULTLINE_LIB_SPACE_BLAS_H_

namespace faultline::space {

// Makes OpenBLAS use the calling thread alone, in the whole process; we run
// our own threads. Cheap after the first call. Thread-safe.
void UseOneBlasThread();

// c (m x n, row-major) = a (m x d) times the transpose of b (n x d).
// Thread-safe.
void MultiplyTransposed(const float* a, int m, const float* b, int n, int d,
                        float* c);

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_BLAS_H_
