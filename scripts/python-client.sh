#!/usr/bin/env bash
# Prints the directory of a Python environment that builds, checks and tests clients/python.
#
# Usage: scripts/python-client.sh [--missing] [REQUIREMENTS]      a file in clients/python, by default requirements-test.txt
#   --missing   only print what would be downloaded
#
# The environment has the real libraries that the client works with. It is kept between runs under the user's cache directory, one
# for each set of versions.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SIZE="some 6 GB on the disk"

only_look=false
if [[ ${1:-} == --missing ]]; then
  only_look=true
  shift
fi
readonly REQUIREMENTS=clients/python/${1:-requirements-test.txt}

if [[ $only_look == false ]]; then
  scripts/need.sh python3-venv >&2
fi
key=$({ { python3 -VV || true; } && cat "$REQUIREMENTS"; } | sha256sum | cut -c1-16)
environment=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/python-client/$key
if [[ $only_look == true ]]; then
  [[ -e $environment/complete ]] || echo "the Python libraries of $REQUIREMENTS, $SIZE"
  exit 0
fi
mkdir -p "$(dirname "$environment")"
# If two run at the same time, the second waits and finds the environment complete.
exec 9>"$environment.lock"
flock 9
if [[ ! -e $environment/complete ]]; then
  started=$SECONDS
  echo "installing the Python libraries of $REQUIREMENTS, $SIZE, under $environment" >&2
  rm -rf "$environment"
  python3 -m venv "$environment"
  scripts/retry.sh "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS" >&2
  touch "$environment/complete"
  echo "    which took $((SECONDS - started)) s" >&2
fi
echo "$environment"
