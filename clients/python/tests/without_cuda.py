"""Lets PyTorch's wheel for Linux be imported without CUDA's libraries, which are 2 GB that tests on the CPU never call.

Usage: python tests/without_cuda.py      in the environment that PyTorch was installed into without its dependencies

The wheel is linked with CUDA, so the loader refuses it while a library is missing. `ldd -r` lists what is missing, and a
library is compiled that defines exactly those symbols. Each of them prints its name and aborts the process: nothing can
compute with them by mistake. Where nothing is missing, on macOS for example, this does nothing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

#: The stand-in for all missing libraries; each of their names is a link to it.
STAND_IN = "libwithout_cuda.so"

_LIBRARY = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_SYMBOL = re.compile(r"^undefined symbol: (\w+)(?:, version (\S+))?\s", re.MULTILINE)

_HEAD = """
#include <stdio.h>
#include <stdlib.h>
static void absent(const char *name) {
  fprintf(stderr, "%s was called: this environment was made without CUDA, see clients/python/tests/without_cuda.py\\n", name);
  abort();
}
"""


def missing(library: Path) -> tuple[set[str], dict[str, set[str]]]:
    """The libraries that `library` lacks, and the symbols that no library defines, by their version (`""`: none)."""
    listed = subprocess.run(["ldd", "-r", library], capture_output=True, text=True, check=True)
    symbols = defaultdict(set)
    for name, version in _SYMBOL.findall(listed.stdout + listed.stderr):
        if not hasattr(ctypes.pythonapi, name):  # the interpreter defines those
            symbols[version].add(name)
    return set(_LIBRARY.findall(listed.stdout)), symbols


def compile_stand_in(target: Path, symbols: dict[str, set[str]]) -> None:
    """Write a library that defines `symbols`."""
    with tempfile.TemporaryDirectory() as scratch:
        source, versions = Path(scratch, "stand_in.c"), Path(scratch, "versions")
        names = sorted(set().union(*symbols.values()))
        source.write_text(_HEAD + "".join(f'void {name}(void) {{ absent("{name}"); }}\n' for name in names))
        versions.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in sorted(symbols[version]))} }};\n"
                for version in sorted(symbols)
                if version
            )
        )
        command = ["cc", "-shared", "-fPIC", "-w", f"-Wl,--version-script={versions}", "-o", target, source]
        subprocess.run(command, check=True)


def main() -> None:
    """Make the stand-in for the PyTorch of this environment."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        sys.exit("PyTorch is not installed in this environment")
    directory = Path(found.origin).parent / "lib"
    top = directory / "libtorch_python.so"
    if not top.exists():
        return  # not Linux
    libraries, symbols = missing(top)
    if not libraries:
        return
    compile_stand_in(directory / STAND_IN, symbols)
    for library in libraries:
        (directory / library).symlink_to(STAND_IN)


if __name__ == "__main__":
    main()
