#include "lib/store/rocks_store.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/base/thread_priority.h"
#include "lib/store/synced_mark.h"
#include "rocksdb/cache.h"
#include "rocksdb/convenience.h"
#include "rocksdb/db.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/checkpoint.h"
#include "rocksdb/write_batch.h"
#include "rocksdb/write_buffer_manager.h"

namespace faultline::store {

// What RocksDB reports of a store that is open.
class RocksStore::Listener : public rocksdb::EventListener {
 public:
  // From now on; not during the opening.
  void Begin(SyncedMark* mark) { mark_ = mark; }

  // A write to the log has failed.
  bool broken() const { return broken_; }

  // On the threads that write and merge files: they yield to commits.
  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    base::SetThreadPriority(base::ThreadPriority::kBatch);
  }
  void OnCompactionBegin(rocksdb::DB*,
                         const rocksdb::CompactionJobInfo&) override {
    base::SetThreadPriority(base::ThreadPriority::kBatch);
  }
  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo&) override;
  void OnCompactionCompleted(rocksdb::DB* db,
                             const rocksdb::CompactionJobInfo&) override;
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason,
                         rocksdb::Status* status) override;
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason reason,
                            rocksdb::Status status,
                            bool* auto_recovery) override;

 private:
  std::atomic<SyncedMark*> mark_ = nullptr;
  std::atomic<bool> broken_ = false;
};

struct RocksStore::Database {
  std::string path;
  uint64_t reserve_bytes = 0;
  std::shared_ptr<Listener> listener;
  std::unique_ptr<SyncedMark> mark;  // the listener uses it
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::ColumnFamilyHandle* default_family = nullptr;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount> families{};
  // A write failed, though not in the log: RocksDB may have stopped taking any.
  std::atomic<bool> stopped = false;

  rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return families[static_cast<size_t>(family)];
  }
};

namespace {

constexpr char kMarkFile[] = "SYNCED";
constexpr char kManifest[] = "MANIFEST-";
// It is read whole at each flush.
constexpr uint64_t kMaxManifestBytes = 4 << 20;
constexpr int64_t kRetrySeconds = 5;

rocksdb::Slice ToSlice(absl::string_view bytes) {
  return rocksdb::Slice(bytes.data(), bytes.size());
}

absl::string_view ToView(const rocksdb::Slice& slice) {
  return absl::string_view(slice.data(), slice.size());
}

// What writing is refused with, so that callers keep what they have.
absl::Status NotStored(absl::string_view cause, absl::string_view message) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "", "", message);
  (*detail.mutable_metadata())["cause"] = std::string(cause);
  detail.mutable_retry_delay()->set_seconds(kRetrySeconds);
  return base::DetailedError(absl::StatusCode::kUnavailable, detail);
}

absl::Status DiskFull(absl::string_view how) {
  return NotStored(
      "disk_full",
      absl::StrCat("the disk of the data directory is full, and nothing is "
                   "stored until there is room: make some, it goes on by "
                   "itself (",
                   how, ")"));
}

absl::Status Broken(absl::string_view how) {
  return NotStored(
      "failed_write",
      absl::StrCat("a write to the disk of the data directory has failed, and "
                   "nothing is stored until the server is started again",
                   how.empty() ? "" : ": ", how));
}

