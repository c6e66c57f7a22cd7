"""The modules of the package: no import cycles, and every dependency in its layer."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nextlong_rs

PACKAGE = "nextlong_rs"
ROOT = Path(nextlong_rs.__file__).parent
LAYERS = (
    ("errors", "sample", "rules", "options"),
    ("settings",),
    ("engine",),
    ("run",),
    ("corpus", "tokenize", "embed", "index", "result"),
    ("chunk", "stage"),
    ("estimate", "synthesize"),
    ("cli",),
)
"""What imports only from the layers before its own, or from its own folder."""


def modules() -> dict[str, Path]:
    """The modules of the package by name, without the package itself."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """What a module imports from the package, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {
            name.removeprefix(PACKAGE + ".") for name in names if name.startswith(PACKAGE + ".")
        }
    return found & set(modules())


def test_no_import_cycle() -> None:
    graph = {name: imports(path) - {name} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_imports_go_from_higher_layers_to_lower_ones() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = []
    for name, path in modules().items():
        own = name.partition(".")[0]
        assert own in layer, f"{name} is in no layer"
        for other in {found.partition(".")[0] for found in imports(path)} - {own}:
            if layer[other] >= layer[own]:
                wrong.append(f"{name} imports {other}")
    assert not wrong
