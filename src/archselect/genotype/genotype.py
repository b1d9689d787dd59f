"""What an architecture is: its cells, frozen and validated, in the forms in which it is stored, typed and published.

`Genotype.parse` reads every form; `PUBLISHED` holds the architectures of papers. Whether the operations exist, and
whether a genotype belongs to a search space, is for the space to say.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from archselect.genotype import formats
from archselect.genotype.formats import shown
from archselect.safe_io.files import GENOTYPE_CHARACTERS, parse_json

MAXIMUM_INPUTS = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_IN_A_LOG = re.compile(r"\|\S+~[0-9]+\||Genotype\((?:[^()]|\([^()]*\))*\)")
"""A genotype in a line that a search of NAS-Bench-201 or DARTS logged."""

OFFICIAL_NOTATION = {
    # H. Liu, K. Simonyan, Y. Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (1806.09055); first order.
    "DARTS_V1": """Genotype(
    normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
    ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=range(2, 6),
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
    ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=range(2, 6))""",
    # The same paper, second order.
    "DARTS_V2": """Genotype(
    normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6),
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
    ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))""",
    # R. Wang et al., Rethinking Architecture Selection in Differentiable NAS, ICLR 2021 (arXiv 2108.04392): DARTS-PT on
    # the DARTS space (called s5 there), under its name in the authors' code.
    "darts_pt_s5_3": """Genotype(
    normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('skip_connect', 0), ('skip_connect', 2), ('sep_conv_3x3', 1), ('skip_connect', 3)], normal_concat=range(2, 6),
    reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('max_pool_3x3', 1), ('skip_connect', 2),
    ('dil_conv_5x5', 1), ('max_pool_3x3', 3), ('sep_conv_5x5', 2), ('skip_connect', 3)], reduce_concat=range(2, 6))""",
}


class Input(NamedTuple):
    """One input of a node: `operation` applied to the state `source`."""

    operation: str
    source: int


@dataclass(frozen=True)
class CellGenotype:
    """A cell as a directed acyclic graph. Node `i` is the state `inputs + i`; its sources lie in `range(inputs + i)`.

    Attributes:
        name: The cell's type, e.g. "normal", "reduction" or "cell".
        inputs: Number of the cell's inputs; they are the states `0 .. inputs - 1`.
        nodes: The inputs of each node, in the order of the nodes. Lists and `(operation, source)` pairs are taken too,
            and become tuples.

    Raises:
        ValueError: A name is no identifier, or a node is missing, part of a cycle, or reads one state twice.
    """

    name: str
    inputs: int
    nodes: tuple[tuple[Input, ...], ...]

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise ValueError(f"A cell's name is letters, digits and '_', no digit first; got {shown(self.name)}.")
        if type(self.inputs) is not int or not 1 <= self.inputs <= MAXIMUM_INPUTS:
            raise ValueError(
                f"Cell {self.name!r} needs a whole number of inputs, 1..{MAXIMUM_INPUTS}; got {shown(self.inputs)}."
            )
        if not isinstance(self.nodes, list | tuple) or not self.nodes:
            raise ValueError(f"Cell {self.name!r} needs a list of at least one node; got {shown(self.nodes)}.")
        nodes = tuple(self._checked(node, state) for state, node in enumerate(self.nodes, start=self.inputs))
        object.__setattr__(self, "nodes", nodes)

    @property
    def edges(self) -> tuple[tuple[int, int, str], ...]:
        """All edges `(source, target state, operation)`, by node, in the order of its inputs."""
        targets = enumerate(self.nodes, start=self.inputs)
        return tuple((source, target, operation) for target, node in targets for operation, source in node)

    def _checked(self, node: object, state: int) -> tuple[Input, ...]:
        """Return the inputs of the node that is `state`."""
        where = f"Cell {self.name!r}, node {state - self.inputs} (state {state})"
        if not isinstance(node, list | tuple) or any(not isinstance(x, list | tuple) or len(x) != 2 for x in node):
            raise ValueError(f"{where} is a list of (operation, source) pairs; got {shown(node)}.")
        if not node:
            raise ValueError(f"{where} has no input: a missing node. Every node needs at least one input.")
        for operation, source in node:
            if not _is_name(operation):
                raise ValueError(
                    f"{where}: an operation's name is letters, digits and '_', no digit first; got {shown(operation)}."
                )
            if type(source) is not int or not 0 <= source < state:
                raise ValueError(
                    f"{where}: {operation!r} reads one of the states below its own, 0..{state - 1}, so that there is "
                    f"no cycle; got {shown(source)}."
                )
        sources = [source for _, source in node]
        if len(set(sources)) != len(sources):
            raise ValueError(f"{where} takes a source more than once: {shown(sources)}. One operation reads a state.")
        return tuple(Input(*pair) for pair in node)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


@dataclass(frozen=True)
class Genotype:
    """An architecture: one cell per cell type.

    Attributes:
        cells: The cells, in order; a list is taken too, and becomes a tuple.

    Raises:
        ValueError: There is no cell, or two cells have one name.

    Example:
        >>> genotype = Genotype.from_text("cell:1:nor_conv_3x3@0/skip_connect@0+none@1")
        >>> genotype.to_nasbench201()
        '|nor_conv_3x3~0|+|skip_connect~0|none~1|'
        >>> genotype.cell("cell").edges
        ((0, 1, 'nor_conv_3x3'), (0, 2, 'skip_connect'), (1, 2, 'none'))
    """

    cells: tuple[CellGenotype, ...]

    def __post_init__(self) -> None:
        cells = self.cells
        if not isinstance(cells, list | tuple) or not cells or not all(isinstance(x, CellGenotype) for x in cells):
            raise ValueError(f"A genotype is a tuple of at least one cell genotype; got {shown(cells)}.")
        object.__setattr__(self, "cells", tuple(cells))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"The cells of a genotype have different names; {twice[0]!r} occurs more than once.")

    def __iter__(self) -> Iterator[CellGenotype]:
        return iter(self.cells)

    def __str__(self) -> str:
        return self.to_text()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cells, in order."""
        return tuple(cell.name for cell in self.cells)

    @property
    def label(self) -> str:
        """Its published name, or `genotype` and the first eight digits of the SHA-256 of its text."""
        published = next((name for name, genotype in PUBLISHED.items() if genotype == self), None)
        return published or f"genotype {hashlib.sha256(self.to_text().encode()).hexdigest()[:8]}"

    def cell(self, name: str) -> CellGenotype:
        """Return the cell of that name, or raise a `ValueError` that lists the names there are."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise ValueError(f"This genotype has no cell {name!r}; its cells are {', '.join(self.names)}.")

    def to_json(self) -> str:
        """Return `{"cells": [{"name", "inputs", "nodes": [[[operation, source], ...], ...]}, ...]}` on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Read what `to_json` wrote; anything else is a `ValueError`."""
        text = formats.checked_text(text)
        try:
            data = parse_json(text)
        except ValueError as error:
            raise ValueError(f"A genotype in JSON is expected, but this is no valid JSON ({error}).") from error
        cells = _values(data, "A genotype", ("cells",))["cells"]
        if not isinstance(cells, list):
            raise ValueError(f"The cells of a genotype are a list; got {shown(cells)}.")
        return cls(tuple(CellGenotype(**_values(cell, "A cell", ("name", "inputs", "nodes"))) for cell in cells))

    def to_text(self) -> str:
        """Return the one-line text, which needs no quotation marks in a shell nor as a Hydra override."""
        cells = []
        for cell in self.cells:
            nodes = "/".join("+".join(f"{operation}@{source}" for operation, source in node) for node in cell.nodes)
            cells.append(f"{cell.name}:{cell.inputs}:{nodes}")
        return "//".join(cells)

    @classmethod
    def from_text(cls, text: str) -> "Genotype":
        """Read the one-line text."""
        return cls._of(formats.read_text(text))

    @classmethod
    def from_official(cls, text: str) -> "Genotype":
        """Read the notation of the DARTS code, without evaluating it."""
        return cls._of(formats.read_official(text))

    def to_nasbench201(self) -> str:
        """Return NAS-Bench-201's notation; a `ValueError` where it cannot hold this genotype."""
        if len(self.cells) != 1 or self.cells[0].inputs != 1:
            found = ", ".join(f"{cell.name!r} with {cell.inputs} inputs" for cell in self.cells)
            raise ValueError(f"NAS-Bench-201's notation holds a single cell with one input; this genotype has {found}.")
        nodes = []
        for state, node in enumerate(self.cells[0].nodes, start=1):
            formats.check_takes_every_state(node, state)
            by_source = sorted(node, key=lambda edge: edge.source)
            nodes.append("|" + "".join(f"{operation}~{source}|" for operation, source in by_source))
        return "+".join(nodes)

    @classmethod
    def from_nasbench201(cls, text: str) -> "Genotype":
        """Read NAS-Bench-201's notation."""
        return cls._of([formats.read_nasbench201(text)])

    @classmethod
    def _of(cls, cells: Iterable[formats.PlainCell]) -> "Genotype":
        return cls(tuple(CellGenotype(name, inputs, tuple(nodes)) for name, inputs, nodes in cells))

    @staticmethod
    def parse(text: str) -> "Genotype":
        """Read a genotype in whatever form a user has it.

        Args:
            text: A published name, the path of a `.json` file (a run's or a stage's genotype.json), JSON, the one-line
                text, the official notation or NAS-Bench-201's; the latter two also within a line of a log.

        Raises:
            FileNotFoundError: It is the path of a `.json` file that does not exist.
            ValueError: It is none of these forms, or malformed in the one it looks like.
        """
        text = formats.checked_text(text)
        logged = _IN_A_LOG.search(text)
        text = logged[0] if logged else text.strip()
        if text in PUBLISHED:
            return PUBLISHED[text]
        if text.startswith("{"):
            return Genotype.from_json(text)
        if text.startswith("|"):
            return Genotype.from_nasbench201(text)
        if text.startswith("Genotype("):
            return Genotype.from_official(text)
        if text.endswith(".json"):
            return _read_file(Path(text))
        if ":" in text:
            return Genotype.from_text(text)
        raise ValueError(_unknown_form(text))


