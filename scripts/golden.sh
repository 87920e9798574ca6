#!/usr/bin/env bash
# Compares the schedules with recorded curves of other libraries: prints each case that differs, then the totals.
#
# Usage: scripts/golden.sh [DIRECTORY]      of JSON files in the form of those in tests/golden, which is the default
set -euo pipefail

readonly TEST=golden_schedules::every_recorded_case_of_every_library_is_reproduced

directory=${1:-}
if [[ -n $directory ]]; then
  if [[ ! -d $directory ]]; then
    echo "$directory is not a folder" >&2
    exit 2
  fi
  LRS_GOLDEN_DIR=$(cd "$directory" && pwd)
  export LRS_GOLDEN_DIR
fi
cd "$(dirname "$0")/.."
scripts/need.sh build-essential
cargo test --workspace --locked --no-run --test laws
status=0
output=$(cargo test --workspace --locked --quiet --test laws -- --exact "$TEST" --nocapture 2>&1) || status=$?
if ! grep '^golden: ' <<<"$output" | cut -d' ' -f2-; then
  echo "$output" >&2
fi
exit "$status"
