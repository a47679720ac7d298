#include "client/importers/episode_importer.h"

#include <google/protobuf/util/json_util.h>

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/importers/json_fields.h"
#include "client/importers/line_reader.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::importers {
namespace {

using nlohmann::json;

struct Renamed {
  const char* episode;
  const char* trace;
};
constexpr Renamed kMembers[] = {
    {"episode_id", "trace_id"},      {"system_state", "system"},
    {"decision_trace", "decisions"}, {"execution_trace", "steps"},
    {"memory_state", "memory"},      {"failure_annotation", "annotations"},
};

// An enum member: `list` of `trace member` holds objects, or it is one object.
struct ShortEnum {
  const char* member;  // as in trace.proto
  const char* list;    // list within it; null: the member itself
  const char* field;   // of each object
  const char* prefix;  // of the proto's values
};
constexpr ShortEnum kEnums[] = {
    {"decisions", nullptr, "kind", "KIND_"},
    {"steps", nullptr, "kind", "KIND_"},
    {"steps", nullptr, "status", "STATUS_"},
    {"evaluation", nullptr, "outcome", "OUTCOME_"},
    {"exposure", "interventions", "arm", "ARM_"},
};

void Rename(const char* from, const char* to, json* object) {
  const auto it = object->find(from);
  if (it == object->end()) return;
  json value = std::move(*it);
  object->erase(it);
  (*object)[to] = std::move(value);
}

// Calls `change` with the text of each enum field that `object` has.
template <typename Change>
void VisitEnums(json* object, const Change& change) {
  const auto visit_object = [&](const ShortEnum& it, json* owner) {
    if (!owner->is_object()) return;
    const auto field = owner->find(it.field);
    if (field != owner->end() && field->is_string()) {
      *field = change(it.prefix, field->get<std::string>());
    }
  };
  for (const ShortEnum& it : kEnums) {
    const auto member = object->find(it.member);
    if (member == object->end()) continue;
    json* values = &*member;
    if (it.list != nullptr) {
      if (!values->is_object()) continue;
      const auto list = values->find(it.list);
      if (list == values->end()) continue;
      values = &*list;
    }
    if (values->is_array()) {
      for (json& value : *values) visit_object(it, &value);
    } else {
      visit_object(it, values);
    }
  }
}

absl::Status Malformed(absl::string_view field, absl::string_view limit,
                       absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED, field, limit,
                            message.substr(0, 400)));
}

absl::StatusOr<v1::Trace> TraceFromJson(json episode) {
  for (const Renamed& it : kMembers) {
    if (episode.contains(it.trace)) {
      return Malformed(it.trace, absl::StrCat("`", it.episode, "`"),
                       "has another name in an episode");
    }
    Rename(it.episode, it.trace, &episode);
  }
  const auto annotation = episode.find("annotations");
  if (annotation != episode.end() && annotation->is_object()) {
    *annotation = json::array({*annotation});
  }
  VisitEnums(&episode, [](const char* prefix, const std::string& text) {
    return absl::StrCat(prefix, absl::AsciiStrToUpper(text));
  });
  v1::Trace trace;
  const google::protobuf::util::Status status =
      google::protobuf::util::JsonStringToMessage(JsonText(episode), &trace);
  if (!status.ok()) {
    const auto text = status.message();
    return Malformed("", "docs/episode.md",
                     absl::string_view(text.data(), text.size()));
  }
  if (trace.trace_id().empty()) {
    return Malformed("episode_id", "text that is not empty", "is absent");
  }
  return trace;
}

class EpisodeReader final : public TraceReader {
 public:
  explicit EpisodeReader(std::unique_ptr<std::istream> input)
      : lines_(std::move(input)) {}