absl::Status ToStatus(const rocksdb::Status& status,
                      absl::string_view what_for) {
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      absl::StrCat("store: ", what_for, ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(message);
  // A file that is missing was lost, too.
  if (status.IsCorruption() || status.IsPathNotFound()) {
    return absl::DataLossError(absl::StrCat(
        message, "; a file of the store is damaged, restore a backup"));
  }
  if (status.IsNoSpace()) return DiskFull(status.ToString());
  return absl::InternalError(message);
}

// Of a write that was not taken.
absl::Status Refused(const rocksdb::Status& status) {
  if (status.IsCorruption()) return ToStatus(status, "write");
  // Busy: RocksDB itself waits for room.
  if (status.IsNoSpace() || status.IsBusy()) return DiskFull(status.ToString());
  return Broken(status.ToString());
}

std::string AtKey(Family family, absl::string_view key) {
  return absl::StrCat(FamilyName(family), "/",
                      absl::CHexEscape(key.substr(0, 64)));
}

rocksdb::CompressionType Supported(rocksdb::CompressionType wanted) {
  const auto supported = rocksdb::GetSupportedCompressions();
  const bool found =
      std::find(supported.begin(), supported.end(), wanted) != supported.end();
  return found ? wanted : rocksdb::kNoCompression;
}

rocksdb::ColumnFamilyOptions FamilyOptions(
    Family family, const RocksStore::Options& options,
    const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;

  rocksdb::ColumnFamilyOptions family_options;
  family_options.write_buffer_size = options.write_buffer_bytes / 4;
  switch (family) {
    case Family::kLog:
      // Large values in ascending order: big blocks, and one cheap compression
      // on every level, so that files move down without being rewritten.
      table.block_size = 32 << 10;
      family_options.compression = Supported(rocksdb::kLZ4Compression);
      break;
    case Family::kPieces:
      // Written, read once or twice, deleted; looked up by each arrival, which
      // finds nothing.
      table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
      family_options.memtable_prefix_bloom_size_ratio = 0.05;
      family_options.memtable_whole_key_filtering = true;
      table.block_size = 16 << 10;
      family_options.compression = Supported(rocksdb::kLZ4Compression);
      break;
    case Family::kIds:
      // Point lookups of which most find nothing, in memory and in files.
      table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
      family_options.memtable_prefix_bloom_size_ratio = 0.05;
      family_options.memtable_whole_key_filtering = true;
      family_options.compression = Supported(rocksdb::kLZ4Compression);
      break;
    case Family::kTicks:
    case Family::kPolicies:
    case Family::kMeta:
      family_options.compression = Supported(rocksdb::kZSTD);
      break;
  }
  family_options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return family_options;
}

rocksdb::DBOptions DatabaseOptions(const RocksStore::Options& options) {
  rocksdb::DBOptions database;
  database.create_if_missing = true;
  database.create_missing_column_families = true;
  database.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(options.write_buffer_bytes);
  // A family that is rarely written must not keep every old log file alive.
  database.max_total_wal_size = 2 * options.write_buffer_bytes;
  // A write that a crash cut off is no error to RocksDB: SyncedMark tells
  // whether it was one that had been synced. Older files it knows itself.
  database.wal_recovery_mode =
      options.accept_loss
          ? rocksdb::WALRecoveryMode::kPointInTimeRecovery
          : rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  database.track_and_verify_wals_in_manifest = !options.accept_loss;
  database.max_manifest_file_size = kMaxManifestBytes;
  database.max_open_files = 512;
  database.max_background_jobs = 2;
  // Smooths the writing of table files, which would else delay a log sync.
  database.bytes_per_sync = 1 << 20;
  database.keep_log_file_num = 4;
  database.max_log_file_size = 16 << 20;
  return database;
}

absl::Status Damaged(const std::string& file, absl::string_view how) {
  return absl::DataLossError(absl::StrCat("store: ", file, ": ", how));
}

// xxh64 of the first bytes of a file; nothing where it is shorter.
std::optional<uint64_t> DigestOf(const std::string& file, uint64_t bytes) {
  std::ifstream in(file, std::ios::binary);
  std::string text(bytes, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return std::nullopt;
  }
  return base::Hash64(text);
}

// Files of a store, beside CURRENT, that hold what was written.
std::vector<std::string> DataFiles(const std::string& path,
                                   absl::string_view extension) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension().string() == extension) {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// What RocksDB does not see before it opens: that the list of its files is not
// the one that it wrote. It would take the files that are missing in it for
// left-overs, and remove them.
absl::Status CheckManifest(const std::string& path,
                           const std::optional<SyncedMark::State>& mark) {
  const std::string current = absl::StrCat(path, "/CURRENT");
  std::ifstream file(current, std::ios::binary);
  if (!file) {
    // A kill during the very first start leaves nothing else.
    const bool fresh = !mark.has_value() && DataFiles(path, ".sst").empty() &&
                       DataFiles(path, ".log").empty();
    return fresh ? absl::OkStatus()
                 : Damaged(current, "is missing, and the store is not empty");
  }
  std::string text;
  std::getline(file, text);
  const bool ends = !file.eof();
  absl::string_view digits = text;
  uint64_t number = 0;
  if (!ends || !absl::ConsumePrefix(&digits, kManifest) ||
      !absl::SimpleAtoi(digits, &number)) {
    return Damaged(current, "does not name a manifest");
  }
  const std::string manifest = absl::StrCat(path, "/", text);
  if (!std::filesystem::exists(manifest)) {
    return Damaged(current,
                   absl::StrCat("names ", manifest, ", which is not there"));
  }
  if (!mark.has_value() || number > mark->manifest) return absl::OkStatus();
  if (number < mark->manifest) {
    return Damaged(current,
                   absl::StrCat("names ", manifest, ", which was replaced"));
  }
  if (DigestOf(manifest, mark->manifest_bytes) == mark->manifest_digest) {
    return absl::OkStatus();
  }
  return Damaged(manifest, "is not what was written");
}

// Tells the mark what the manifest has come to.
void MarkManifest(rocksdb::DB* db, SyncedMark* mark) {
  std::vector<std::string> files;
  uint64_t bytes = 0;
  if (!db->GetLiveFiles(files, &bytes, /*flush_memtable=*/false).ok()) return;
  for (const std::string& file : files) {
    absl::string_view digits = file;
    uint64_t number = 0;
    if (!absl::ConsumePrefix(&digits, absl::StrCat("/", kManifest)) ||
        !absl::SimpleAtoi(digits, &number)) {
      continue;
    }
    const auto digest = DigestOf(absl::StrCat(db->GetName(), file), bytes);
    if (digest.has_value()) mark->SetManifest(number, bytes, *digest);
  }
}

// Table files that cannot be opened: of one that is damaged in its last bytes,
// RocksDB names the manifest.
std::string DamagedTables(const std::string& path) {
  std::vector<std::string> damaged;
  for (const std::string& file : DataFiles(path, ".sst")) {
    rocksdb::SstFileReader reader{rocksdb::Options()};
    if (!reader.Open(file).ok()) damaged.push_back(file);
  }
  return absl::StrJoin(damaged, ", ");
}

bool IsOfLog(rocksdb::BackgroundErrorReason reason) {
  return reason == rocksdb::BackgroundErrorReason::kWriteCallback ||
         reason == rocksdb::BackgroundErrorReason::kMemTable;
}

}  // namespace

