#!/usr/bin/env bash
# Every check of the project, cheapest first; stops at the first that fails.
#
# Usage: scripts/test.sh [STAGE…]      all that CI makes, or those named
#
# Tools that Debian does not have are installed once, in pinned versions, under the user's cache directory.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CI_STAGES=(formatting proto dependencies clippy docs tests python_client deployment)
readonly BUF_VERSION=1.75.0
readonly CARGO_DENY_VERSION=0.20.2
readonly KUBERNETES_VALIDATE_VERSION=1.36.0

readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lrs
readonly BUF=$CACHE/buf-$BUF_VERSION
readonly CARGO_DENY=$CACHE/cargo-deny-$CARGO_DENY_VERSION
readonly KUBERNETES_VALIDATE=$CACHE/kubernetes-validate-$KUBERNETES_VALIDATE_VERSION

# install_once DIRECTORY COMMAND…: runs the installer unless it has succeeded before; half an installation starts anew.
install_once() {
  local directory=$1
  shift
  if [[ ! -e $directory/complete ]]; then
    echo "installing $(basename "$directory") under $CACHE"
    rm -rf "$directory"
    mkdir -p "$directory"
    "$@"
    touch "$directory/complete"
  fi
}

install_buf() {
  scripts/need.sh npm
  npm install --prefix "$BUF" --no-save --no-audit --no-fund --loglevel=error "@bufbuild/buf@$BUF_VERSION"
}

# Without optimization, which takes a fifth of the time to build and checks as well.
install_cargo_deny() {
  scripts/need.sh build-essential
  CARGO_TARGET_DIR=$CARGO_DENY/build CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug \
    --no-default-features --root "$CARGO_DENY" "cargo-deny@$CARGO_DENY_VERSION"
  rm -rf "$CARGO_DENY/build"
}

install_kubernetes_validate() {
  scripts/need.sh python3-venv
  python3 -m venv "$KUBERNETES_VALIDATE"
  "$KUBERNETES_VALIDATE/bin/pip" install --quiet --disable-pip-version-check \
    "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION"
}

formatting() {
  cargo fmt --check
}

proto() {
  install_once "$BUF" install_buf
  "$BUF/node_modules/.bin/buf" lint
}

# Two versions of a crate are a warning, which `cargo deny check bans` shows.
dependencies() {
  install_once "$CARGO_DENY" install_cargo_deny
  "$CARGO_DENY/bin/cargo-deny" --log-level error --locked check bans licenses sources
}

# Not part of CI: the database is fetched from GitHub, and changes without a change of ours.
advisories() {
  install_once "$CARGO_DENY" install_cargo_deny
  "$CARGO_DENY/bin/cargo-deny" --locked check advisories
}

clippy() {
  scripts/need.sh build-essential
  cargo clippy --locked --all-targets -- -D warnings
}

docs() {
  scripts/need.sh build-essential
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
}

tests() {
  scripts/need.sh build-essential postgresql
  need_browser
  cargo test --locked
}

# Those of the stage before that drive a browser, alone; screenshots are in target/screenshots.
browser() {
  scripts/need.sh build-essential
  need_browser
  cargo test --locked --test browser
}

need_browser() {
  scripts/need.sh chromium chromium-driver npm
  scripts/axe-core.sh >"$scratch/axe-core"
}

python_client() {
  local environment site=$scratch/python-client
  environment=$(scripts/python-client.sh)
  (
    cd clients/python
    "$environment/bin/ruff" check .
    "$environment/bin/ruff" format --check .
    "$environment/bin/python" hatch_build.py
    "$environment/bin/mypy"
    # What is tested is what would be published: the wheel, made from the source archive.
    "$environment/bin/python" -m build --no-isolation --outdir "$site/dist" >"$scratch/build.log" ||
      { cat "$scratch/build.log" && false; }
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$site/lib" "$site"/dist/*.whl
  )
  scripts/need.sh build-essential
  cargo build --locked
  (cd clients/python && PYTHONPATH=$site/lib "$environment/bin/pytest")
}

validate_kubernetes() {
  "$KUBERNETES_VALIDATE/bin/kubernetes-validate" --strict "$@"
}

deployment() {
  install_once "$KUBERNETES_VALIDATE" install_kubernetes_validate
  local overlay resource
  if command -v kubectl >/dev/null; then
    for overlay in deploy/base deploy/single-node; do
      kubectl kustomize "$overlay" >"$scratch/rendered.yaml"
      echo "$overlay"
      validate_kubernetes "$scratch/rendered.yaml"
    done
  else
    echo "no kubectl here: validating each resource as it is written, the overlays are not rendered"
    for resource in deploy/{base,single-node}/*.yaml; do
      if [[ $(basename "$resource") != kustomization.yaml ]]; then
        validate_kubernetes "$resource"
      fi
    done
  fi
  # Katib's own kinds are checked with its library, by the Python client's tests; what its trials run is a Job like any other.
  "$KUBERNETES_VALIDATE/bin/python" - deploy/katib/experiment.yaml >"$scratch/trial.yaml" <<'EOF'
import sys, yaml
trial = yaml.safe_load(open(sys.argv[1]))["spec"]["trialTemplate"]["trialSpec"]
trial["metadata"] = {"name": "trial"}
yaml.safe_dump(trial, sys.stdout)
EOF
  echo "the trials of deploy/katib"
  validate_kubernetes "$scratch/trial.yaml"
}

scratch=$(mktemp -d)
stage=none

# On every way out.
leave() {
  local status=$?
  rm -rf "$scratch"
  if [[ $status != 0 ]]; then
    echo "==> FAILED: $stage" >&2
  fi
}
trap leave EXIT

stages=("$@")
if [[ ${#stages[@]} == 0 ]]; then
  stages=("${CI_STAGES[@]}")
fi
for stage in "${stages[@]}"; do
  case $stage in
    formatting | proto | dependencies | advisories | clippy | docs | tests | browser | python_client | deployment) ;;
    *) echo "there is no stage $stage; there are: ${CI_STAGES[*]} advisories browser" >&2 && exit 2 ;;
  esac
  echo "==> $stage"
  started=$SECONDS
  "$stage"
  echo "    $stage passed in $((SECONDS - started)) s"
done
