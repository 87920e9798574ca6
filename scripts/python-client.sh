#!/usr/bin/env bash
# Prints the directory of a Python environment with the libraries that build, check and test clients/python, or with the
# libraries of another requirements file there.
#
# Usage: scripts/python-client.sh [--missing] [REQUIREMENTS]
#   --missing      only print what would be downloaded
#   REQUIREMENTS   a file in clients/python, by default requirements-test.txt
#
# Environments are kept under the user's cache directory, one for each set of versions. Before an environment is made,
# the size of its download is printed.
set -euo pipefail
cd "$(dirname "$0")/.."

only_look=false
if [[ ${1:-} == --missing ]]; then
  only_look=true
  shift
fi
readonly CLIENT=clients/python
readonly REQUIREMENTS=${1:-requirements-test.txt}
readonly PIP_VERSION=26.3 # resumes a download that broke off

# The inputs of an environment besides the Python that makes it.
sources=("$CLIENT/$REQUIREMENTS")
if [[ $REQUIREMENTS == requirements-test.txt ]]; then
  sources+=("$CLIENT/requirements-torch.txt" "$CLIENT/tests/without_cuda.py")
fi
if [[ $only_look == false ]]; then
  scripts/need.sh python3-venv >&2
fi
key=$({ { python3 -VV || true; } && cat "${sources[@]}"; } | sha256sum | cut -c1-16)
readonly ENVIRONMENT=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/python-client/$key

size=$(sed -n 's/^# Size: //p' "$CLIENT/$REQUIREMENTS")
if [[ $only_look == true ]]; then
  [[ -e $ENVIRONMENT/complete ]] || echo "the Python libraries of $REQUIREMENTS: ${size:-of unknown size}"
  exit 0
fi

# Installs with the environment's pip. Modules are compiled on first import, and most are never imported.
pip_install() {
  scripts/retry.sh "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --retries 5 "$@" >&2
}

imports_torch() {
  "$ENVIRONMENT/bin/python" -c 'import torch' >&2
}

# Installs PyTorch without CUDA, and with CUDA only if PyTorch cannot be imported without.
install_torch() {
  local torch=$CLIENT/requirements-torch.txt missing
  scripts/need.sh build-essential >&2
  pip_install --no-deps --requirement "$torch"
  if ! "$ENVIRONMENT/bin/python" "$CLIENT/tests/without_cuda.py" >&2 || ! imports_torch; then
    echo "    PyTorch cannot be imported without CUDA here, so CUDA is installed: 2.4 GB more to download, 4 GB on disk" >&2
    pip_install --requirement "$torch"
    imports_torch
  fi
  # What requirements-torch.txt leaves out on purpose.
  missing=$("$ENVIRONMENT/bin/python" -m pip check | grep -v -E \
    -e '^torch .* requires (cuda|nvidia|triton)[a-z0-9-]*, which' \
    -e '^fastai .* requires spacy, which' \
    -e '^torchtitan .* requires (wandb|torchdata|torch-checkpointing), which' \
    -e '^(torchtitan|mosaicml|mosaicml-cli|gql) .* has requirement ' \
    -e '^python-fasthtml .* requires apswutils, which') || true
  if [[ -n $missing && $missing != "No broken requirements found." ]]; then
    echo "requirements-test.txt lacks dependencies of requirements-torch.txt:" >&2
    echo "$missing" >&2
    return 1
  fi
}

mkdir -p "$(dirname "$ENVIRONMENT")"
# If two runs start at once, the second waits and finds a complete environment.
exec 9>"$ENVIRONMENT.lock"
flock 9
if [[ ! -e $ENVIRONMENT/complete ]]; then
  started=$SECONDS
  echo "installing the libraries of $REQUIREMENTS under $ENVIRONMENT" >&2
  echo "    ${size:-of unknown size}" >&2
  rm -rf "$ENVIRONMENT"
  python3 -m venv "$ENVIRONMENT"
  pip_install "pip==$PIP_VERSION"
  pip_install --requirement "$CLIENT/$REQUIREMENTS"
  if [[ $REQUIREMENTS == requirements-test.txt ]]; then install_torch; fi
  touch "$ENVIRONMENT/complete"
  echo "    done in $((SECONDS - started)) s" >&2
fi
echo "$ENVIRONMENT"
