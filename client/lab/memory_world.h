#ifndef FAULTLINE_CLIENT_LAB_MEMORY_WORLD_H_
#define FAULTLINE_CLIENT_LAB_MEMORY_WORLD_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/lab/memory_store.h"
#include "client/lab/problem.h"
#include "client/lab/world.h"
#include "lib/base/random.h"

namespace faultline::lab {

// What is there before a run of Family::kMemory, beside its question.
struct Notebook {
  std::string name;                // the namespace
  std::vector<MemoryRecord> held;  // in the order in which they were written
  // Questions of the namespace's earlier runs: their notes were taken, too.
  std::vector<std::string> earlier;
  // What a look-up finds, by record id. It takes time and money, and holds
  // every fact.
  std::map<std::string, std::string> directory;
};

// Questions about facts that change, `count` in a row of one namespace. Some
// bring notes along. A place changes every 5 days, a project every 8 days, an
// origin never. Kinds, by what memory has to say:
//   fresh     a record of today, or a note of today beside an older record
//   aged      a record that is 2 to 20 days old
//   conflict  a record of today, and then a note that was late: it tells how
//             things were days ago
//   rumour    a record of today, and then a note that nobody stands for
//   absent    nothing
// In World::kNull no note is late. In World::kHarmful the directory is 30 days
// behind. Id and seed stay empty.
std::vector<Problem> MakeMemorySession(World world, int count,
                                       base::Random* random);

// How the agent reads a question: notes by their fixed forms, then what is
// asked. What it cannot read is left out.
struct MemoryTask {
  std::vector<MemoryRecord> notes;  // `source` among the fields, if given
  std::string subject;              // empty: the question was not understood
  std::string record_class;
};
MemoryTask ReadMemoryTask(absl::string_view question);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_MEMORY_WORLD_H_