PUBLISHED: Mapping[str, Genotype] = MappingProxyType(
    {name: Genotype.from_official(text) for name, text in OFFICIAL_NOTATION.items()}
)
"""The published genotypes, by name."""


def _values(data: object, what: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a JSON object that has just these keys."""
    if not isinstance(data, dict) or set(data) != set(keys):
        found = sorted(data) if isinstance(data, dict) else f"a {type(data).__name__}"
        raise ValueError(f"{what} is an object with the keys {', '.join(keys)}; got {shown(found)}.")
    return data


def _read_file(path: Path) -> Genotype:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(GENOTYPE_CHARACTERS + 1)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"A genotype was to be read from {str(path)!r}, but there is no such file. A finished run keeps its own in "
            "its folder, genotype.json."
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"A genotype was to be read from {str(path)!r}, which is no readable text file: {error}."
        ) from error
    try:
        return Genotype.from_json(text)
    except ValueError as error:
        raise ValueError(f"The file {str(path)!r} holds no genotype. {error}") from error


def _unknown_form(text: str) -> str:
    names = {name.lower(): name for name in PUBLISHED}
    close = difflib.get_close_matches(text[:100].lower(), names, n=1)
    hint = f" Did you mean {names[close[0]]}?" if close else ""
    return (
        f"{shown(text)} is no genotype.{hint} Accepted are a published name ({', '.join(PUBLISHED)}), the path of a "
        ".json file, JSON, the one-line text (normal:2:sep_conv_3x3@0+skip_connect@1/...//reduction:2:...), the "
        "official notation (Genotype(normal=[...], ...)) and NAS-Bench-201's (|op~0|+|op~0|op~1|+|op~0|op~1|op~2|)."
    )
