"""Reading the notations in which a genotype is written on one line: this project's, DARTS', NAS-Bench-201's.

    one line         normal:2:sep_conv_3x3@0+skip_connect@1/max_pool_3x3@0//reduction:2:...
    official         Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], ...)
    NAS-Bench-201    |nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|

The first needs no quotation marks in a shell nor in Hydra's override grammar. Nothing is evaluated. What is read are
plain cells `(name, inputs, nodes)`; whether they are cells, `CellGenotype` checks.
"""

import ast
import re
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

from archselect.safe_io.files import GENOTYPE_CHARACTERS

PlainCell = tuple[str, int, Sequence[Any]]

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_OFFICIAL_CELLS = {"normal": "normal", "reduce": "reduction"}
_OFFICIAL_FIELDS = [name for field in _OFFICIAL_CELLS for name in (field, f"{field}_concat")]
_RANGE = re.compile(r"range\(\s*2\s*,\s*([0-9]{1,3})\s*\)", re.ASCII)
_OFFICIAL_EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=...)"
)
_MESSAGE = reprlib.Repr()
_MESSAGE.maxstring = _MESSAGE.maxother = 200


def shown(value: object) -> str:
    """Return `value` as an error message shows it: cut where it is long or deeply nested."""
    return _MESSAGE.repr(value)


def checked_text(text: object) -> str:
    """Return `text` if it is a string that is not too long to be a genotype."""
    if not isinstance(text, str):
        raise ValueError(f"A genotype is read from a string; got a {type(text).__name__}.")
    if len(text) > GENOTYPE_CHARACTERS:
        raise ValueError(f"A genotype has at most {GENOTYPE_CHARACTERS} characters; got {len(text)}.")
    return text


def read_text(text: str) -> Iterator[PlainCell]:
    """Read cells on one line: `name:inputs:nodes`, cells parted by `//`, nodes by `/`, the inputs of a node by `+`."""
    for part in checked_text(text).split("//"):
        fields = part.strip().split(":")
        if len(fields) != 3:
            raise ValueError(
                "A cell on one line is name:inputs:nodes, e.g. normal:2:sep_conv_3x3@0+skip_connect@1/max_pool_3x3@0; "
                f"got {shown(part)}."
            )
        name, inputs, nodes = fields
        yield (
            name,
            _number(inputs, f"Cell {shown(name)}, its number of inputs"),
            [[_input(item, "@") for item in node.split("+")] if node else [] for node in nodes.split("/")],
        )


def read_nasbench201(text: str) -> PlainCell:
    """Read NAS-Bench-201's notation: one cell named "cell", whose nodes take every earlier state."""
    nodes = []
    for state, node in enumerate(checked_text(text).strip().split("+"), start=1):
        if len(node) < 2 or not node.startswith("|") or not node.endswith("|"):
            raise ValueError(
                "NAS-Bench-201's notation is |op~0|+|op~0|op~1|+|op~0|op~1|op~2|; "
                f"node {state} should begin and end with '|', got {shown(node)}."
            )
        nodes.append([_input(item, "~") for item in node[1:-1].split("|")])
        check_takes_every_state(nodes[-1], state)
    return "cell", 1, nodes


def check_takes_every_state(node: Sequence[tuple[str, int]], state: int) -> None:
    """Raise a ValueError unless a node reads each state below its own once, as NAS-Bench-201's notation has it."""
    sources = sorted(source for _, source in node)
    if sources != list(range(state)):
        raise ValueError(
            f"In NAS-Bench-201's notation node {state} takes each of the sources 0..{state - 1} once (an edge that is "
            f"not wanted is none~source); got the sources {shown(sources)}."
        )


def read_official(text: str) -> Iterator[PlainCell]:
    """Read the notation of the DARTS code, in which nodes have two inputs and the output holds every node."""
    fields = _official_fields(checked_text(text).strip())
    for field, name in _OFFICIAL_CELLS.items():
        pairs, states = fields[field], fields[f"{field}_concat"]
        if not isinstance(pairs, list | tuple) or len(pairs) % 2:
            raise ValueError(f"{field} lists (operation, source) pairs, two for each node; got {shown(pairs)}.")
        last = 1 + len(pairs) // 2
        if not isinstance(states, list | tuple) or list(states) != list(range(2, last + 1)):
            raise ValueError(
                f"{field}_concat must hold every node of the cell, 2..{last}, in order: a cell's output is the "
                f"concatenation of all its nodes; got {shown(states)}."
            )
        yield name, 2, [pairs[index : index + 2] for index in range(0, len(pairs), 2)]


def _input(text: str, sign: str) -> tuple[str, int]:
    operation, *source = text.split(sign)
    if len(source) != 1:
        raise ValueError(f"An input of a node is operation{sign}source, e.g. skip_connect{sign}0; got {shown(text)}.")
    return operation, _number(source[0], f"The source in {shown(text)}")


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{what} is a number written in digits; got {shown(text)}.")
    return int(text)


def _official_fields(text: str) -> dict[str, Any]:
    literal = _RANGE.sub(lambda found: str(list(range(2, int(found[1])))), text)
    try:
        call = ast.parse(literal, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The official notation is {_OFFICIAL_EXAMPLE}; {shown(text)} cannot be read.") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype":
        raise ValueError(f"The official notation is {_OFFICIAL_EXAMPLE}; got {shown(text)}.")
    names = [str(keyword.arg) for keyword in call.keywords]
    if call.args or sorted(names) != sorted(_OFFICIAL_FIELDS):
        raise ValueError(
            f"The official notation names each of {_OFFICIAL_FIELDS} once; got {names}"
            f"{' and arguments without a name' if call.args else ''}."
        )
    try:
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"The official notation holds literals only: names, numbers, lists, tuples, range(2, 6); got {shown(text)}."
        ) from error
