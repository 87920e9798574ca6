#!/usr/bin/env bash
# Prints the path of axe-core, which checks a page for accessibility faults. A pinned version is installed once, from
# npm, under the user's cache directory.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSION=4.14.1

directory=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/axe-core-$VERSION
script=$directory/node_modules/axe-core/axe.min.js
if [[ ! -e $script ]]; then
  scripts/need.sh npm >&2
  echo "installing axe-core under $directory" >&2
  # Installed in a directory beside its final place, then moved, so that tests that run at the same time see all of it
  # or nothing.
  mkdir -p "$(dirname "$directory")"
  unfinished=$(mktemp -d "$directory.XXXXXX")
  scripts/retry.sh npm install --prefix "$unfinished" --no-save --no-audit --no-fund --loglevel=error "axe-core@$VERSION" >&2
  mv -T "$unfinished" "$directory" || rm -rf "$unfinished"
fi
echo "$script"
