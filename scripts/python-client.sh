#!/usr/bin/env bash
# Prints the directory of a Python environment with all that builds, checks and tests clients/python, or with what another
# file of requirements there names.
#
# Usage: scripts/python-client.sh [REQUIREMENTS]      by default requirements-test.txt
#
# The real libraries that the client works with are some 6 GB, so it is kept between runs, one for each set of versions,
# under the user's cache directory.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly REQUIREMENTS=clients/python/${1:-requirements-test.txt}

scripts/need.sh python3-venv >&2
key=$({ python3 -VV && cat "$REQUIREMENTS"; } | sha256sum | cut -c1-16)
environment=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/python-client/$key
mkdir -p "$(dirname "$environment")"
# Of two that run at once, the second waits and finds it complete.
exec 9>"$environment.lock"
flock 9
if [[ ! -e $environment/complete ]]; then
  started=$SECONDS
  echo "installing the Python client's libraries under $environment" >&2
  rm -rf "$environment"
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS" >&2
  touch "$environment/complete"
  echo "    which took $((SECONDS - started)) s" >&2
fi
echo "$environment"
