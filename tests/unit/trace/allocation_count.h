#ifndef FAULTLINE_TESTS_UNIT_TRACE_ALLOCATION_COUNT_H_
#define FAULTLINE_TESTS_UNIT_TRACE_ALLOCATION_COUNT_H_

namespace faultline::testing {

// Calls of operator new on this thread so far. Linking this replaces the
// operator.
int AllocationCount();

}  // namespace faultline::testing

#endif  // FAULTLINE_TESTS_UNIT_TRACE_ALLOCATION_COUNT_H_
