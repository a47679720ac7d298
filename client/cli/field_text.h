#ifndef FAULTLINE_CLIENT_CLI_FIELD_TEXT_H_
#define FAULTLINE_CLIENT_CLI_FIELD_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace faultline::cli {

// A field of a flat message as text: a number, words of an enum, `60s` for a
// Duration; elements of a list are separated by commas. Empty where unset.
std::string FieldText(const google::protobuf::Message& message,
                      const google::protobuf::FieldDescriptor& field);

// The way back; replaces the value. INVALID_ARGUMENT, naming the field and
// what it takes, where `text` is no value of it. An empty text empties a list.
absl::Status SetFieldText(google::protobuf::Message* message,
                          const google::protobuf::FieldDescriptor& field,
                          absl::string_view text);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_FIELD_TEXT_H_