void RocksStore::Listener::OnFlushCompleted(rocksdb::DB* db,
                                            const rocksdb::FlushJobInfo&) {
  SyncedMark* mark = mark_;
  if (mark != nullptr) MarkManifest(db, mark);
}

void RocksStore::Listener::OnCompactionCompleted(
    rocksdb::DB* db, const rocksdb::CompactionJobInfo&) {
  SyncedMark* mark = mark_;
  if (mark != nullptr) MarkManifest(db, mark);
}

void RocksStore::Listener::OnBackgroundError(
    rocksdb::BackgroundErrorReason reason, rocksdb::Status*) {
  if (IsOfLog(reason)) broken_ = true;
}

// A log file of which a write has failed is not written again: Debian's
// RocksDB checks that by an assertion.
void RocksStore::Listener::OnErrorRecoveryBegin(
    rocksdb::BackgroundErrorReason reason, rocksdb::Status,
    bool* auto_recovery) {
  if (IsOfLog(reason)) *auto_recovery = false;
}

RocksStore::RocksStore(std::unique_ptr<Database> database)
    : database_(std::move(database)) {}

RocksStore::~RocksStore() {
  for (rocksdb::ColumnFamilyHandle* handle : database_->families) {
    database_->db->DestroyColumnFamilyHandle(handle);
  }
  database_->db->DestroyColumnFamilyHandle(database_->default_family);
  database_->db->Close();
}

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(
    const Options& options, const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return absl::InternalError(absl::StrCat("store: cannot make directory ",
                                            path, ": ", error.message()));
  }
  const std::shared_ptr<rocksdb::Cache> cache =
      rocksdb::NewLRUCache(options.cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName,
                           rocksdb::ColumnFamilyOptions());
  for (int i = 0; i < kFamilyCount; ++i) {
    const auto family = static_cast<Family>(i);
    descriptors.emplace_back(std::string(FamilyName(family)),
                             FamilyOptions(family, options, cache));
  }
  const std::string mark_file = absl::StrCat(path, "/", kMarkFile);
  FAULTLINE_ASSIGN_OR_RETURN(const auto mark, SyncedMark::Read(mark_file));
  FAULTLINE_RETURN_IF_ERROR(CheckManifest(path, mark));
  const std::string logs = absl::StrJoin(DataFiles(path, ".log"), ", ");
  const auto listener = std::make_shared<Listener>();
  rocksdb::DBOptions database_options = DatabaseOptions(options);
  database_options.listeners.push_back(listener);

  rocksdb::DB* db = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  const rocksdb::Status status =
      rocksdb::DB::Open(database_options, path, descriptors, &handles, &db);
  if (status.IsInvalidArgument()) {
    return absl::FailedPreconditionError(
        absl::StrCat("store: ", path, ": ", status.ToString()));
  }
  if (status.IsCorruption() && !absl::StrContains(status.ToString(), path)) {
    // RocksDB names every other file.
    return Damaged(logs, absl::StrCat("the write-ahead log is damaged: ",
                                      status.ToString()));
  }
  if (status.IsCorruption()) {
    const std::string tables = DamagedTables(path);
    return ToStatus(status, tables.empty() ? path : tables);
  }
  FAULTLINE_RETURN_IF_ERROR(ToStatus(status, path));
  auto database = std::make_unique<Database>();
  database->path = path;
  database->reserve_bytes = options.reserve_bytes;
  database->listener = listener;
  database->db.reset(db);
  database->default_family = handles[0];
  std::copy(handles.begin() + 1, handles.end(), database->families.begin());
  std::unique_ptr<RocksStore> store(new RocksStore(std::move(database)));

  const uint64_t sequence = db->GetLatestSequenceNumber();
  if (mark.has_value() && sequence < mark->sequence && !options.accept_loss) {
    return Damaged(
        logs.empty() ? absl::StrCat(path, "/*.log") : logs,
        absl::StrCat("the write-ahead log ends too early: it was cut, or its "
                     "end is damaged; ",
                     mark->sequence - sequence,
                     " changes that were acknowledged are not in it"));
  }
  FAULTLINE_ASSIGN_OR_RETURN(store->database_->mark,
                             SyncedMark::Open(mark_file));
  // What was in the write-ahead log is in tables now, which are synced.
  store->database_->mark->SetSequence(sequence);
  MarkManifest(db, store->database_->mark.get());
  listener->Begin(store->database_->mark.get());
  return store;
}

