"""The notations in which a genotype is written on one line: this project's, that of DARTS, that of NAS-Bench-201.

    one line         normal:2:sep_conv_3x3@0+skip_connect@1/max_pool_3x3@0//reduction:2:...
    official         Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], ...)
    NAS-Bench-201    |nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|

The first needs no quotation marks in a shell nor in Hydra's override grammar. Each pair of functions here goes between
a text and cells; what a cell may be is checked by `CellGenotype`.
"""

import ast
import re
from collections.abc import Sequence

from archselect.genotype.cell import CellGenotype, Input, shown
from archselect.safe_io.files import GENOTYPE_CHARACTERS

_OFFICIAL_CELLS = {"normal": "normal", "reduce": "reduction"}
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_OFFICIAL_EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=...)"
)


def cells_to_text(cells: Sequence[CellGenotype]) -> str:
    """Write cells on one line: `name:inputs:nodes`, cells parted by `//`, nodes by `/`, the inputs of a node by `+`."""
    return "//".join(f"{cell.name}:{cell.inputs}:{'/'.join(map(_node_to_text, cell.nodes))}" for cell in cells)


def text_to_cells(text: str) -> tuple[CellGenotype, ...]:
    """Read what `cells_to_text` wrote."""
    return tuple(_text_to_cell(part) for part in checked_text(text).split("//"))


def cells_to_official(cells: Sequence[CellGenotype]) -> str:
    """Write a "normal" and a "reduction" cell, with two inputs and two per node, in the notation of the DARTS code."""
    if sorted(cell.name for cell in cells) != sorted(_OFFICIAL_CELLS.values()):
        names = [cell.name for cell in cells]
        raise ValueError(
            f"The official notation holds one 'normal' and one 'reduction' cell; this genotype has {names}."
        )
    by_name = {cell.name: cell for cell in cells}
    fields = []
    for field, name in _OFFICIAL_CELLS.items():
        cell = by_name[name]
        if cell.inputs != 2 or any(len(node) != 2 for node in cell.nodes):
            raise ValueError(
                f"The official notation holds cells with two inputs and two inputs per node; cell {name!r} has "
                f"{cell.inputs} inputs and {[len(node) for node in cell.nodes]} inputs per node."
            )
        pairs = [tuple(edge) for node in cell.nodes for edge in node]
        fields.append(f"{field}={pairs!r}, {field}_concat=range(2, {2 + len(cell.nodes)})")
    return f"Genotype({', '.join(fields)})"


def official_to_cells(text: str) -> tuple[CellGenotype, ...]:
    """Read the notation of the DARTS code, without evaluating it; every node must be in the cell's output."""
    fields = _official_fields(checked_text(text).strip())
    return tuple(
        _official_cell(name, fields[field], fields[f"{field}_concat"], field) for field, name in _OFFICIAL_CELLS.items()
    )


def cells_to_nasbench201(cells: Sequence[CellGenotype]) -> str:
    """Write a single cell with one input, whose nodes take every earlier state, in NAS-Bench-201's notation."""
    if len(cells) != 1 or cells[0].inputs != 1:
        found = ", ".join(f"{cell.name!r} with {cell.inputs} inputs" for cell in cells)
        raise ValueError(f"NAS-Bench-201's notation holds a single cell with one input; this genotype has {found}.")
    for state, node in enumerate(cells[0].nodes, start=1):
        _check_takes_every_earlier_state(node, state)
    return "+".join(
        "|" + "".join(f"{operation}~{source}|" for operation, source in sorted(node, key=lambda edge: edge.source))
        for node in cells[0].nodes
    )


def nasbench201_to_cells(text: str) -> tuple[CellGenotype, ...]:
    """Read NAS-Bench-201's notation into one cell named "cell"."""
    nodes = tuple(
        _nasbench201_node(part, state) for state, part in enumerate(checked_text(text).strip().split("+"), start=1)
    )
    return (CellGenotype(name="cell", inputs=1, nodes=nodes),)


def checked_text(text: object) -> str:
    """Return `text` if it is a string that is not too long to be a genotype."""
    if not isinstance(text, str):
        raise ValueError(f"A genotype is read from a string; got a {type(text).__name__}.")
    if len(text) > GENOTYPE_CHARACTERS:
        raise ValueError(f"A genotype has at most {GENOTYPE_CHARACTERS} characters; got {len(text)}.")
    return text


def _node_to_text(node: Sequence[Input]) -> str:
    return "+".join(f"{operation}@{source}" for operation, source in node)


