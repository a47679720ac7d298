#!/usr/bin/env bash
# clang-tidy over the .cc files that differ from a commit, or over all of them.
#   tidy.sh [--all | --since COMMIT]      default: --since main
#   BUILD_DIR   where compile_commands.json is; default: build/dev
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${BUILD_DIR:-build/dev}
[[ -e $build/compile_commands.json ]] || { echo "tidy: no $build/compile_commands.json: run cmake --preset dev" >&2; exit 2; }
case ${1:-} in
  --all) list=(git ls-files -- '*.cc') ;;
  --since) list=(git diff --name-only --diff-filter=d "$2" -- '*.cc') ;;
  '') list=(git diff --name-only --diff-filter=d main -- '*.cc') ;;
  *) sed -n '2,4s/^# *//p' "$0" >&2; exit 2 ;;
esac
# Only files that are built: tests/house holds some that must not link.
mapfile -t files < <("${list[@]}" | while read -r file; do
  grep -qF "/$file\"" "$build/compile_commands.json" && echo "$file"; done)
((${#files[@]})) || { echo "tidy: no files"; exit 0; }
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P 2 clang-tidy-14 --quiet -p "$build"
echo "tidy: ${#files[@]} files clean"
