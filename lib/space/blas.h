#ifndef FAULTLINE_LIB_SPACE_BLAS_H_
#define FAULTLINE_LIB_SPACE_BLAS_H_

namespace faultline::space {

// Starts the program again where OpenBLAS has chosen slower kernels than the
// processor can run: version 0.3.21 takes those of 2004 for a processor that it
// does not know by name, at a quarter of the speed. It reads its environment
// when it is loaded, before main, so that only a new start can tell it. To be
// called first in main, with main's argv. Does nothing where OPENBLAS_CORETYPE
// is set, so never more than once.
void ChooseBlasKernels(char** argv);

// Makes OpenBLAS use the calling thread alone, in the whole process; we run
// our own threads. Cheap after the first call. Thread-safe.
void UseOneBlasThread();

// c (m x n, row-major) = a (m x d) times the transpose of b (n x d).
// Thread-safe.
void MultiplyTransposed(const float* a, int m, const float* b, int n, int d,
                        float* c);

// Squared length of a vector of d numbers. Thread-safe.
float SquaredNorm(const float* vector, int d);

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_BLAS_H_
