"""Images and labels in the columns of a table of `datasets`."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.stored import StoredImages
from archselect.foreign.pictures import open_picture

if TYPE_CHECKING:
    import datasets


def open_table(table: "datasets.Dataset", image_column: str, label_column: str, origin: str) -> StoredImages:
    """Open one split.

    Args:
        table: has encoded images (PNG, JPEG, ...) in one column and whole numbers in another.
        origin: how errors name the table.

    Raises:
        ValueError: when the table is empty, lacks a column or a column holds something else.
    """
    for option, column in (("image_column", image_column), ("label_column", label_column)):
        if column not in table.column_names:
            raise ValueError(
                f"Expected a column {column!r} in {origin}, found {', '.join(table.column_names) or 'no columns'}. "
                f"Name the right one: data.source.{option}=..."
            )
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    columns = table.select_columns(sorted({image_column, label_column})).with_format("arrow")[:]
    labels = _labels(columns[label_column], label_column, origin)
    encoded = _encoded(columns[image_column], image_column, origin)
    return StoredImages(labels, lambda i: _open(encoded[i].as_py()), lambda i: f"row {i} of {origin}")


def _labels(column: Any, name: str, origin: str) -> Tensor:
    """Return the labels `(N,)` of an Arrow column."""
    from pyarrow import types

    if not types.is_integer(column.type):
        raise ValueError(
            f"Expected whole numbers in the column {name!r} of {origin}, found {column.type}. "
            "Number the classes from 0, or name another column: data.source.label_column=..."
        )
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"Row {row} of {origin} has no label in the column {name!r}; {column.null_count} rows have none. "
            "Label them or remove them."
        )
    return torch.from_numpy(column.to_numpy().astype(np.int64))


def _encoded(column: Any, name: str, origin: str) -> Any:
    """Return the Arrow column with, in each row, either bytes or `{"bytes": ..., "path": ...}`."""
    from pyarrow import types

    kind = column.type
    is_image = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (is_image or types.is_binary(kind) or types.is_large_binary(kind)):
        raise ValueError(
            f"Expected encoded images in the column {name!r} of {origin}, found {kind}. "
            "Name another column: data.source.image_column=..."
        )
    return column


def _open(value: bytes | dict[str, Any] | None) -> Image.Image:
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    if value is None:
        raise ValueError("the row is empty")
    if isinstance(value, str):
        raise ValueError("it names a file in place of the image; write the images themselves into the table")
    return open_picture(io.BytesIO(value))
