#ifndef FAULTLINE_CLIENT_LAB_MEMORY_STORE_H_
#define FAULTLINE_CLIENT_LAB_MEMORY_STORE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/intervention.pb.h"

namespace faultline::lab {

// What an agent remembers of one thing.
struct MemoryRecord {
  std::string id;            // `subject/class`, such as `ada/place`
  std::string record_class;  // such as `place`
  std::string value;
  absl::Duration age;  // since it was seen to be so
  std::map<std::string, std::string> fields;
  int version = 1;  // counts the writes
};

// The memory of one namespace. The last write wins, whenever what it says was
// seen: nothing here knows that facts change. What bounds it are the schemas
// that a policy sets; each concerns the records of its class, or all. A write
// conflicts where it is late: what is held had been seen later. Not
// thread-safe.
class MemoryStore {
 public:
  struct Skipped {
    MemoryRecord record;
    std::string reason;  // `max_age`, `required_field`, `conflict_overwritten`
  };
  struct Written {
    MemoryRecord record;       // as it is held now, or as it was refused
    bool contradicts = false;  // what was held says otherwise
    bool late = false;         // what was held had been seen later
    bool refused = false;
  };
  struct Returned {
    std::vector<MemoryRecord> records;  // ascending by id
    std::vector<Skipped> skipped;
  };

  explicit MemoryStore(std::vector<v1::MemorySchema> schemas = {})
      : schemas_(std::move(schemas)) {}

  Written Write(MemoryRecord record);
  // Records whose id begins with `subject/`. Among what is skipped is what a
  // late write has taken the place of.
  Returned Read(absl::string_view subject) const;

  const std::map<std::string, MemoryRecord>& records() const {
    return records_;
  }

 private:
  // The bound that a read record breaks; empty: none.
  std::string BrokenBound(const MemoryRecord& record) const;

  const std::vector<v1::MemorySchema> schemas_;
  std::map<std::string, MemoryRecord> records_;
  // What late writes took the place of, by id.
  std::map<std::string, MemoryRecord> overwritten_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_MEMORY_STORE_H_
