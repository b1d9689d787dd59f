"""Small data sets on disk whose images tell which ones they are."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from archselect.data import HubImages, ImageData, ImageFolder, Source


def picture(row: int, size: int = 4) -> Image.Image:
    """An image that tells which one it is: every pixel of row r, column c has the values (row, r, c)."""
    rows, columns = np.indices((size, size), dtype=np.uint8)
    pixels = np.stack([np.full_like(rows, row), rows, columns], axis=-1)
    return Image.fromarray(pixels)


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_parquet(
    file: Path, labels: Sequence[int | None], images: Sequence[bytes] | None = None, label_column: str = "label"
) -> None:
    images = [encoded(picture(row)) for row in range(len(labels))] if images is None else images
    rows = [{"bytes": image, "path": None} for image in images]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"img": pyarrow.array(rows, kind), label_column: pyarrow.array(labels, pyarrow.int64())}
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), file)


def write_image(file: Path, image: Image.Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def image_data(source: Source, **options: object) -> ImageData:
    usual = {"mean": [0] * 3, "std": [1] * 3, "classes": None, "image_size": None, "pad": 4, "flip": True}
    return ImageData("set", source, **usual | {"train_subset": None} | options)  # type: ignore[arg-type]


def hub_data(path: Path | None, **options: object) -> ImageData:
    usual: dict[str, object] = {"classes": 2, "image_size": 4}
    return image_data(HubImages("someone/set", "img", "label"), path=path, **usual | options)


def folder_data(path: Path | None, **options: object) -> ImageData:
    return image_data(ImageFolder(), path=path, **options)
