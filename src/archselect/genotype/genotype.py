"""What an architecture is: its cells, frozen and validated, in the forms in which it is stored, typed and published.

`Genotype.parse` reads every form; `PUBLISHED` holds the architectures of papers. Whether the operations exist, and
whether a genotype belongs to a search space, is for the space to say.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archselect.genotype import formats as notations
from archselect.genotype.cell import CellGenotype, shown
from archselect.safe_io.files import GENOTYPE_CHARACTERS, parse_json

OFFICIAL_NOTATION = {
    # H. Liu, K. Simonyan, Y. Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (1806.09055); first order.
    "DARTS_V1": """Genotype(
        normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
                ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
                ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)],
        reduce_concat=[2, 3, 4, 5])""",
    # The same paper, second order.
    "DARTS_V2": """Genotype(
        normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
                ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
                ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
        reduce_concat=[2, 3, 4, 5])""",
    # R. Wang et al., Rethinking Architecture Selection in Differentiable NAS, ICLR 2021 (arXiv 2108.04392): DARTS-PT on
    # the DARTS space (called s5 there), under its name in the authors' code.
    "darts_pt_s5_3": """Genotype(
        normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
                ('skip_connect', 0), ('skip_connect', 2), ('sep_conv_3x3', 1), ('skip_connect', 3)],
        normal_concat=range(2, 6),
        reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('dil_conv_5x5', 1), ('max_pool_3x3', 3), ('sep_conv_5x5', 2), ('skip_connect', 3)],
        reduce_concat=range(2, 6))""",
}


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
        if (
            not isinstance(cells, list | tuple)
            or not cells
            or not all(isinstance(cell, CellGenotype) for cell in cells)
        ):
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

    def cell(self, name: str) -> CellGenotype:
        """Return the cell of that name, or raise a `ValueError` that lists the names there are."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise ValueError(f"This genotype has no cell {name!r}; its cells are {', '.join(self.names)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: `{"cells": [{"name", "inputs", "nodes": [[[operation, source], ...], ...]}, ...]}`."""
        return {"cells": [cell.to_dict() for cell in self.cells]}

    @classmethod
    def from_dict(cls, data: object) -> "Genotype":
        """Read what `to_dict` wrote; anything else is a `ValueError`."""
        if not isinstance(data, Mapping) or set(data) != {"cells"} or not isinstance(data["cells"], list | tuple):
            found = sorted(map(str, data)) if isinstance(data, Mapping) else f"a {type(data).__name__}"
            raise ValueError(f"A genotype is an object with one key, 'cells', which holds a list; got {found}.")
        return cls(tuple(CellGenotype.from_dict(cell) for cell in data["cells"]))

    def to_json(self) -> str:
        """Return `to_dict` as JSON on one line."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Read what `to_json` wrote; anything else is a `ValueError`."""
        text = notations.checked_text(text)
        try:
            data = parse_json(text)
        except ValueError as error:
            raise ValueError(f"A genotype in JSON is expected, but this is no valid JSON ({error}).") from error
        return cls.from_dict(data)

    def to_text(self) -> str:
        """Return the one-line text, which needs no quotation marks in a shell nor as a Hydra override."""
        return notations.cells_to_text(self.cells)

    @classmethod
    def from_text(cls, text: str) -> "Genotype":
        """Read the one-line text."""
        return cls(notations.text_to_cells(text))

    def to_official(self) -> str:
        """Return the notation of the DARTS code; a `ValueError` where it cannot hold this genotype."""
        return notations.cells_to_official(self.cells)

    @classmethod
    def from_official(cls, text: str) -> "Genotype":
        """Read the notation of the DARTS code, without evaluating it."""
        return cls(notations.official_to_cells(text))

    def to_nasbench201(self) -> str:
        """Return NAS-Bench-201's notation; a `ValueError` where it cannot hold this genotype."""
        return notations.cells_to_nasbench201(self.cells)

    @property
    def label(self) -> str:
        """Its published name, or `genotype` and the first eight digits of the SHA-256 of its text."""
        published = next((name for name, genotype in PUBLISHED.items() if genotype == self), None)
        return published or f"genotype {hashlib.sha256(self.to_text().encode()).hexdigest()[:8]}"

    @classmethod
    def from_nasbench201(cls, text: str) -> "Genotype":
        """Read NAS-Bench-201's notation."""
        return cls(notations.nasbench201_to_cells(text))

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
        text = _without_log(notations.checked_text(text)).strip()
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


def _without_log(text: str) -> str:
    """Return the genotype in a line that a search of DARTS or NAS-Bench-201 logged; else the text as it is."""
    if (nasbench201 := re.search(r"\|\S+~[0-9]+\|", text)) is not None:
        return nasbench201[0]
    start = text.find("Genotype(")
    depth = 0
    for place in range(start, len(text) if start >= 0 else start):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0 and text[place] == ")":
            return text[start : place + 1]
    return text


def _read_file(path: Path) -> Genotype:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(GENOTYPE_CHARACTERS + 1)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"A genotype was to be read from {str(path)!r}, but there is no such file. A finished run keeps its own in "
            "its "
            "folder, genotype.json."
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
    close = difflib.get_close_matches(text[:100].lower(), {name.lower() for name in PUBLISHED}, n=1)
    hint = next((f" Did you mean {name}?" for name in PUBLISHED if [name.lower()] == close), "")
    return (
        f"{shown(text)} is no genotype.{hint} Accepted are a published name ({', '.join(PUBLISHED)}), the path of a "
        ".json file, JSON, the one-line text (normal:2:sep_conv_3x3@0+skip_connect@1/...//reduction:2:...), the "
        "official notation (Genotype(normal=[...], ...)) and NAS-Bench-201's (|op~0|+|op~0|op~1|+|op~0|op~1|op~2|)."
    )
