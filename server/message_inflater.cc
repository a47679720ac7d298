#include "server/message_inflater.h"

#include <grpc/compression.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

// gRPC's own, which its headers do not show. 0: the input is malformed.
int grpc_msg_decompress(grpc_compression_algorithm algorithm,
                        grpc_slice_buffer* input, grpc_slice_buffer* output);

namespace faultline::server {
namespace {

constexpr size_t kBlockBytes = 32 << 10;
// Of zlib: the largest window, and gzip's header in the place of its own.
constexpr int kWindowBits = 15;
constexpr int kGzipHeader = 16;

std::atomic<size_t> inflation_limit = SIZE_MAX - 1;

// Appends what `input` inflates to, up to one byte beyond the limit. False
// where it is malformed.
bool Inflate(const grpc_slice_buffer& input, int window_bits, size_t limit,
             grpc_slice_buffer* output) {
  z_stream stream = {};
  if (inflateInit2(&stream, window_bits) != Z_OK) return false;
  const std::unique_ptr<z_stream, int (*)(z_streamp)> end(&stream, &inflateEnd);
  std::array<Bytef, kBlockBytes> block;
  int state = Z_OK;
  for (size_t i = 0; i < input.count; ++i) {
    stream.next_in = GRPC_SLICE_START_PTR(input.slices[i]);
    stream.avail_in = static_cast<uInt>(GRPC_SLICE_LENGTH(input.slices[i]));
    do {
      const size_t room = std::min(block.size(), limit + 1 - stream.total_out);
      stream.next_out = block.data();
      stream.avail_out = static_cast<uInt>(room);
      state = inflate(&stream, Z_NO_FLUSH);
      // Z_BUF_ERROR: there was nothing to do.
      if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) {
        return false;
      }
      grpc_slice_buffer_add(output, grpc_slice_from_copied_buffer(
                                        reinterpret_cast<char*>(block.data()),
                                        room - stream.avail_out));
      if (stream.total_out > limit) return true;
    } while (stream.avail_out == 0 && state != Z_STREAM_END);
    if (stream.avail_in > 0) return false;  // something follows the end
  }
  return state == Z_STREAM_END;
}

bool Inflate(grpc_compression_algorithm algorithm,
             const grpc_slice_buffer& input, grpc_slice_buffer* output) {
  switch (algorithm) {
    case GRPC_COMPRESS_GZIP:
      return Inflate(input, kWindowBits + kGzipHeader, inflation_limit, output);
    case GRPC_COMPRESS_DEFLATE:
      return Inflate(input, kWindowBits, inflation_limit, output);
    case GRPC_COMPRESS_NONE:
    case GRPC_COMPRESS_ALGORITHMS_COUNT:
      break;
  }
  return false;
}

}  // namespace

void LimitInflation(size_t max_bytes) {
  inflation_limit = std::min(max_bytes, SIZE_MAX - 1);
}

}  // namespace faultline::server

int grpc_msg_decompress(grpc_compression_algorithm algorithm,
                        grpc_slice_buffer* input, grpc_slice_buffer* output) {
  return faultline::server::Inflate(algorithm, *input, output) ? 1 : 0;
}
