#!/usr/bin/env bash
# Fails where clang-format would change a C++ file of the checkout.
#   format_check.sh [--fix]
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v clang-format >/dev/null || { echo "format_check: skipped: clang-format is not installed"; exit 77; }
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.cc' '*.h')
if [[ ${1:-} == --fix ]]; then
  clang-format -i "${files[@]}"
else
  clang-format --dry-run --Werror "${files[@]}"
fi
echo "format_check: ${#files[@]} files"
