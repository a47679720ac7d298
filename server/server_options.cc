#include "server/server_options.h"

#include <arpa/inet.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::server {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:7171";
constexpr uint32_t kDefaultMessageBytes = 64 << 20;
constexpr uint32_t kMinMessageBytes = 64 << 10;
constexpr uint32_t kMaxMessageBytes = 1 << 30;
constexpr uint32_t kDefaultWindow = 4096;
constexpr uint32_t kMinWindow = 64;
constexpr uint32_t kMaxWindow = 65536;
constexpr int64_t kDefaultDrainSeconds = 10;
constexpr int64_t kMaxDrainSeconds = 3600;
constexpr uint32_t kDefaultDimension = 256;
constexpr uint32_t kDefaultExactLimit = 20000;
constexpr uint32_t kDefaultIndexLag = 16384;
constexpr uint32_t kMinIndexLag = 256;
constexpr uint32_t kDefaultClosingRuns = 4096;
constexpr uint32_t kMinClosingRuns = 64;
constexpr uint32_t kMaxLag = 1'000'000;
constexpr uint64_t kDefaultWriteBuffer = 128 << 20;
constexpr uint64_t kMinWriteBuffer = 8 << 20;
constexpr uint64_t kMaxWriteBuffer = uint64_t{16} << 30;
constexpr uint64_t kDefaultCache = 64 << 20;
constexpr uint64_t kMinCache = 1 << 20;
constexpr uint64_t kMaxCache = uint64_t{1} << 40;

absl::Status Invalid(absl::string_view field, absl::string_view limit,
                     absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, field, limit,
                            message));
}

class ErrorCollector : public google::protobuf::io::ErrorCollector {
 public:
  explicit ErrorCollector(absl::string_view file) : file_(file) {}

  void AddError(int line, int column, const std::string& message) override {
    errors_.push_back(
        absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ", message));
  }

  std::string Text() const { return absl::StrJoin(errors_, "\n"); }

 private:
  const std::string file_;
  std::vector<std::string> errors_;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in) {
    return absl::InvalidArgumentError(
        absl::StrCat("--config ", path, ": ", std::strerror(errno)));
  }
  return text.str();
}

bool IsLoopback(absl::string_view host) {
  constexpr uint32_t kLoopbackNet = 127;
  in_addr address;
  if (inet_pton(AF_INET, std::string(host).c_str(), &address) == 1) {
    return ntohl(address.s_addr) >> 24 == kLoopbackNet;
  }
  return host == "localhost" || host == "[::1]";
}

absl::Status CheckAddress(const v1::ServerConfig& config) {
  const absl::string_view address = config.listen_address();
  const size_t colon = address.rfind(':');
  int port;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return Invalid("listen_address", "HOST:PORT, port 0 to 65535",
                   absl::StrCat("got `", address, "`"));
  }
  if (!config.insecure() && !IsLoopback(address.substr(0, colon))) {
    return Invalid("listen_address", "loopback unless `insecure` is set",
                   absl::StrCat("`", address,
                                "` would serve others without encryption; use "
                                "127.0.0.1, or say --insecure"));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(absl::string_view field, uint64_t value, uint64_t min,
                        uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Invalid(field, absl::StrCat(min, " to ", max),
                 absl::StrCat("got ", value));
}

}  // namespace

absl::StatusOr<v1::ServerConfig> ParseServerConfig(absl::string_view text,
                                                   absl::string_view file) {
  ErrorCollector errors(file);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  v1::ServerConfig config;
  if (!parser.ParseFromString(std::string(text), &config)) {
    return absl::InvalidArgumentError(errors.Text());
  }
  return config;
}

