#!/usr/bin/env bash
# Compiles the CUDA kernels to PTX with the NVRTC of PyPI, installed once under the user's cache directory. Needs no
# GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly NVRTC_VERSION=12.0.140
readonly NVRTC=${XDG_CACHE_HOME:-$HOME/.cache}/lrs/nvrtc-$NVRTC_VERSION

if [[ ! -e $NVRTC/complete ]]; then
  scripts/need.sh python3-venv
  rm -rf "$NVRTC"
  python3 -m venv "$NVRTC"
  scripts/retry.sh "$NVRTC/bin/pip" install --quiet --disable-pip-version-check "nvidia-cuda-nvrtc-cu12==$NVRTC_VERSION"
  touch "$NVRTC/complete"
fi
python3 scripts/kernels.py "$(compgen -G "$NVRTC/lib/python3*/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")"
