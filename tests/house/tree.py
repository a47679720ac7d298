"""The files of a checkout, and how a broken rule is reported."""

import pathlib
import subprocess
import sys

CODE = (".h", ".cc")


def files(root, suffixes=None):
    """Paths below root: what git tracks or would track; all where there is no git."""
    root = pathlib.Path(root)
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [root / name for name in listing.stdout.decode().split("\0") if name]
    else:
        paths = list(root.rglob("*"))
    paths = (p for p in paths if p.is_file() and (suffixes is None or p.suffix in suffixes))
    return sorted(p.relative_to(root) for p in paths)


def lines(root, path):
    return (pathlib.Path(root) / path).read_text(encoding="utf-8", errors="replace").splitlines()


def report(name, problems, checked):
    """Prints the problems; returns the exit code."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problems in {checked} files")
    return 1 if problems else 0


def root_argument():
    return sys.argv[1] if len(sys.argv) > 1 else "."
