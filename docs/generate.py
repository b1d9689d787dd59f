"""Write the pages of the site that are made of something else: `make docs` calls it.

docs/reference/    a page per config group, from the YAML files (headers, values, comments) and the classes' docstrings
docs/api.md        the public API, from the docstrings
build/docs/        what the site is built of: all pages, with RESULTS.md and CHANGELOG.md among them

Griffe reads the source of the package. `--check` writes nothing and fails where a page of the
first two is not what it would be.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import yaml

from archselect.pipeline.command_help import GROUPS, header

DOCS = Path(__file__).parent
ROOT = DOCS.parent
CONFIGS = ROOT / "configs"
SOURCE = "https://github.com/archselect/archselect/blob/main/"

PACKAGE = griffe.load("archselect", search_paths=[ROOT / "src"], docstring_parser="google", resolve_aliases=True)
PLUGINS = griffe.load("hydra_plugins.archselect_sweeps", search_paths=[ROOT / "src"], docstring_parser="google")


def body(file: Path) -> str:
    """Return a YAML file without the comment that it opens with, but for the package that it writes into."""
    lines = file.read_text(encoding="utf-8").splitlines()
    opening = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    package = [line for line in lines[:opening] if line.startswith("# @package")]
    return "\n".join([*package, *lines[opening:]]).strip()


def targets(node: Any) -> Iterator[str]:
    """Yield the classes of the package that a config names, outermost first."""
    if isinstance(node, dict):
        if str(node.get("_target_", "")).startswith(("archselect.", "hydra_plugins.")):
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def class_at(path: str) -> griffe.Class:
    """Return the class at a dotted path, where it is defined."""
    package, _, rest = path.partition(".")
    found = PACKAGE[rest] if package == "archselect" else PLUGINS[rest.removeprefix("archselect_sweeps.")]
    return found.final_target if found.is_alias else found


def sections(thing: griffe.Object) -> Iterator[griffe.DocstringSection]:
    """Yield the parts of a docstring."""
    yield from thing.docstring.parsed if thing.docstring else ()


def options(thing: griffe.Class) -> list[str]:
    """Return a table of the options in the docstring of a class: its own first, then those that it inherits."""
    rows = []
    for one in (thing, *(base for base in thing.mro() if base.path.startswith("archselect."))):
        for part in sections(one):
            if part.kind is griffe.DocstringSectionKind.attributes:
                rows += [f"| `{attribute.name}` | {cell(attribute.description)} |" for attribute in part.value]
    return ["| option | |", "|---|---|", *rows, ""] if rows else []


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def prose(thing: griffe.Object) -> str:
    """Return the text of a docstring without its lists."""
    return "\n\n".join(part.value for part in sections(thing) if part.kind is griffe.DocstringSectionKind.text)


def group_page(group: str, line: str) -> str:
    """Return the page of a config group."""
    files = sorted((CONFIGS / group).glob("*.yaml"))
    lines = [f"# `{group}`", "", line, "", "| choice | |", "|---|---|"]
    lines += [f"| [{file.stem}](#{file.stem}) | {cell((header(file) or [''])[0])} |" for file in files]
    seen: dict[str, None] = {}
    for file in files:
        lines += ["", f"## {file.stem}", ""]
        for part in header(file):
            lines += ["```sh", part, "```"] if part.startswith("python ") else [part]
        lines += ["", "```yaml", f"# configs/{group}/{file.name}", body(file), "```"]
        seen |= dict.fromkeys(targets(yaml.safe_load(file.read_text(encoding="utf-8"))))
    explained = [(path, class_at(path)) for path in seen]
    if explained:
        lines += ["", "## The classes"]
    for path, thing in explained:
        where = thing.filepath.relative_to(ROOT)
        lines += [
            "",
            f"### {thing.name}",
            "",
            f"`{path}`",
            "",
            prose(thing),
            "",
            *options(thing),
            f"[Source]({SOURCE}{where})",
        ]
    return "\n".join(lines).rstrip() + "\n"


def api_page() -> str:
    """Return the page of the public API."""
    exports = re.findall(r'"(\w+)": "([\w.]+):(\w+)"', (ROOT / "src" / "archselect" / "__init__.py").read_text())
    listed = re.sub(r"^(\w+) {2,}", r"- \1: ", prose(PACKAGE), flags=re.M)
    lines = ["# API", "", listed]
    for name, module, attribute in exports:
        thing = PACKAGE[f"{module.removeprefix('archselect.')}.{attribute}"]
        thing = thing.final_target if thing.is_alias else thing
        given = [parameter(one) for one in getattr(thing, "parameters", ()) if one.name != "self"]
        call = f"({', '.join(given)})" if given else ""
        lines += ["", f"## `{name}`", "", "```python", f"archselect.{name}{call}", "```", ""]
        for part in sections(thing):
            lines += rendered(part)
    return "\n".join(lines).rstrip() + "\n"


def parameter(one: griffe.Parameter) -> str:
    """Return a parameter as it is declared."""
    star = {"variadic positional": "*", "variadic keyword": "**"}.get(str(one.kind and one.kind.value), "")
    default = f"={one.default}" if one.default is not None and not star else ""
    return f"{star}{one.name}{default}"


def rendered(part: griffe.DocstringSection) -> list[str]:
    """Return a part of a docstring as Markdown."""
    match part.kind.value:
        case "text":
            return [part.value, ""]
        case "parameters" | "attributes":
            return [*(f"- `{one.name}`: {cell(one.description)}" for one in part.value), ""]
        case "raises":
            return [*(f"- raises `{one.annotation}`: {cell(one.description)}" for one in part.value), ""]
        case "admonition":  # Example:
            return ["```pycon", part.value.description, "```", ""]
        case _:
            return []


def pages() -> dict[str, str]:
    """Return the generated pages by their names in `docs/`."""
    lines = {**GROUPS["train"], **GROUPS["analyze"]}
    groups = {f"reference/{group.replace('/', '_')}.md": group_page(group, line) for group, line in lines.items()}
    return {**groups, "api.md": api_page()}


def copy_for_site(folder: Path) -> None:
    """Copy all pages, those of the repository's root too, with their links as seen from there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in ("RESULTS", "CHANGELOG"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        text = re.sub(r"\]\((?!https?://|#)docs/", "](", text)
        text = re.sub(r"\]\((?!https?://|#)((?:src|tests|notebooks|configs)/)", rf"]({SOURCE}\1", text)
        (folder / f"{name.lower()}.md").write_text(text, encoding="utf-8")
    for page in folder.rglob("*.md"):
        text, up = page.read_text(encoding="utf-8"), "../" * (len(page.relative_to(folder).parts) - 1)
        for name in ("RESULTS", "CHANGELOG"):
            text = re.sub(rf"\]\((?:\.\./)*{name}\.md", f"]({up}{name.lower()}.md", text)
        page.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the pages, or compare them."""
    made = pages()
    old = [name for name, text in made.items() if not (DOCS / name).is_file() or (DOCS / name).read_text() != text]
    gone = [page for page in (DOCS / "reference").glob("*.md") if f"reference/{page.name}" not in made]
    if "--check" in sys.argv[1:]:
        sys.stderr.writelines(f"docs/{name} is not what `make docs` would write\n" for name in old)
        sys.stderr.writelines(f"docs/reference/{page.name} is of no group\n" for page in gone)
        return bool(old or gone)
    (DOCS / "reference").mkdir(exist_ok=True)
    for page in gone:
        page.unlink()
    for name in old:
        (DOCS / name).write_text(made[name], encoding="utf-8")
    copy_for_site(ROOT / "build" / "docs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
