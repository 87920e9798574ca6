"""Generates `lrs.v1` from the protos when the package is built or installed."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
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
    well_known = files("grpc_tools") / "_proto"
    arguments = [f"-I{roots[0]}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}", *protos]
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError("protoc failed; its message is above")
    (out / "lrs" / "v1" / "__init__.py").write_text('"""The messages of `lrs.v1`, generated."""\n')


if __name__ == "__main__":  # for an editor or a type checker, without building the package
    generate(Path(__file__).parent)