absl::Status CompleteServerConfig(v1::ServerConfig* config) {
  if (config->listen_address().empty()) {
    config->set_listen_address(kDefaultAddress);
  }
  if (config->max_message_bytes() == 0) {
    config->set_max_message_bytes(kDefaultMessageBytes);
  }
  if (config->stream_window() == 0) config->set_stream_window(kDefaultWindow);
  if (!config->has_drain_deadline()) {
    config->mutable_drain_deadline()->set_seconds(kDefaultDrainSeconds);
  }
  v1::SpaceConfig& space = *config->mutable_space();
  if (space.dimension() == 0) space.set_dimension(kDefaultDimension);
  if (space.exact_limit() == 0) space.set_exact_limit(kDefaultExactLimit);
  if (space.quantization() == v1::QUANTIZATION_UNSPECIFIED) {
    space.set_quantization(v1::QUANTIZATION_NONE);
  }
  v1::IngestConfig& ingest = *config->mutable_ingest();
  if (ingest.max_index_lag() == 0) ingest.set_max_index_lag(kDefaultIndexLag);
  if (ingest.max_closing_runs() == 0) {
    ingest.set_max_closing_runs(kDefaultClosingRuns);
  }
  v1::StoreConfig& store = *config->mutable_store();
  if (store.write_buffer_bytes() == 0) {
    store.set_write_buffer_bytes(kDefaultWriteBuffer);
  }
  if (store.cache_bytes() == 0) store.set_cache_bytes(kDefaultCache);

  if (config->data_dir().empty()) {
    return Invalid("data_dir", "a directory",
                   "is missing; set it in the file or by --data_dir");
  }
  FAULTLINE_RETURN_IF_ERROR(CheckAddress(*config));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("max_message_bytes",
                                       config->max_message_bytes(),
                                       kMinMessageBytes, kMaxMessageBytes));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("stream_window", config->stream_window(),
                                       kMinWindow, kMaxWindow));
  FAULTLINE_RETURN_IF_ERROR(CheckRange(
      "ingest.max_index_lag", ingest.max_index_lag(), kMinIndexLag, kMaxLag));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("ingest.max_closing_runs",
                                       ingest.max_closing_runs(),
                                       kMinClosingRuns, kMaxLag));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("store.write_buffer_bytes",
                                       store.write_buffer_bytes(),
                                       kMinWriteBuffer, kMaxWriteBuffer));
  FAULTLINE_RETURN_IF_ERROR(CheckRange("store.cache_bytes", store.cache_bytes(),
                                       kMinCache, kMaxCache));
  const auto& drain = config->drain_deadline();
  if (drain.seconds() < 0 || drain.nanos() < 0 ||
      drain.seconds() > kMaxDrainSeconds) {
    return Invalid("drain_deadline", "0 to 3600 s",
                   absl::StrCat("got ", drain.seconds(), " s"));
  }
  if (space.dimension() != 128 && space.dimension() != 256 &&
      space.dimension() != 512) {
    return Invalid("space.dimension", "128, 256 or 512",
                   absl::StrCat("got ", space.dimension()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ServerOptions>> ParseServerOptions(
    int argc, const char* const* argv) {
  CLI::App cli("Faultline server: traces in, failure clusters out, policy back",
               "faultlined");
  ServerOptions options;
  std::string file, listen, data_dir, level = "info";
  bool insecure = false;
  cli.add_option("--config", file, "Configuration: a ServerConfig textproto");
  cli.add_option("--listen", listen,
                 "HOST:PORT, over listen_address; port 0 takes a free one "
                 "(default 127.0.0.1:7171)");
  cli.add_option("--data_dir", data_dir,
                 "Directory of the store, over data_dir; made where absent");
  cli.add_flag("--insecure", insecure,
               "Allow an address other than loopback without encryption");
  cli.add_flag("--accept_data_loss", options.accept_data_loss,
               "Start without what is lost where the end of the write-ahead "
               "log is damaged; for one start");
  cli.add_option("--port_file", options.port_file,
                 "File to write the listening port to");
  cli.add_option("--log_level", level, "Least level that is logged")
      ->check(CLI::IsMember({"info", "warning", "error"}))
      ->capture_default_str();
  cli.add_option("--verbosity", options.verbosity,
                 "1 also logs each call; 0 does not")
      ->check(CLI::Range(0, 9));
  cli.set_version_flag("--version", std::string(ServerVersion()));
  try {
    cli.parse(argc, argv);
  } catch (const CLI::Success& success) {
    cli.exit(success);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }

  if (!file.empty()) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    FAULTLINE_ASSIGN_OR_RETURN(options.config, ParseServerConfig(text, file));
  }
  if (!listen.empty()) options.config.set_listen_address(listen);
  if (!data_dir.empty()) options.config.set_data_dir(data_dir);
  if (insecure) options.config.set_insecure(true);
  options.min_log_level = level == "info" ? 0 : level == "warning" ? 1 : 2;
  FAULTLINE_RETURN_IF_ERROR(CompleteServerConfig(&options.config));
  return options;
}

absl::string_view ServerVersion() { return FAULTLINE_VERSION; }

}  // namespace faultline::server
