#!/usr/bin/env bash
# Fuzzes every decoder of outside bytes, with libFuzzer, on the stable compiler.
#
# Usage: scripts/fuzz.sh MINUTES [TARGET…]      divides the time among all targets, or among the named ones
#
# The kept corpus is fuzz/corpus/TARGET; new inputs stay under the target directory for the next run. An input that
# breaks a promise ends the run and its path is printed; add it to the kept corpus once the bug is fixed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly minutes=${1:?how many minutes}
shift
scripts/need.sh build-essential

host=$(rustc -vV | sed -n 's/^host: //p')
readonly work=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# Flags that let libFuzzer see which code an input reaches. With `--target`, they do not apply to build scripts.
readonly flags=(
  --cfg fuzzing
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
)
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
  cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$work"
readonly program=$work/$host/release/lrs-fuzz

targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
  for directory in fuzz/corpus/*/; do
    targets+=("$(basename "$directory")")
  done
fi
seconds=$((minutes * 60 / ${#targets[@]}))
if [[ $seconds -lt 1 ]]; then
  seconds=1
fi
for target in "${targets[@]}"; do
  mkdir -p "$work/corpus/$target" "$work/found"
  echo "==> $target, $seconds s"
  if ! LRS_FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="$work/found/$target-" \
    "$work/corpus/$target" "fuzz/corpus/$target" >"$work/$target.log" 2>&1; then
    tail -40 "$work/$target.log" >&2
    echo "$target broke a promise; the input is under $work/found" >&2
    exit 1
  fi
  sed -n 's/^stat::number_of_executed_units: */    inputs: /p; s/^stat::slowest_unit_time_sec: */    slowest, s: /p' "$work/$target.log"
done
