"""What one cell of an architecture is: for every node, the operations it sums and the states they read."""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

MAXIMUM_INPUTS = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MESSAGE = reprlib.Repr()
_MESSAGE.maxstring = _MESSAGE.maxother = 200


def shown(value: object) -> str:
    """Return `value` as an error message shows it: cut where it is long or deeply nested."""
    return _MESSAGE.repr(value)


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
        ValueError: A name is not an identifier, a node has no input (a missing node), reads a state that is not below
            it (a cycle), or reads one state twice.
    """

    name: str
    inputs: int
    nodes: tuple[tuple[Input, ...], ...]

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise ValueError(f"A cell's name is letters, digits and '_', no digit first; got {shown(self.name)}.")
        if not _is_integer(self.inputs) or not 1 <= self.inputs <= MAXIMUM_INPUTS:
            raise ValueError(
                f"Cell {self.name!r} needs a whole number of inputs, 1..{MAXIMUM_INPUTS}; got {shown(self.inputs)}."
            )
        if not isinstance(self.nodes, list | tuple) or not self.nodes:
            raise ValueError(f"Cell {self.name!r} needs a list of at least one node; got {shown(self.nodes)}.")
        nodes = tuple(self._checked_node(index, node) for index, node in enumerate(self.nodes))
        object.__setattr__(self, "nodes", nodes)

    @property
    def edges(self) -> tuple[tuple[int, int, str], ...]:
        """All edges `(source, target state, operation)`, by node, in the order of its inputs."""
        return tuple(
            (source, self.inputs + index, operation)
            for index, node in enumerate(self.nodes)
            for operation, source in node
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "nodes": [[list(edge) for edge in node] for node in self.nodes],
        }

    @classmethod
    def from_dict(cls, data: object) -> "CellGenotype":
        """Read what `to_dict` wrote; anything else is a `ValueError`."""
        expected = {"name", "inputs", "nodes"}
        if not isinstance(data, Mapping) or set(data) != expected:
            found = sorted(map(str, data)) if isinstance(data, Mapping) else data
            raise ValueError(f"A cell is an object with the keys {sorted(expected)}; got {shown(found)}.")
        return cls(name=data["name"], inputs=data["inputs"], nodes=data["nodes"])

    def _checked_node(self, index: int, node: object) -> tuple[Input, ...]:
        state = self.inputs + index
        where = f"Cell {self.name!r}, node {index} (state {state})"
        if not isinstance(node, list | tuple):
            raise ValueError(f"{where} is a list of (operation, source) pairs; got {shown(node)}.")
        if not node:
            raise ValueError(f"{where} has no input: a missing node. Every node needs at least one input.")
        inputs = tuple(_checked_input(where, state, item) for item in node)
        sources = [source for _, source in inputs]
        twice = sorted({source for source in sources if sources.count(source) > 1})
        if twice:
            raise ValueError(
                f"{where} takes source {twice[0]} more than once; a node reads a state through one operation."
            )
        return inputs


def _checked_input(where: str, state: int, item: object) -> Input:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise ValueError(f"{where}: an input is a pair (operation, source); got {shown(item)}.")
    operation, source = item
    if not _is_name(operation):
        raise ValueError(
            f"{where}: an operation's name is letters, digits and '_', no digit first; got {shown(operation)}."
        )
    if not _is_integer(source):
        raise ValueError(f"{where}: the source of {operation!r} is the number of a state; got {shown(source)}.")
    if source >= state:
        raise ValueError(
            f"{where} takes source {source}: a cycle, because a node reads only states below its own. "
            f"Allowed are the sources 0..{state - 1}."
        )
    if source < 0:
        raise ValueError(f"{where} takes source {source}, which is no state. Allowed are the sources 0..{state - 1}.")
    return Input(operation, source)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
