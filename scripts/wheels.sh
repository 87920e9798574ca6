#!/usr/bin/env bash
# Builds the packages for PyPI into target/wheels: lrs-server, whose wheel holds the program `lrs`, and lrs-client.
#
# Usage: scripts/wheels.sh [PROFILE]
#   PROFILE   cargo's profile for the program, by default dist, that of the image
#
# The program runs on every Linux with glibc 2.17 (2014) or later: zig links it against that version, and maturin and
# auditwheel check that it needs nothing newer and no other library.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROFILE=${1:-dist}
readonly WHEELS=$PWD/target/wheels
readonly GLIBC=2_17
readonly MACHINE=$(uname -m)

scripts/need.sh build-essential # for build scripts and macros, which run here
environment=$(scripts/python-client.sh requirements-wheels.txt)
# maturin looks for zig with this environment's Python.
export PATH=$environment/bin:$PATH

rm -rf "$WHEELS"
(
  cd packages/lrs-server
  maturin build --quiet --locked --profile "$PROFILE" --target "$MACHINE-unknown-linux-gnu" --zig \
    --compatibility "manylinux_$GLIBC" --out "$WHEELS"
)
(cd clients/python && python -m build --no-isolation --outdir "$WHEELS") | tail -n 1

auditwheel show "$WHEELS"/lrs_server-*.whl | tee "$WHEELS/audit"
tr '\n' ' ' <"$WHEELS/audit" | grep -q "following platform tag: *\"manylinux_${GLIBC}_$MACHINE\"" || {
  echo "lrs_server is not what its name says: a wheel for manylinux_${GLIBC}_$MACHINE" >&2
  exit 1
}
rm "$WHEELS/audit"
twine check --strict "$WHEELS"/*
ls -l "$WHEELS"
