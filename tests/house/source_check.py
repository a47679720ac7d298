#!/usr/bin/env python3
"""Fails on what the house does not want to read in its sources.

Usage: source_check.py [ROOT]
"""

import re
import sys

import tree

# (files, lines that must not be there, files that may, why)
FORBIDDEN = [
    (r".*\.(cc|h)$", r"\bDISABLED_\w|^\s*//\s*(TEST(_F|_P)?|TYPED_TEST(_P)?)\(|^\s*#\s*if\s+0\b", None,
     "a test is kept and runs, or goes"),
    (r".*\.(cc|h)$", r"\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\b|(^|[^\w.>])sleep\(", None,
     "wait on a condition, with the injected clock"),
    (r".*\.(cc|h)$", r"\babsl::Now\(|\b(system|steady|high_resolution)_clock\b|\bstd::time\(|\bgettimeofday\(",
     r"lib/base/clock\.cc$", "time comes from base::Clock"),
    (r".*\.(cc|h)$", r"\bstd::random_device\b|[^\w.>]s?rand\(", r"lib/base/|server/main\.cc$|client/\w+/main\.cc$",
     "random numbers come from base::Random"),
    (r"(lib|server|client)/.*\.(cc|h)$", r"\bcatch\s*\(", r"lib/(space|store)/|client/importers/|server/server_options\.cc$|client/\w+/main\.cc$|client/cli/cli\.cc$",
     "exceptions end in one adapter"),
    (r".*", r"\b(TODO|FIXME|XXX|HACK)\b", r"tests/house/", "do it, or file an issue"),
    (r".*", r"(^|[^\w.])/(work|root|farm)/", r"tests/house/", "a path of one machine"),
    (r".*\.(cc|h)$", r"\busing namespace\b", None, "names are spelled out"),
]

CLASS = re.compile(r"^(class|struct) (\[\[nodiscard\]\] )?(?P<name>\w+)( final)?( :.*)?( ?\{.*)?$")
THREAD_SAFETY = re.compile(r"[Tt]hread-safe|[Tt]hread-compatible|Immutable|immutable")


def class_problems(root, path):
    """Classes of a public header whose comment is silent about threads.

    A class with private state counts; a plain struct of values does not.
    """
    lines = tree.lines(root, path)
    for index, line in enumerate(lines):
        match = CLASS.match(line)
        if not match or match.group(1) == "struct" or line.rstrip().endswith(";"):
            continue
        comment = []
        for above in reversed(lines[:index]):
            if not above.startswith(("//", "template")):
                break
            comment.append(above)
        if not THREAD_SAFETY.search(" ".join(reversed(comment))):
            yield f"{path}:{index + 1}: class {match.group('name')}: its comment says nothing about threads"


def check(root):
    """Problems as `file:line: text: why`, and the number of files."""
    problems = []
    paths = tree.files(root)
    rules = [(re.compile(f), re.compile(t), re.compile(a) if a else None, why) for f, t, a, why in FORBIDDEN]
    for path in paths:
        name = path.as_posix()
        applicable = [(text, why) for where, text, allowed, why in rules
                      if where.match(name) and not (allowed and allowed.match(name))]
        for number, line in enumerate(tree.lines(root, path), start=1):
            for text, why in applicable:
                if text.search(line):
                    problems.append(f"{path}:{number}: {line.strip()[:80]}: {why}")
        if re.match(r"(lib|server|client)/.*\.h$", name):
            problems.extend(class_problems(root, path))
    return problems, len(paths)


if __name__ == "__main__":
    sys.exit(tree.report("source_check", *check(tree.root_argument())))
