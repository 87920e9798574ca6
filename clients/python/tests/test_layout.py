"""The imports between the files of the package."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import lrs

PACKAGE = Path(lrs.__file__).parent


def imported(path):
    """The package's modules that a file imports: at its top, only for type checkers, or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            home, _, module = name.partition(".")
            if home == "lrs" and (PACKAGE / f"{module}.py").exists():
                yield module


def test_no_file_imports_a_file_that_imports_it():
    graph = {path.stem: set(imported(path)) for path in PACKAGE.glob("*.py")}
    assert "rates" in graph["directives"], "imports are found"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        raise AssertionError(" -> ".join(cycle.args[1])) from None
