"""Packages stand on one another: no import runs back up, in functions neither."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (SOURCES / "archselect").rglob("*.py")
}


@cache
def imports() -> dict[str, set[str]]:
    """Return what each module imports of the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("archselect"):
                members = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {member if member in MODULES else node.module for member in members}
    return found


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_no_import_runs_back_up() -> None:
    modules, packages = imports(), defaultdict[str, set[str]](set)
    for name, others in modules.items():
        # The public API names what lies in all of them, and nothing imports what `python -m` starts.
        if name != "archselect" and not name.endswith(".__main__"):
            packages[package(name)] |= {package(other) for other in others} - {package(name)}
    tuple(TopologicalSorter(packages).static_order())  # a CycleError names the packages
    tuple(TopologicalSorter({name: others - {name} for name, others in modules.items()}).static_order())


def test_there_is_no_loose_module_and_no_long_file() -> None:
    assert [path.name for path in (SOURCES / "archselect").glob("*.py")] == ["__init__.py"]
    assert [name for name, path in MODULES.items() if len(path.read_text().splitlines()) > 400] == []
