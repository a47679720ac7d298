#include "lib/trace/log_keys.h"

#include "lib/store/ordered_key.h"

namespace faultline::trace {

std::string ProjectPrefix(absl::string_view project) {
  std::string key;
  store::AppendText(project, &key);
  return key;
}

std::string LogKey(absl::string_view project, uint64_t sequence) {
  std::string key = ProjectPrefix(project);
  store::AppendNumber(sequence, &key);
  return key;
}

std::string IdKey(absl::string_view project, char kind,
                  std::initializer_list<absl::string_view> id) {
  std::string key = ProjectPrefix(project);
  key.push_back(kind);
  for (const absl::string_view part : id) store::AppendText(part, &key);
  return key;
}

std::string EarlierKey(absl::string_view project, char kind,
                       absl::string_view trace_id, uint64_t sequence) {
  std::string key = IdKey(project, kind, {trace_id});
  store::AppendNumber(sequence, &key);
  return key;
}

std::string PiecePrefix(absl::string_view project, absl::string_view trace_id) {
  std::string key = ProjectPrefix(project);
  store::AppendText(trace_id, &key);
  return key;
}

std::string PieceKey(absl::string_view project, absl::string_view trace_id,
                     absl::string_view id) {
  std::string key = PiecePrefix(project, trace_id);
  store::AppendText(id, &key);
  return key;
}

std::string MetaKey(absl::string_view project, absl::string_view fact) {
  std::string key;
  store::AppendText("log", &key);
  store::AppendText(project, &key);
  store::AppendText(fact, &key);
  return key;
}

std::string Known::Encode() const {
  const uint64_t size_and_time = uint64_t{receive_seconds} << 32 | bytes;
  std::string value;
  store::AppendNumber(sequence, &value);
  if (digest != 0 || size_and_time != 0) store::AppendNumber(digest, &value);
  if (size_and_time != 0) store::AppendNumber(size_and_time, &value);
  return value;
}

absl::StatusOr<Known> Known::Decode(absl::string_view value) {
  Known known;
  uint64_t size_and_time = 0;
  if (!store::ConsumeNumber(&value, &known.sequence) ||
      (!value.empty() && !store::ConsumeNumber(&value, &known.digest)) ||
      (!value.empty() && !store::ConsumeNumber(&value, &size_and_time))) {
    return absl::DataLossError("trace log: an id has a malformed value");
  }
  known.receive_seconds = static_cast<uint32_t>(size_and_time >> 32);
  known.bytes = static_cast<uint32_t>(size_and_time);
  return known;
}

}  // namespace faultline::trace
