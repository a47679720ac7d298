#include <utility>

#include "lib/store/memory_store.h"
#include "lib/store/rocks_store.h"
#include "tests/conformance/key_value_store_suite.h"
#include "tests/fakes/fault_store.h"

namespace faultline::store {
namespace {

std::unique_ptr<KeyValueStore> MakeMemory(const std::string& /*directory*/) {
  return std::make_unique<MemoryStore>();
}

std::unique_ptr<KeyValueStore> MakeRocks(const std::string& directory) {
  auto store = RocksStore::Open(RocksStore::Options(), directory);
  EXPECT_OK(store);
  return *std::move(store);
}

// A fault store that is never told to fail, with the store behind it.
struct Memory {
  MemoryStore memory;
};
struct FaultStoreAtRest : private Memory, public fakes::FaultStore {
  FaultStoreAtRest() : FaultStore(&memory) {}
};

std::unique_ptr<KeyValueStore> MakeFault(const std::string& /*directory*/) {
  return std::make_unique<FaultStoreAtRest>();
}

INSTANTIATE_TEST_SUITE_P(Stores, KeyValueStoreSuite,
                         ::testing::Values(StoreFactory{"Memory", MakeMemory},
                                           StoreFactory{"Rocks", MakeRocks},
                                           StoreFactory{"Fault", MakeFault}),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace faultline::store
