#!/usr/bin/env bash
# Installs from Debian those of the packages named whose programs are missing; does nothing if none is.
#
# Usage: scripts/need.sh PACKAGE…      (build-essential, chromium, chromium-driver, npm, postgresql, python3-venv)
set -euo pipefail

# Whether what the package is wanted for is there, wherever it came from.
present() {
  case $1 in
    build-essential) command -v cc >/dev/null ;;
    chromium) command -v chromium >/dev/null ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *)
      echo "need.sh does not know how to look for $1" >&2
      exit 2
      ;;
  esac
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# The tests start a private server of their own, so the package's usual one is neither wanted nor left running.
without_system_cluster() {
  local settings=/etc/postgresql-common/createcluster.d/lrs-tests.conf
  as_root mkdir -p "$(dirname "$settings")"
  echo 'create_main_cluster = false' | as_root tee "$settings" >/dev/null
  local status=0
  "$@" || status=$?
  as_root rm -f "$settings"
  return "$status"
}

install_packages() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
    install --no-install-recommends "$@"
}

missing=()
for package in "$@"; do
  present "$package" || missing+=("$package")
done
if [[ ${#missing[@]} == 0 ]]; then
  exit 0
fi

echo "not installed: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "This is not Debian, so install what these Debian packages hold yourself: ${missing[*]}" >&2
  exit 1
fi
if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
  echo "Installing needs root, and there is no sudo. As root: apt-get install ${missing[*]}" >&2
  exit 1
fi
as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 update
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
  without_system_cluster install_packages "${missing[@]}"
else
  install_packages "${missing[@]}"
fi