def _text_to_cell(text: str) -> CellGenotype:
    parts = text.strip().split(":")
    if len(parts) != 3:
        raise ValueError(
            "A cell on one line is name:inputs:nodes, e.g. normal:2:sep_conv_3x3@0+skip_connect@1/max_pool_3x3@0; got "
            f"{shown(text)}."
        )
    name, inputs, nodes = parts
    what = f"Cell {shown(name)}"
    return CellGenotype(
        name, _number(inputs, f"{what}, its number of inputs"), tuple(map(_text_to_node, nodes.split("/")))
    )


def _text_to_node(text: str) -> tuple[Input, ...]:
    return tuple(_joined_input(part, "@") for part in text.split("+")) if text else ()


def _joined_input(text: str, sign: str) -> Input:
    parts = text.split(sign)
    if len(parts) != 2:
        raise ValueError(f"An input of a node is operation{sign}source, e.g. skip_connect{sign}0; got {shown(text)}.")
    return Input(parts[0], _number(parts[1], f"The source in {shown(text)}"))


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{what} is a number written in digits; got {shown(text)}.")
    return int(text)


def _official_fields(text: str) -> dict[str, ast.expr]:
    expected = [name for field in _OFFICIAL_CELLS for name in (field, f"{field}_concat")]
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The official notation is {_OFFICIAL_EXAMPLE}; {shown(text)} cannot be read.") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype":
        raise ValueError(f"The official notation is {_OFFICIAL_EXAMPLE}; got {shown(text)}.")
    names = [keyword.arg for keyword in call.keywords]
    if call.args or sorted(map(str, names)) != sorted(expected):
        raise ValueError(
            f"The official notation names each of {expected} once; got {names}"
            f"{' and arguments without a name' if call.args else ''}."
        )
    return {str(keyword.arg): keyword.value for keyword in call.keywords}


def _official_cell(name: str, inputs: ast.expr, concat: ast.expr, field: str) -> CellGenotype:
    pairs = _literal(inputs, field)
    if not isinstance(pairs, list | tuple) or len(pairs) % 2:
        raise ValueError(f"{field} lists (operation, source) pairs, two for each node; got {shown(pairs)}.")
    cell = CellGenotype(name, 2, tuple((pairs[index], pairs[index + 1]) for index in range(0, len(pairs), 2)))
    states = _concat_states(concat, f"{field}_concat")
    if states != list(range(2, 2 + len(cell.nodes))):
        raise ValueError(
            f"{field}_concat must hold every node of the cell, 2..{1 + len(cell.nodes)}, in order: a cell's output is "
            f"the concatenation of all its nodes; got {shown(states)}."
        )
    return cell


def _concat_states(expression: ast.expr, field: str) -> list[object]:
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id == "range":
        bounds = tuple(_literal(argument, field) for argument in expression.args)
        if expression.keywords or len(bounds) != 2 or bounds[0] != 2 or not isinstance(bounds[1], int):
            raise ValueError(f"{field} is range(2, 6) for a cell of four nodes; got range{shown(bounds)}.")
        return list(range(2, min(bounds[1], GENOTYPE_CHARACTERS)))
    states = _literal(expression, field)
    if not isinstance(states, list | tuple):
        raise ValueError(f"{field} is a range or a list of states; got {shown(states)}.")
    return list(states)


def _literal(expression: ast.expr, field: str) -> object:
    try:
        value: object = ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{field} of the official notation holds literals only (names, numbers, lists, tuples)."
        ) from error
    return value


def _nasbench201_node(text: str, state: int) -> tuple[Input, ...]:
    if len(text) < 2 or not text.startswith("|") or not text.endswith("|"):
        raise ValueError(
            "NAS-Bench-201's notation is |op~0|+|op~0|op~1|+|op~0|op~1|op~2|; "
            f"node {state} should begin and end with '|', got {shown(text)}."
        )
    node = tuple(_joined_input(part, "~") for part in text[1:-1].split("|"))
    _check_takes_every_earlier_state(node, state)
    return node


def _check_takes_every_earlier_state(node: Sequence[Input], state: int) -> None:
    sources = sorted(source for _, source in node)
    if sources != list(range(state)):
        raise ValueError(
            f"In NAS-Bench-201's notation node {state} takes each of the sources 0..{state - 1} once (an edge that is "
            f"not wanted is none~source); got the sources {shown(sources)}."
        )
