"""Images and labels in the columns of a table of `datasets`."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.stored import StoredImages
from archselect.foreign.files import printable
from archselect.foreign.pictures import open_picture

if TYPE_CHECKING:
    import datasets

LONGEST_NAME = 100  # characters of a class's name that are kept


def open_table(
    table: "datasets.Dataset", image_column: str | None, label_column: str | None, origin: str
) -> StoredImages:
    """Open one split.

    Args:
        table: has encoded images (PNG, JPEG, ...) in one column and whole numbers in another.
        image_column: `None` for the only column that holds images.
        label_column: `None` for the only column that holds classes, or else whole numbers.
        origin: how errors name the table.

    Raises:
        ValueError: when the table is empty, lacks a column or a column holds something else.
    """
    image_column = _column(table, "image_column", image_column, origin)
    label_column = _column(table, "label_column", label_column, origin)
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    columns = table.select_columns(sorted({image_column, label_column})).with_format("arrow")[:]
    labels = _labels(columns[label_column], label_column, origin)
    encoded = _encoded(columns[image_column], image_column, origin)
    names = _class_names(table.features[label_column])
    count = None if names is None else len(names)
    is_numbered = names == tuple(map(str, range(count or 0)))
    return StoredImages(
        labels,
        lambda i: _open(encoded[i].as_py()),
        lambda i: f"row {i} of {origin}",
        count,
        None if is_numbered else names,
    )


def _column(table: "datasets.Dataset", option: str, name: str | None, origin: str) -> str:
    """Return the name of a column that is there."""
    columns = table.column_names
    if name is not None:
        if name in columns:
            return name
        raise ValueError(
            f"Expected a column {name!r} in {origin}, found {', '.join(columns) or 'no columns'}. "
            f"Name the right one: data.source.{option}=..."
        )
    fitting = _images(table.features) if option == "image_column" else _classes(table.features)
    if len(fitting) == 1:
        return fitting[0]
    what = "images" if option == "image_column" else "the classes"
    found = ", ".join(f"{column} ({feature})" for column, feature in list(table.features.items())[:20])
    raise ValueError(
        f"Which column of {origin} holds {what}? {' and '.join(fitting) or 'None of them'} may; it has "
        f"{printable(found)[:1000]}. Say it: data.source.{option}=..."
    )


def _images(features: Mapping[str, Any]) -> list[str]:
    """Return the columns that are said to hold images, or else those that may."""
    import datasets

    said = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    return said or [
        name
        for name, feature in features.items()
        if getattr(feature, "dtype", None) in ("binary", "large_binary")
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]


def _classes(features: Mapping[str, Any]) -> list[str]:
    """Return the columns that are said to hold classes, or else those with whole numbers."""
    import datasets

    said = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return said or [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Value) and feature.dtype.lstrip("u").startswith("int")
    ]


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the names of the classes, where the column has them."""
    import datasets

    if not isinstance(feature, datasets.ClassLabel) or not feature.names:
        return None
    return tuple(printable(str(name))[:LONGEST_NAME] for name in feature.names)


def _labels(column: Any, name: str, origin: str) -> Tensor:
    """Return the labels `(N,)` of an Arrow column."""
    from pyarrow import types

    if not types.is_integer(column.type):
        raise ValueError(
            f"Expected whole numbers in the column {name!r} of {origin}, found {column.type}. "
            f"Number the classes from 0 (class_encode_column({name!r}) of `datasets` does), or name another column: "
            "data.source.label_column=..."
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
