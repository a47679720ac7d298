#ifndef FAULTLINE_LIB_SPACE_FAISS_GUARD_H_
#define FAULTLINE_LIB_SPACE_FAISS_GUARD_H_

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Of omp.h, which Debian ships inside GCC's directory, out of clang's sight.
extern "C" void omp_set_num_threads(int count) noexcept;

namespace faultline::space {

// Runs `call`, which calls FAISS, on one OpenMP thread, and turns what it
// throws into a status: RESOURCE_EXHAUSTED where memory ran out, else INTERNAL
// with FAISS's own words. Every call of FAISS goes through here.
template <typename Call>
absl::Status GuardFaiss(absl::string_view what, Call&& call) {
  // Per calling thread. Threads of OpenMP would fight with those of the server.
  omp_set_num_threads(1);
  try {
    call();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("behaviour space: no memory to ", what));
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("behaviour space: cannot ", what, ": ", error.what()));
  }
}

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_FAISS_GUARD_H_
