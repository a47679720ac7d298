#!/usr/bin/env python3
"""Proves that the house checks see what they are for: each rule, on a planted violation."""

import pathlib
import tempfile
import unittest

import include_check
import source_check


class Planted(unittest.TestCase):
    """Builds a small tree and checks it."""

    def problems(self, check, path, text):
        with tempfile.TemporaryDirectory() as root:
            file = pathlib.Path(root, path)
            file.parent.mkdir(parents=True)
            file.write_text(text, encoding="utf-8")
            found, checked = check(root)
            self.assertEqual(checked, 1)
            return found


class IncludeCheckTest(Planted):
    def assert_include(self, path, include, allowed):
        found = self.problems(include_check.check, path, f"#include {include}\n")
        self.assertEqual(not found, allowed, f"{path} includes {include}: {found}")

    def test_libraries_stay_in_their_places(self):
        self.assert_include("lib/space/flat.cc", '"faiss/IndexFlat.h"', True)
        self.assert_include("lib/cluster/leiden.cc", '"faiss/IndexFlat.h"', False)
        self.assert_include("lib/cluster/leiden.cc", "<faiss/IndexFlat.h>", False)
        self.assert_include("lib/store/rocks_store.cc", '"rocksdb/db.h"', True)
        self.assert_include("lib/store/rocks_store.h", '"rocksdb/db.h"', False)
        self.assert_include("lib/trace/trace_log.cc", '"rocksdb/db.h"', False)
        self.assert_include("server/app.cc", '"rocksdb/db.h"', False)
        self.assert_include("server/app.cc", '"grpcpp/server.h"', True)
        self.assert_include("lib/ingest/ingestor.cc", '"grpcpp/server.h"', False)
        self.assert_include("lib/ingest/ingestor.cc", '"faultline/v1/admin_service.grpc.pb.h"', False)

    def test_arrows_point_down(self):
        self.assert_include("lib/trace/trace_log.cc", '"lib/store/key_value_store.h"', True)
        self.assert_include("lib/store/key_value_store.cc", '"lib/trace/trace_log.h"', False)
        self.assert_include("lib/ingest/ingestor.cc", '"lib/slowloop/slow_loop.h"', False)
        self.assert_include("lib/slowloop/slow_loop.cc", '"lib/ingest/ingestor.h"', False)
        self.assert_include("lib/policy/policy_board.cc", '"lib/evaluate/effects.h"', False)
        self.assert_include("lib/base/clock.cc", '"server/app.h"', False)
        self.assert_include("server/app.cc", '"lib/slowloop/slow_loop.h"', True)
        self.assert_include("server/app.cc", '"client/sdk/router_client.h"', False)

    def test_an_unknown_module_is_not_let_through(self):
        self.assert_include("lib/novelty/a.cc", '"lib/base/clock.h"', False)

    def test_clients_see_only_what_a_router_needs(self):
        self.assert_include("client/sdk/router_client.cc", '"lib/policy/policy_matcher.h"', True)
        self.assert_include("client/sdk/router_client.cc", '"lib/policy/policy_board.h"', False)
        self.assert_include("client/cli/main.cc", '"client/sdk/trace_client.h"', True)
        self.assert_include("client/sdk/trace_client.cc", '"client/cli/session.h"', False)
        self.assert_include("client/cli/main.cc", '"server/app.h"', False)

    def test_the_table_of_modules_has_no_circle(self):
        seen = set()
        for module, allowed in include_check.LIB.items():
            self.assertLessEqual(set(allowed.split()), seen, module)
            seen.add(module)


class SourceCheckTest(Planted):
    def assert_text(self, path, text, allowed):
        found = self.problems(source_check.check, path, text + "\n")
        self.assertEqual(not found, allowed, f"{path}: {text}: {found}")

    def test_tests_run(self):
        self.assert_text("tests/unit/a/a_test.cc", "TEST(A, DoesB) {}", True)
        self.assert_text("tests/unit/a/a_test.cc", "TEST(A, DISABLED_DoesB) {}", False)
        self.assert_text("tests/unit/a/a_test.cc", "// TEST(A, DoesB) {", False)
        self.assert_text("tests/unit/a/a_test.cc", "#if 0", False)

    def test_nobody_sleeps(self):
        self.assert_text("tests/unit/a/a_test.cc", "absl::SleepFor(absl::Seconds(1));", False)
        self.assert_text("server/app.cc", "  sleep(1);", False)
        self.assert_text("server/app.cc", "  // A long sleep (of years).", True)

    def test_time_and_chance_are_injected(self):
        self.assert_text("lib/base/clock.cc", "return absl::Now();", True)
        self.assert_text("lib/trace/trace_log.cc", "x = absl::Now();", False)
        self.assert_text("server/app.cc", "std::chrono::system_clock::now();", False)
        self.assert_text("lib/space/a.cc", "std::random_device device;", False)

    def test_exceptions_end_in_adapters(self):
        self.assert_text("lib/space/faiss_guard.cc", "} catch (const std::exception& e) {", True)
        self.assert_text("lib/cluster/leiden.cc", "} catch (const std::exception& e) {", False)

    def test_nothing_is_left_for_later_and_no_path_is_of_one_machine(self):
        self.assert_text("docs/a.md", "TODO: more", False)
        self.assert_text("docs/a.md", "see /root/notes", False)
        self.assert_text("docs/a.md", "see ../work/notes", True)

    def test_classes_say_whether_they_are_thread_safe(self):
        self.assert_text("lib/a/a.h", "// Counts. Thread-safe.\nclass A {\n};", True)
        self.assert_text("lib/a/a.h", "// Counts.\nclass A {\n};", False)
        self.assert_text("lib/a/a.h", "class A;", True)
        self.assert_text("lib/a/a.h", "// Values.\nstruct A {\n};", True)


if __name__ == "__main__":
    unittest.main()
