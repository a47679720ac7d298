#include "tests/unit/trace/allocation_count.h"

#include <cstdlib>
#include <new>

namespace {
thread_local int allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept {
  std::free(memory);
}

namespace faultline::testing {

int AllocationCount() { return allocations; }

}  // namespace faultline::testing
