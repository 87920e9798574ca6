#!/usr/bin/env bash
# Checks the CUDA kernels against the CPU on this machine's GPU and prints the whole table of timings, within 8 minutes.
#
# Usage: scripts/gpu-check.sh [pack]
#   pack   only build the two programs into target/gpu-check, for a machine that has neither cargo nor a network
#
# Without `pack`, the programs are built first if cargo is present (from the folder vendor/ if it exists: `cargo
# vendor`). Without cargo, the programs that were copied into target/gpu-check are run.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARRIED=target/gpu-check

build() {
  local vendored=()
  if [[ -d vendor ]]; then
    vendored=(--offline --config 'source.crates-io.replace-with="vendored"' --config 'source.vendored.directory="vendor"')
  fi
  mkdir -p "$CARRIED"
  local name target
  for name in kernels stats_devices; do
    target=$([[ $name == kernels ]] && echo "--test" || echo "--bench")
    # Cargo also lists the server's program, which tests may start.
    executable=$(cargo "${vendored[@]}" test --release --locked "$target" "$name" --no-run --message-format=json |
      grep -F "\"name\":\"$name\"" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    cp "$executable" "$CARRIED/$name"
  done
}

if command -v cargo >/dev/null; then
  scripts/need.sh build-essential
  build
elif [[ ! -x $CARRIED/kernels || ! -x $CARRIED/stats_devices ]]; then
  echo "no cargo here and no programs in $CARRIED: run \`scripts/gpu-check.sh pack\` elsewhere and carry that folder" >&2
  exit 1
fi
if [[ ${1:-} == pack ]]; then
  ls -l "$CARRIED"
  exit 0
fi
timeout 150 "$CARRIED/kernels" device:: --nocapture
timeout 270 "$CARRIED/stats_devices"
