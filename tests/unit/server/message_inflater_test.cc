#include "server/message_inflater.h"

#include <grpc/compression.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <zlib.h>

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

// As libgrpc calls it.
int grpc_msg_decompress(grpc_compression_algorithm algorithm,
                        grpc_slice_buffer* input, grpc_slice_buffer* output);

namespace faultline::server {
namespace {

constexpr size_t kLimit = 200'000;

std::string Deflate(const std::string& text, bool gzip) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED,
                         15 + (gzip ? 16 : 0), 8, Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string bytes(deflateBound(&stream, text.size()), '\0');
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // not written
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  bytes.resize(stream.total_out);
  deflateEnd(&stream);
  return bytes;
}

// What `bytes`, in slices of `part`, inflate to; nothing where they are
// malformed.
std::optional<std::string> Inflate(
    absl::string_view bytes, size_t part,
    grpc_compression_algorithm algorithm = GRPC_COMPRESS_GZIP) {
  grpc_slice_buffer input, output;
  grpc_slice_buffer_init(&input);
  grpc_slice_buffer_init(&output);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(part, bytes.size()))) {
    grpc_slice_buffer_add_indexed(
        &input, grpc_slice_from_copied_buffer(bytes.data(),
                                              std::min(part, bytes.size())));
  }
  std::optional<std::string> text;
  if (grpc_msg_decompress(algorithm, &input, &output) == 1) {
    text.emplace();
    for (size_t i = 0; i < output.count; ++i) {
      text->append(
          reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(output.slices[i])),
          GRPC_SLICE_LENGTH(output.slices[i]));
    }
  }
  grpc_slice_buffer_destroy(&input);
  grpc_slice_buffer_destroy(&output);
  return text;
}

// Neither all the same nor without repetition.
std::string MakeText(size_t size) {
  std::string text;
  text.reserve(size + 16);
  for (size_t i = 0; text.size() < size; ++i) {
    text += std::to_string(i * i % 7919);
  }
  text.resize(size);
  return text;
}

TEST(MessageInflaterTest, GivesWhatWasCompressed) {
  LimitInflation(kLimit);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{32768},
                            size_t{65536}, kLimit}) {
    const std::string text = MakeText(size);
    for (const size_t part : {size_t{1}, size_t{1000}, size_t{1} << 20}) {
      EXPECT_EQ(Inflate(Deflate(text, true), part), text) << size;
      EXPECT_EQ(Inflate(Deflate(text, false), part, GRPC_COMPRESS_DEFLATE),
                text)
          << size;
    }
  }
}

TEST(MessageInflaterTest, StopsOneByteBeyondTheLimit) {
  LimitInflation(kLimit);
  for (const size_t size : {kLimit + 1, 100 * kLimit}) {
    const std::string text = MakeText(size);
    for (const size_t part : {size_t{1000}, size_t{1} << 20}) {
      EXPECT_EQ(Inflate(Deflate(text, true), part), text.substr(0, kLimit + 1));
    }
  }
}

TEST(MessageInflaterTest, RefusesWhatIsMalformed) {
  LimitInflation(kLimit);
  const std::string whole = Deflate(MakeText(1000), true);
  EXPECT_EQ(Inflate("not compressed", 4), std::nullopt);
  EXPECT_EQ(Inflate(whole.substr(0, whole.size() - 1), 64), std::nullopt);
  EXPECT_EQ(Inflate(whole + "x", 64), std::nullopt);
  EXPECT_EQ(Inflate(whole + "x", whole.size()), std::nullopt);
  EXPECT_EQ(Inflate(whole, 64, GRPC_COMPRESS_DEFLATE), std::nullopt);
  std::string changed = whole;
  changed[changed.size() - 8] ^= 1;  // of the checksum
  EXPECT_EQ(Inflate(changed, 64), std::nullopt);
}

}  // namespace
}  // namespace faultline::server
