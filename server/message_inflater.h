#ifndef FAULTLINE_SERVER_MESSAGE_INFLATER_H_
#define FAULTLINE_SERVER_MESSAGE_INFLATER_H_

#include <cstddef>

namespace faultline::server {

// gRPC 1.51 inflates a compressed message whole before it compares its size
// with the limit, so that 64 MiB of gzip could take 64 GiB of memory. A program
// that links this has its own grpc_msg_decompress, which libgrpc calls in the
// place of the one that it exports: it stops one byte beyond the limit, and
// gRPC refuses what has come out as larger than its limit. Other calls go on.

// Most bytes that a compressed message is inflated to, in the whole process.
// No limit before the first call. Thread-safe.
void LimitInflation(size_t max_bytes);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_MESSAGE_INFLATER_H_
