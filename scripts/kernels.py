#!/usr/bin/env python3
"""Compiles crates/stats/src/kernels/statistics.cu to PTX with NVRTC, which needs no GPU.

The oldest toolkit of CUDA 12 and the oldest architecture that have what is needed, so that old drivers (525 and later) and old
cards (Volta and later) can run it; a driver compiles PTX for its own card. The headers and options are part of the text's hash,
which tests/kernels checks.

Usage: kernels.py LIBRARY      the path of libnvrtc.so.12
"""

import ctypes
import hashlib
import sys
from pathlib import Path

OPTIONS = ["--gpu-architecture=compute_70", "--fmad=false", "--std=c++14"]
FOLDER = Path(__file__).resolve().parent.parent / "crates/stats/src/kernels"
MAIN = "statistics.cu"


def source_hash() -> str:
    """SHA-256 over name and text of each source in the order of their names, and the options."""
    hashed = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.h")], key=lambda path: path.name):
        hashed.update(path.name.encode() + b"\n" + path.read_bytes())
    hashed.update(" ".join(OPTIONS).encode())
    return hashed.hexdigest()


def compile_ptx(library: str) -> str:
    nvrtc = ctypes.CDLL(library)

    def text(program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    def strings(items: list[bytes]) -> ctypes.Array:
        return (ctypes.c_char_p * len(items))(*items)

    headers = sorted(FOLDER.glob("*.h"))
    names = strings([path.name.encode() for path in headers])
    texts = strings([path.read_bytes() for path in headers])
    program = ctypes.c_void_p()
    source = (FOLDER / MAIN).read_bytes()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, MAIN.encode(), len(headers), texts, names) != 0:
        sys.exit("NVRTC takes no program")
    options = strings([option.encode() for option in OPTIONS])
    failed = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options)
    log = text(program, "ProgramLog").strip()
    if log:
        print(log, file=sys.stderr)
    if failed:
        sys.exit("the kernels do not compile")
    return text(program, "PTX")


def main() -> None:
    ptx = compile_ptx(sys.argv[1])
    target = FOLDER / "statistics.ptx"
    target.write_text(f"// Made by `make kernels` from sources and options with the SHA-256 {source_hash()}\n{ptx}")
    print(f"{target.name}: {len(ptx)} bytes")


main()
