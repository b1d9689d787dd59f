"""An image counts the way up that it is looked at: EXIF orientation, which cameras leave in photographs."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.small_sets import image_data, write_parquet

from archselect.data import HuggingFaceImages, ImageFolder
from archselect.data.pixels import upright

SIDE = 32
TALL = np.zeros((3 * SIDE, 2 * SIDE), dtype=np.uint8)
"""Six squares in six greys, which JPEG hardly changes: three rows of two, as it is looked at."""
for number in range(6):
    row, column = divmod(number, 2)
    TALL[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = 40 * number + 20

# How CIPA DC-008 describes the orientations: the side of what is looked at, where row 0 and column 0 of the file are.
STORED = {
    1: TALL,  # top, left
    2: TALL[:, ::-1],  # top, right
    3: TALL[::-1, ::-1],  # bottom, right
    4: TALL[::-1],  # bottom, left
    5: TALL.T,  # left, top
    6: TALL[:, ::-1].T,  # right, top
    7: TALL[::-1, ::-1].T,  # right, bottom
    8: TALL[::-1].T,  # left, bottom
}


def stored(orientation: int, kind: str) -> bytes:
    """Return the file of an image that is to be looked at as `TALL`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB").save(stream, kind, exif=exif, **lossless)
    return stream.getvalue()


def greys(image: Image.Image) -> np.ndarray:
    """Return the grey in the middle of each of the six squares."""
    assert image.size == (2 * SIDE, 3 * SIDE)
    return np.asarray(image.convert("L"))[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE].flatten()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(STORED))
def test_an_image_is_turned_as_its_orientation_says_whatever_its_format(orientation: int, kind: str) -> None:
    image = upright(Image.open(io.BytesIO(stored(orientation, kind))))
    np.testing.assert_allclose(greys(image), [20, 60, 100, 140, 180, 220], atol=3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_folders_and_tables_give_images_the_way_up_that_they_are_looked_at(kind: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / "train" / "a").mkdir(parents=True)
    (tmp_path / "folder" / "train" / "a" / "0.jpg").write_bytes(stored(6, kind))
    write_parquet(tmp_path / "table" / "train.parquet", [0], [stored(6, kind)])
    for source in (ImageFolder(path=tmp_path / "folder"), HuggingFaceImages(path=tmp_path / "table")):
        pixels = image_data(source, image_size=2 * SIDE, classes=1).train.images[0, 0]  # the middle row, and halves
        columns = pixels[SIDE, [SIDE // 2, -SIDE // 2]].tolist()
        np.testing.assert_allclose(columns, [100, 140], atol=3)
        assert pixels[4, 4] < columns[0] < pixels[-4, 4]  # row 0 lies above, row 2 below
        with pytest.raises(ValueError, match=f"is {3 * SIDE} pixels high and {2 * SIDE} wide"):
            _ = image_data(source).image_size


def test_damaged_exif_and_orientations_that_there_are_not_ask_for_nothing() -> None:
    for exif in (b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", 0, 9, 60_000):
        tags = Image.Exif()
        if isinstance(exif, int):
            tags[0x0112] = exif
        stream = io.BytesIO()
        Image.fromarray(TALL).convert("RGB").save(stream, "JPEG", exif=tags if isinstance(exif, int) else exif)
        np.testing.assert_allclose(greys(upright(Image.open(stream))), [20, 60, 100, 140, 180, 220], atol=3)
