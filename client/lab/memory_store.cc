#include "client/lab/memory_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace faultline::lab {
namespace {

bool Concerns(const v1::MemorySchema& schema, const MemoryRecord& record) {
  return schema.record_class().empty() ||
         schema.record_class() == record.record_class;
}

absl::Duration MaxAge(const v1::MemorySchema& schema) {
  return absl::Seconds(schema.max_age().seconds()) +
         absl::Nanoseconds(schema.max_age().nanos());
}

}  // namespace

MemoryStore::Written MemoryStore::Write(MemoryRecord record) {
  Written written;
  const auto held = records_.find(record.id);
  if (held != records_.end()) {
    record.version = held->second.version + 1;
    written.contradicts = held->second.value != record.value;
    written.late = held->second.age < record.age;
  }
  for (const v1::MemorySchema& schema : schemas_) {
    written.refused |= written.late && Concerns(schema, record) &&
                       schema.refuse_conflicting_writes();
  }
  written.record = record;
  if (written.refused) return written;
  if (!written.late) {
    overwritten_.erase(record.id);
  } else if (written.contradicts) {
    overwritten_.try_emplace(record.id, held->second);
  }
  records_.insert_or_assign(written.record.id, std::move(record));
  return written;
}

std::string MemoryStore::BrokenBound(const MemoryRecord& record) const {
  for (const v1::MemorySchema& schema : schemas_) {
    if (!Concerns(schema, record)) continue;
    if (schema.has_max_age() && record.age > MaxAge(schema)) return "max_age";
    if (!schema.required_field().empty() &&
        record.fields.count(schema.required_field()) == 0) {
      return "required_field";
    }
  }
  return "";
}

MemoryStore::Returned MemoryStore::Read(absl::string_view subject) const {
  Returned returned;
  const std::string prefix = absl::StrCat(subject, "/");
  for (const auto& [id, record] : records_) {
    if (!absl::StartsWith(id, prefix)) continue;
    std::string reason = BrokenBound(record);
    if (reason.empty()) {
      returned.records.push_back(record);
    } else {
      returned.skipped.push_back({record, std::move(reason)});
    }
    const auto overwritten = overwritten_.find(id);
    if (overwritten != overwritten_.end()) {
      returned.skipped.push_back({overwritten->second, "conflict_overwritten"});
    }
  }
  return returned;
}

}  // namespace faultline::lab
