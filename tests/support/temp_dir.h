#ifndef FAULTLINE_TESTS_SUPPORT_TEMP_DIR_H_
#define FAULTLINE_TESTS_SUPPORT_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace faultline::testing {

// A fresh directory that is removed with this object. Honours TEST_TMPDIR.
class TempDir {
 public:
  TempDir() : path_(::testing::TempDir() + "faultline_XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr) << path_;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }

  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace faultline::testing

#endif  // FAULTLINE_TESTS_SUPPORT_TEMP_DIR_H_
