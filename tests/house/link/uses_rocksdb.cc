#include "rocksdb/version.h"

int main() { return rocksdb::GetRocksVersionAsString(true).empty() ? 1 : 0; }
