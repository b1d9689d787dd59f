"""The versions that are pinned are those of the lock, and what the package imports is declared."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain(name: str) -> str:
    """Return the name of a distribution as the registry compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~!; ]", name)[0]).lower()


def test_the_lock_has_the_versions_that_are_tested() -> None:
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        locked.setdefault(package["name"], set()).add(package.get("version", ""))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert {name: version for name, version in pins.items() if version not in locked.get(plain(name), ())} == {}


def test_everything_that_is_imported_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = {plain(one) for group in (PROJECT["dependencies"], *extras.values()) for one in group}
    distributions = packages_distributions()
    undeclared = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                if top not in ("archselect", "hydra_plugins") and not declared & {*map(plain, distributions[top])}:
                    undeclared.add(f"{file.name}: {top}")
    assert undeclared == set()