  absl::StatusOr<std::optional<v1::Trace>> Next() override {
    std::string line;
    while (next_ == document_.size()) {
      FAULTLINE_ASSIGN_OR_RETURN(const bool more, lines_.Next(&line));
      if (!more) return std::nullopt;
      const absl::string_view text = absl::StripAsciiWhitespace(line);
      if (text.empty()) continue;
      if (!decided_) {
        decided_ = true;
        if (!absl::StartsWith(text, "{") || !absl::EndsWith(text, "}")) {
          FAULTLINE_RETURN_IF_ERROR(ReadDocument(std::move(line)));
          continue;
        }
      }
      return Placed(ParseEpisode(text), lines_.line_number());
    }
    json episode = std::move(document_[next_++]);
    if (!episode.is_object()) {
      return Placed(Malformed("", "an object",
                              absl::StrCat("episode ", next_ - 1,
                                           " of the array is none")),
                    document_line_);
    }
    return Placed(TraceFromJson(std::move(episode)), document_line_);
  }

  uint64_t bytes_read() const override { return lines_.bytes_read(); }

 private:
  static absl::StatusOr<std::optional<v1::Trace>> Placed(
      absl::StatusOr<v1::Trace> trace, uint64_t line) {
    if (trace.ok()) return *std::move(trace);
    return RecordError(
        line, base::GetErrorDetail(trace.status()).value_or(v1::ErrorDetail()));
  }

  // Reads the rest of the source as one document that begins with `text`.
  absl::Status ReadDocument(std::string text) {
    document_line_ = lines_.line_number();
    std::string line;
    bool too_large = false;
    while (true) {
      FAULTLINE_ASSIGN_OR_RETURN(const bool more, lines_.Next(&line));
      if (!more) break;
      too_large |= text.size() + line.size() > kMaxRecordBytes;
      if (!too_large) absl::StrAppend(&text, "\n", line);
    }
    if (too_large) {
      return RecordError(
          document_line_,
          base::MakeErrorDetail(
              v1::ErrorDetail::REASON_TOO_LARGE, "",
              absl::StrCat("at most ", kMaxRecordBytes, " bytes"),
              "the document is too large; write one episode on each line"));
    }
    // An array has no place as a record of its own, so it becomes a member.
    const bool array = absl::StartsWith(absl::StripAsciiWhitespace(text), "[");
    absl::StatusOr<json> parsed = ParseJsonObject(
        array ? absl::StrCat("{\"episodes\":", text, "\n}") : text);
    if (!parsed.ok()) {
      return RecordError(
          document_line_,
          base::GetErrorDetail(parsed.status()).value_or(v1::ErrorDetail()));
    }
    if (array) {
      for (json& episode : (*parsed)["episodes"]) {
        document_.push_back(std::move(episode));
      }
    } else {
      document_.push_back(*std::move(parsed));
    }
    return absl::OkStatus();
  }

  LineReader lines_;
  bool decided_ = false;        // whether lines or a document
  std::vector<json> document_;  // its episodes
  size_t next_ = 0;             // in document_
  uint64_t document_line_ = 0;
};

}  // namespace

absl::StatusOr<v1::Trace> ParseEpisode(absl::string_view text) {
  FAULTLINE_ASSIGN_OR_RETURN(json episode, ParseJsonObject(text));
  return TraceFromJson(std::move(episode));
}

absl::StatusOr<std::string> WriteEpisode(const v1::Trace& trace) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const google::protobuf::util::Status status =
      google::protobuf::util::MessageToJsonString(trace, &text, options);
  if (!status.ok()) {
    const auto message = status.message();
    return Malformed("", "", absl::string_view(message.data(), message.size()));
  }
  FAULTLINE_ASSIGN_OR_RETURN(json episode, ParseJsonObject(text));
  VisitEnums(&episode, [](absl::string_view prefix, const std::string& value) {
    const bool known = absl::StartsWith(value, prefix);
    return absl::AsciiStrToLower(known ? value.substr(prefix.size()) : value);
  });
  for (const Renamed& it : kMembers) Rename(it.trace, it.episode, &episode);
  return JsonText(episode);
}

std::unique_ptr<TraceReader> NewEpisodeReader(
    std::unique_ptr<std::istream> input) {
  return std::make_unique<EpisodeReader>(std::move(input));
}

}  // namespace faultline::importers
