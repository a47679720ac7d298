#!/usr/bin/env python3
"""Fails on an include against the direction of the design.

Usage: include_check.py [ROOT]
"""

import re
import sys

import tree

# What a module of lib/ may include, besides itself. A line names lower ones only.
LIB = {
    "base": "",
    "stats": "",
    "store": "base",
    "trace": "base store",
    "embedding": "base trace",
    "space": "base",
    "policy": "base store trace",
    "cluster": "base stats embedding space",
    "diagnose": "base stats trace embedding cluster policy",
    "intervene": "base stats trace embedding cluster diagnose policy",
    "evaluate": "base stats trace embedding cluster diagnose policy intervene",
    "risk": "base stats embedding",
    "ingest": "base store trace embedding space",
    "slowloop": "base stats store trace embedding space cluster diagnose policy intervene evaluate risk",
}

# What client/ may use of lib/: what a router needs to decide as the server would.
CLIENT_LIB = ("lib/base/", "lib/policy/policy_matcher.h", "lib/trace/trace_field.h")

# A part of client/ may include itself and these parts.
CLIENT = {"sdk": "", "importers": "", "lab": "sdk importers", "arena": "sdk importers", "cli": "sdk importers arena"}

# Headers of libraries, and where alone they may be included.
LIBRARIES = [
    (r"faiss/", r"lib/space/|tests/", "FAISS stays in lib/space"),
    (r"rocksdb/", r"lib/store/rocks_store\.cc$|tests/bench/|tests/house/link/", "RocksDB stays in lib/store/rocks_store.cc"),
    (r"grpc(pp|\+\+)?/|.*\.grpc\.pb\.h$", r"server/|client/|tests/", "gRPC stays in server/ and client/"),
    (r"CLI/", r"client/|server/|tests/", "command lines are read in client/ and server/"),
    (r"libsmartcols/", r"client/(cli|lab)/", "tables are drawn in client/cli and client/lab"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def problem_with(path, include):
    """Why `path` must not include `include`, or None."""
    for library, home, rule in LIBRARIES:
        if re.match(library, include) and not re.match(home, path):
            return rule
    part, _, rest = path.partition("/")
    target, _, target_rest = include.partition("/")
    if part == "lib" and target in ("server", "client", "tests"):
        return f"lib/ does not know {target}/"
    if part == "lib" and target == "lib":
        module, wanted = rest.split("/")[0], target_rest.split("/")[0]
        if module not in LIB:
            return f"lib/{module} has no line in tests/house/include_check.py"
        if wanted != module and wanted not in LIB[module].split():
            return f"lib/{module} may include: {LIB[module] or 'nothing of lib/'}"
    if part == "client":
        if target in ("server", "tests"):
            return f"client/ does not know {target}/"
        if target == "lib" and not include.startswith(CLIENT_LIB):
            return f"client/ may include of lib/: {' '.join(CLIENT_LIB)}"
        if target == "client":
            module, wanted = rest.split("/")[0], target_rest.split("/")[0]
            if wanted != module and wanted not in CLIENT.get(module, "").split():
                return f"client/{module} may include: {CLIENT.get(module) or 'itself'}"
    if part == "server" and target in ("client", "tests"):
        return f"server/ does not know {target}/"
    return None


def check(root):
    """Problems as `file:line: include: rule`, and the number of files."""
    problems = []
    paths = tree.files(root, tree.CODE)
    for path in paths:
        for number, line in enumerate(tree.lines(root, path), start=1):
            include = INCLUDE.match(line)
            rule = problem_with(path.as_posix(), include.group(1)) if include else None
            if rule:
                problems.append(f"{path}:{number}: {include.group(1)}: {rule}")
    return problems, len(paths)


if __name__ == "__main__":
    sys.exit(tree.report("include_check", *check(tree.root_argument())))
