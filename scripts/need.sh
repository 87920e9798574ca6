#!/usr/bin/env bash
# Installs the named Debian packages whose programs are missing.
#
# Usage: scripts/need.sh [--missing] PACKAGE…
#   PACKAGE     one of build-essential, chromium, chromium-driver, npm, postgresql, prometheus,
#               python3-venv
#   --missing   only print the packages that would be installed
set -euo pipefail
cd "$(dirname "$0")/.."

only_look=false
if [[ ${1:-} == --missing ]]; then
  only_look=true
  shift
fi

# Whether the programs of a package are present, whatever installed them.
present() {
  case $1 in
    build-essential) command -v cc >/dev/null ;;
    chromium) command -v chromium >/dev/null ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    prometheus) command -v promtool >/dev/null ;;
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *)
      echo "need.sh does not know how to look for $1" >&2
      exit 2
      ;;
  esac
}

if [[ $(id -u) == 0 ]]; then as_root=(); else as_root=(sudo); fi

# Installs without the server that the package would start: the tests start private servers of their own.
without_system_cluster() {
  local settings=/etc/postgresql-common/createcluster.d/lrs-tests.conf
  "${as_root[@]}" mkdir -p "$(dirname "$settings")"
  echo 'create_main_cluster = false' | "${as_root[@]}" tee "$settings" >/dev/null
  local status=0
  "$@" || status=$?
  "${as_root[@]}" rm -f "$settings"
  return "$status"
}

apt_get() {
  scripts/retry.sh "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@"
}

install_packages() {
  apt_get -y install --no-install-recommends "$@"
}

missing=()
for package in "$@"; do
  present "$package" || missing+=("$package")
done
if [[ $only_look == true ]]; then
  echo "${missing[*]}"
  exit 0
fi
if [[ ${#missing[@]} == 0 ]]; then
  exit 0
fi

echo "not installed: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "This is not Debian: install the programs of these Debian packages yourself: ${missing[*]}" >&2
  exit 1
fi
if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
  echo "Installing needs root, and there is no sudo. As root: apt-get install ${missing[*]}" >&2
  exit 1
fi
apt_get update
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
  without_system_cluster install_packages "${missing[@]}"
else
  install_packages "${missing[@]}"
fi
