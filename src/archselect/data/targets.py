"""Numbers as targets: of the columns of a table, or of a file `targets.csv` beside the images of a folder."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archselect.data.decode import EncodedImages
from archselect.data.pixels import Stored
from archselect.safe_io.files import MEBIBYTE, printable, read_text

if TYPE_CHECKING:  # it takes a second, which other data should not cost
    import pyarrow

TARGETS = "targets.csv"
TARGETS_BYTES = 256 * MEBIBYTE  # of such a file; a million images with ten targets take half of it

LabelColumn = str | Sequence[str] | None
"""One column of classes, of decimal numbers or of lists of numbers; or several columns of numbers."""


def target_columns(kinds: "Mapping[str, pyarrow.DataType]", label_column: LabelColumn) -> list[str]:
    """Return the columns that are named as targets, of which none is if one of classes is named, or no column."""
    from pyarrow import types

    if label_column is None:
        return []
    if not isinstance(label_column, str):
        return list(label_column)
    kind = kinds.get(label_column)
    return [label_column] if kind is not None and (types.is_floating(kind) or _holds_lists(kind)) else []


def targets_of(columns: "Mapping[str, pyarrow.ChunkedArray]", origin: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return the numbers in columns, one or a list of them in each row, as `(N, D)`, and the names of the D.

    Raises:
        ValueError: A column holds something else, or lists of different lengths.
    """
    parts: list[NDArray[np.float32]] = []
    names: list[str] = []
    for name, column in columns.items():
        parts.append(_numbers(column, name, origin))
        width = parts[-1].shape[1]
        names += [name] if width == 1 else [f"{name} {index}" for index in range(width)]
    return torch.from_numpy(np.concatenate(parts, axis=1)), tuple(map(printable, names))


def _numbers(column: "pyarrow.ChunkedArray", name: str, origin: str) -> NDArray[np.float32]:
    """Return the numbers of a column, `(N, D)`; a row without one has NaN."""
    from pyarrow import types

    rows, kind = len(column), column.type
    if _holds_lists(kind):
        lists = column.combine_chunks()
        lengths = [None if row is None else len(row) for row in lists.to_pylist()]
        different = next(
            (index for index, length in enumerate(lengths) if length is None or length != lengths[0]), None
        )
        if different is not None:
            raise ValueError(
                f"Expected as many numbers in every row of the column {name!r} of {origin}, but row 0 has {lengths[0]} "
                f"and row {different} {lengths[different]}. Write one for each target: 0 for a label that is not there."
            )
        column, kind = lists.flatten(), lists.type.value_type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"Expected numbers as targets in the column {name!r} of {origin}, found {kind}. Name columns of numbers: "
            "data.source.label_column=[NAME,...]"
        )
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(rows, -1)


def _holds_lists(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def open_target_folder(place: Path, images: Iterable[Path], open_image: Callable[[Path], Stored]) -> EncodedImages:
    """Open the images that `targets.csv` in a folder names: a line per image with its file and its numbers.

    Args:
        place: The folder of a split; files are named from there on.
        images: What lies in it.
        open_image: Opens one of them.

    Raises:
        ValueError: A line has no number where one is expected, or names no image of the folder.
    """
    text = read_text(place / TARGETS, place, TARGETS_BYTES)
    header, *lines = [line for line in csv.reader(io.StringIO(text)) if line] or [[]]
    if len(header) < 2 or not lines:
        raise ValueError(
            f"Expected a line 'file,NAME,...' in {place / TARGETS}, then a line per image with its file and numbers, "
            f"found {len(lines) + 1} lines, the first with {len(header)} columns."
        )
    there = {path.relative_to(place).as_posix(): path for path in images}
    files, rows = list[Path](), list[list[float]]()
    for number, line in enumerate(lines, start=2):  # empty ones are not counted
        where = f"line {number} of {place / TARGETS}"
        if len(line) != len(header):
            raise ValueError(
                f"Expected {len(header)} columns in {where}, found {len(line)}: {printable(str(line))[:200]}."
            )
        name = PurePosixPath(line[0].strip()).as_posix()
        if name not in there:
            raise ValueError(
                f"{where} names {printable(name)[:200]!r}, which is no image in {place}. Name files from there on."
            )
        files.append(there.pop(name))
        rows.append(list(_floats(line[1:], header[1:], where)))
    names = tuple(printable(name.strip()) for name in header[1:])
    left = (
        f"{len(there)} images in {place} are not read: {TARGETS} has no line for them, such as {min(there)}"
        if there
        else ""
    )
    return EncodedImages(
        torch.tensor(rows), lambda i: open_image(files[i]), lambda i: str(files[i]), len(names), names, left
    )


def _floats(cells: Sequence[str], names: Sequence[str], where: str) -> Iterable[float]:
    for cell, name in zip(cells, names, strict=True):
        try:
            yield float(cell)
        except ValueError as error:
            raise ValueError(
                f"Expected a number for {name.strip()!r} in {where}, found {printable(cell)[:100]!r}."
            ) from error