absl::StatusOr<std::string> RocksStore::Get(Family family,
                                            absl::string_view key) const {
  std::string value;
  const rocksdb::Status status = database_->db->Get(
      rocksdb::ReadOptions(), database_->handle(family), ToSlice(key), &value);
  if (!status.ok()) return ToStatus(status, AtKey(family, key));
  return value;
}

absl::StatusOr<std::vector<std::optional<std::string>>> RocksStore::MultiGet(
    Family family, const std::vector<std::string>& keys) const {
  std::vector<std::optional<std::string>> values(keys.size());
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  std::vector<rocksdb::PinnableSlice> found(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  database_->db->MultiGet(rocksdb::ReadOptions(), database_->handle(family),
                          keys.size(), slices.data(), found.data(),
                          statuses.data());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].ok()) {
      values[i] = found[i].ToString();
    } else if (!statuses[i].IsNotFound()) {
      return ToStatus(statuses[i], AtKey(family, keys[i]));
    }
  }
  return values;
}

absl::Status RocksStore::Write(const WriteBatch& batch, bool sync) {
  if (database_->listener->broken()) return Broken("");
  struct statvfs disk {};
  if (statvfs(database_->path.c_str(), &disk) == 0) {
    const uint64_t left = uint64_t{disk.f_bavail} * disk.f_frsize;
    if (left < database_->reserve_bytes) {
      return DiskFull(absl::StrCat(left, " bytes left, ",
                                   database_->reserve_bytes, " needed"));
    }
  }
  // RocksDB refuses every write after a failed one until it is told to go on.
  if (database_->stopped) {
    const rocksdb::Status resumed = database_->db->Resume();
    if (!resumed.ok()) return Refused(resumed);
    database_->stopped = false;
  }
  constexpr size_t kOperationOverhead = 16;
  rocksdb::WriteBatch writes(batch.byte_size() +
                             batch.operations().size() * kOperationOverhead);
  for (const WriteBatch::Operation& operation : batch.operations()) {
    rocksdb::ColumnFamilyHandle* handle = database_->handle(operation.family);
    const rocksdb::Status status =
        operation.erase ? writes.Delete(handle, operation.key)
                        : writes.Put(handle, operation.key, operation.value);
    if (!status.ok()) {
      return ToStatus(status, AtKey(operation.family, operation.key));
    }
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = sync;
  // This write comes after what is there already: at least so far.
  const uint64_t sequence =
      database_->db->GetLatestSequenceNumber() + writes.Count();
  const rocksdb::Status status = database_->db->Write(write_options, &writes);
  if (database_->listener->broken()) return Broken(status.ToString());
  if (!status.ok()) {
    database_->stopped = true;
    return Refused(status);
  }
  if (sync) database_->mark->SetSequence(sequence);
  return absl::OkStatus();
}

absl::Status RocksStore::Scan(
    Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  const rocksdb::Slice bound = ToSlice(end);
  rocksdb::ReadOptions read_options;
  read_options.fill_cache = false;
  if (!end.empty()) read_options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db->NewIterator(read_options, database_->handle(family)));
  for (it->Seek(ToSlice(begin)); it->Valid(); it->Next()) {
    if (!visit(ToView(it->key()), ToView(it->value()))) break;
  }
  return ToStatus(it->status(), AtKey(family, begin));
}

