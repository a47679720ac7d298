#include "faiss/utils/distances.h"

int main() {
  const float zero = 0;
  return static_cast<int>(faiss::fvec_L2sqr(&zero, &zero, 1));
}
