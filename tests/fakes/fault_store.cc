#include "tests/fakes/fault_store.h"

#include <utility>

#include "gtest/gtest.h"
#include "lib/base/status_macros.h"

namespace faultline::fakes {

bool FaultStore::Order::Hit() {
  if (count == 0) return false;
  if (skip > 0) {
    --skip;
    return false;
  }
  --count;
  return true;
}

void FaultStore::FailWrites(int skip, int count, Fault fault,
                            absl::Status status) {
  absl::MutexLock lock(&mutex_);
  write_order_ = {.skip = skip,
                  .count = count,
                  .fault = fault,
                  .status = std::move(status)};
}

void FaultStore::FailReads(int skip, int count, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  read_order_ = {.skip = skip,
                 .count = count,
                 .fault = Fault::kBeforeApplying,
                 .status = std::move(status)};
}

void FaultStore::HoldWrites() {
  absl::MutexLock lock(&mutex_);
  hold_ = true;
}

void FaultStore::ReleaseWrites() {
  absl::MutexLock lock(&mutex_);
  hold_ = false;
}

void FaultStore::WaitForHeldWrite() const {
  absl::MutexLock lock(&mutex_);
  const auto waits = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return held_ > 0;
  };
  mutex_.Await(absl::Condition(&waits));
}

void FaultStore::Crash() {
  absl::MutexLock lock(&mutex_);
  for (; !undo_.empty(); undo_.pop_back()) {
    const absl::Status status = base_->Write(undo_.back(), /*sync=*/true);
    EXPECT_TRUE(status.ok()) << status;
  }
}

int FaultStore::writes() const {
  absl::MutexLock lock(&mutex_);
  return writes_;
}

absl::Status FaultStore::Read() const {
  absl::MutexLock lock(&mutex_);
  return read_order_.Hit() ? read_order_.status : absl::OkStatus();
}

absl::StatusOr<std::string> FaultStore::Get(store::Family family,
                                            absl::string_view key) const {
  FAULTLINE_RETURN_IF_ERROR(Read());
  return base_->Get(family, key);
}

absl::StatusOr<std::vector<std::optional<std::string>>> FaultStore::MultiGet(
    store::Family family, const std::vector<std::string>& keys) const {
  FAULTLINE_RETURN_IF_ERROR(Read());
  return base_->MultiGet(family, keys);
}

absl::Status FaultStore::Write(const store::WriteBatch& batch, bool sync) {
  absl::MutexLock lock(&mutex_);
  ++writes_;
  const auto released = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !hold_;
  };
  ++held_;
  mutex_.Await(absl::Condition(&released));
  --held_;
  if (!write_order_.Hit()) return Apply(batch, sync);
  if (write_order_.fault == Fault::kAfterApplying) {
    FAULTLINE_RETURN_IF_ERROR(Apply(batch, /*sync=*/false));
  }
  return write_order_.status;
}

absl::Status FaultStore::Apply(const store::WriteBatch& batch, bool sync) {
  store::WriteBatch undo;
  for (const store::WriteBatch::Operation& operation : batch.operations()) {
    const auto old = base_->Get(operation.family, operation.key);
    if (old.ok()) {
      undo.Put(operation.family, operation.key, *old);
    } else if (absl::IsNotFound(old.status())) {
      undo.Delete(operation.family, operation.key);
    } else {
      return old.status();
    }
  }
  FAULTLINE_RETURN_IF_ERROR(base_->Write(batch, sync));
  undo_.push_back(std::move(undo));
  if (sync) undo_.clear();
  return absl::OkStatus();
}

absl::Status FaultStore::Scan(
    store::Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  FAULTLINE_RETURN_IF_ERROR(Read());
  return base_->Scan(family, begin, end, visit);
}

absl::Status FaultStore::ScanReverse(
    store::Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  FAULTLINE_RETURN_IF_ERROR(Read());
  return base_->ScanReverse(family, begin, end, visit);
}

absl::Status FaultStore::Compact(store::Family family, absl::string_view begin,
                                 absl::string_view end) {
  return base_->Compact(family, begin, end);
}

absl::Status FaultStore::Checkpoint(const std::string& path) const {
  FAULTLINE_RETURN_IF_ERROR(Read());
  return base_->Checkpoint(path);
}

}  // namespace faultline::fakes
