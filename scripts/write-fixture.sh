#!/usr/bin/env bash
# Writes the data that an older release leaves behind, which tests/service/upgrades.rs opens with the newest program.
#
# Usage: scripts/write-fixture.sh COMMIT NAME      into tests/fixtures/NAME/; needs sqlite3 and pg_dump
set -euo pipefail
cd "$(dirname "$0")/.."

readonly commit=${1:?the commit to write with} name=${2:?the directory under tests/fixtures}
root=$PWD
tree=$(mktemp -d)
leave() {
  git worktree remove --force "$tree"
}
trap leave EXIT
git worktree add --detach "$tree" "$commit"
cp tests/upgrades/write_fixture.rs "$tree/tests/write_fixture.rs"
# A separate target directory, so that neither build discards the other.
export CARGO_TARGET_DIR=${FIXTURE_TARGET_DIR:-$root/target/fixture}
(cd "$tree" && cargo test --locked --test write_fixture)
mkdir -p "tests/fixtures/$name"
for file in sqlite.sql sqlite.expected.json postgres.sql postgres.expected.json; do
  cp "$CARGO_TARGET_DIR/tmp/fixture/$file" "tests/fixtures/$name/$file"
done
git -C "$tree" rev-parse HEAD >"tests/fixtures/$name/commit"
ls -l "tests/fixtures/$name"
