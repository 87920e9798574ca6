#!/usr/bin/env bash
# Trains the benchmark's workloads under a server of its own; see benches/training/README.md.
#
# Usage: scripts/bench-training.sh [OPTION…]      the options of benches/training/bench.py
#
# Python's libraries are installed once, in pinned versions, under the user's cache directory.
set -euo pipefail

readonly ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly BENCH=$ROOT/benches/training
readonly VENV=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/bench-training

pip_install() {
  "$ROOT/scripts/retry.sh" "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-compile "$@"
}

"$ROOT/scripts/need.sh" build-essential
# The copy of the requirements is made last, so half an installation is not taken for a whole one.
if ! cat "$BENCH"/requirements*.txt | cmp -s - "$VENV/requirements.txt"; then
  "$ROOT/scripts/need.sh" python3-venv
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "the training benchmark needs Python 3.11 or newer, and python3 is $(python3 --version)" >&2
    exit 1
  }
  echo "installing $(basename "$VENV") under $(dirname "$VENV"): 1.8 GB on disk"
  python3 -m venv --clear "$VENV"
  pip_install -r "$BENCH/requirements.txt"
  pip_install --no-deps -r "$BENCH/requirements-torch.txt"
  "$VENV/bin/python" "$ROOT/clients/python/tests/without_cuda.py"
  cat "$BENCH"/requirements*.txt >"$VENV/requirements.txt"
fi

target=${CARGO_TARGET_DIR:-$ROOT/target}
(cd "$ROOT" && cargo build --release --locked --target-dir "$target")

# Paths in the options are relative to the caller's directory.
exec env PYTHONDONTWRITEBYTECODE=1 "$VENV/bin/python" "$BENCH/bench.py" \
  --binary "$target/release/lrs" --out "$target/bench-training/results.json" "$@"