absl::Status RocksStore::ScanReverse(
    Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  const rocksdb::Slice lower = ToSlice(begin);
  const rocksdb::Slice upper = ToSlice(end);
  rocksdb::ReadOptions read_options;
  read_options.fill_cache = false;
  read_options.iterate_lower_bound = &lower;
  if (!end.empty()) read_options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db->NewIterator(read_options, database_->handle(family)));
  for (it->SeekToLast(); it->Valid(); it->Prev()) {
    if (!visit(ToView(it->key()), ToView(it->value()))) break;
  }
  return ToStatus(it->status(), AtKey(family, end));
}

absl::Status RocksStore::Compact(Family family, absl::string_view begin,
                                 absl::string_view end) {
  if (database_->listener->broken()) return Broken("");
  // A log file lives as long as any family has unflushed writes in it, and
  // holds what was deleted.
  const std::vector<rocksdb::ColumnFamilyHandle*> all(
      database_->families.begin(), database_->families.end());
  FAULTLINE_RETURN_IF_ERROR(
      ToStatus(database_->db->Flush(rocksdb::FlushOptions(), all), "flush"));
  const rocksdb::Slice first = ToSlice(begin);
  const rocksdb::Slice bound = ToSlice(end);
  rocksdb::CompactRangeOptions options;
  // Appends go on, and other compactions with them.
  options.exclusive_manual_compaction = false;
  return ToStatus(
      database_->db->CompactRange(options, database_->handle(family), &first,
                                  end.empty() ? nullptr : &bound),
      absl::StrCat("compaction of ", FamilyName(family)));
}

absl::Status RocksStore::Checkpoint(const std::string& path) const {
  if (database_->listener->broken()) return Broken("");
  rocksdb::Checkpoint* made = nullptr;
  FAULTLINE_RETURN_IF_ERROR(ToStatus(
      rocksdb::Checkpoint::Create(database_->db.get(), &made), "checkpoint"));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  return ToStatus(checkpoint->CreateCheckpoint(path),
                  absl::StrCat("checkpoint ", path));
}

}  // namespace faultline::store
