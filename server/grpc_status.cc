#include "server/grpc_status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"

namespace faultline::server {
namespace {

using google::protobuf::Any;
using google::protobuf::internal::WireFormatLite;

constexpr size_t kMaxMessageBytes = 1024;
// A client accepts 8 KB of metadata in all.
constexpr size_t kMaxDetailBytes = 2048;
constexpr int kRetrySeconds = 1;

v1::ErrorDetail Bounded(v1::ErrorDetail detail) {
  if (detail.ByteSizeLong() <= kMaxDetailBytes) return detail;
  detail.clear_metadata();
  detail.set_field(base::CutText(detail.field(), 256));
  detail.set_limit(base::CutText(detail.limit(), 256));
  detail.set_message(base::CutText(detail.message(), 512));
  return detail;
}

// google.rpc.RetryInfo {retry_delay = 1} has the wire form of a message whose
// only field is a Duration.
Any RetryInfo(const google::protobuf::Duration& delay) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    WireFormatLite::WriteBytes(1, delay.SerializeAsString(), &out);
  }
  Any any;
  any.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  any.set_value(bytes);
  return any;
}

// google.rpc.Status {code = 1, message = 2, repeated Any details = 3}; Debian
// has no google/rpc protos.
std::string RpcStatus(int code, const std::string& message,
                      const std::vector<Any>& details) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream out(&stream);
  WireFormatLite::WriteInt32(1, code, &out);
  WireFormatLite::WriteBytes(2, message, &out);
  for (const Any& detail : details) {
    WireFormatLite::WriteBytes(3, detail.SerializeAsString(), &out);
  }
  out.Trim();
  return bytes;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status,
                          grpc::CallbackServerContext* context) {
  if (status.ok()) return grpc::Status::OK;
  // The codes of absl and gRPC are the same numbers.
  const auto code = static_cast<grpc::StatusCode>(status.raw_code());
  const std::string message = base::CutText(status.message(), kMaxMessageBytes);

  std::optional<v1::ErrorDetail> detail = base::GetErrorDetail(status);
  if (absl::IsUnavailable(status)) {
    if (!detail.has_value()) {
      detail = base::MakeErrorDetail(v1::ErrorDetail::REASON_OVERLOADED, "", "",
                                     message);
    }
    if (!detail->has_retry_delay()) {
      detail->mutable_retry_delay()->set_seconds(kRetrySeconds);
    }
  }
  if (!detail.has_value()) return grpc::Status(code, message);

  detail = Bounded(*std::move(detail));
  context->AddTrailingMetadata(kErrorDetailTrailer,
                               detail->SerializeAsString());
  std::vector<Any> details(1);
  details[0].PackFrom(*detail);
  if (detail->has_retry_delay()) {
    details.push_back(RetryInfo(detail->retry_delay()));
  }
  return grpc::Status(code, message, RpcStatus(code, message, details));
}

absl::Status OverloadedError(absl::string_view message) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "", "", message);
  detail.mutable_retry_delay()->set_seconds(kRetrySeconds);
  return base::DetailedError(absl::StatusCode::kUnavailable, detail);
}

absl::Status StoppingError() {
  return OverloadedError("the server is stopping");
}

absl::Status NotFoundError(absl::string_view field, absl::string_view name) {
  return base::DetailedError(
      absl::StatusCode::kNotFound,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_NOT_FOUND, field, "",
                            absl::StrCat("there is no `", name, "`")));
}

}  // namespace faultline::server
