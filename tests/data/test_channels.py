"""How many channels images have: as they are stored, or as they are converted to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tests.data.small_sets import folder_data, image_data, write_image

from archselect.data import Digits

NONE: dict[str, Any] = {"mean": None, "std": None}


def of_colour(folder: Path, *modes: str) -> Path:
    """Write a picture (200, 100, 50), a little transparent where its mode can be, in each mode."""
    for number, mode in enumerate(modes):
        red = Image.new("RGBA", (4, 4), (200, 100, 50, 40))
        write_image(folder / "train" / "ant" / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}", red.convert(mode))
    return folder


def arrays(folder: Path, *shapes: tuple[int, ...], dtype: Any = np.uint8) -> list[np.ndarray]:
    made = [
        np.random.default_rng(number).integers(256, size=shape).astype(dtype) for number, shape in enumerate(shapes)
    ]
    (folder / "train" / "ant").mkdir(parents=True)
    for number, array in enumerate(made):
        np.save(folder / "train" / "ant" / f"{number}.npy", array)
    return made


@pytest.mark.parametrize(
    ("modes", "channels"), [("L L", 1), ("L LA 1", 1), ("L RGB", 3), ("RGB RGBA", 3), ("P", 3), ("CMYK L", 3)]
)
def test_pictures_have_one_channel_only_where_all_are_stored_in_grey(modes: str, channels: int, tmp_path: Path) -> None:
    data = folder_data(of_colour(tmp_path, *modes.split()), channels=None)
    assert data.channels == channels
    assert data.train.images.shape == (len(modes.split()), channels, 4, 4)


# Grey is (299 * 200 + 587 * 100 + 114 * 50) / 1000 = 124.2 (ITU-R 601-2, as Pillow has it).
@pytest.mark.parametrize(
    ("mode", "channels", "pixel"),
    [
        ("RGBA", 1, [124]),
        ("RGBA", 3, [200, 100, 50]),
        ("RGBA", 4, [200, 100, 50, 40]),
        ("RGB", 4, [200, 100, 50, 255]),
        ("L", 3, [124, 124, 124]),
        ("LA", 4, [124, 124, 124, 40]),
        ("CMYK", 4, [200, 100, 50, 255]),
    ],
)
def test_a_number_of_channels_converts_pictures(mode: str, channels: int, pixel: list[int], tmp_path: Path) -> None:
    data = folder_data(of_colour(tmp_path, mode), channels=channels)
    tolerance = 3 if mode == "CMYK" else 0  # stored as JPEG
    np.testing.assert_allclose(data.train.images[0, :, 0, 0].int(), pixel, atol=tolerance)


def test_a_picture_in_colour_behind_the_grey_ones_that_were_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archselect.data.decode.LOOKED_AT", 2)  # the first and the last
    folder = of_colour(tmp_path, "L", "RGB", "L")
    with pytest.raises(ValueError, match=r"Expected pictures in grey.*1\.png has the mode RGB. Set data\.channels=3"):
        _ = folder_data(folder, channels=None).train
    assert folder_data(folder, channels=1).train.images.shape[1] == 1


@pytest.mark.parametrize("channels", [6, 1])
def test_arrays_have_as_many_channels_as_are_stored(channels: int, tmp_path: Path) -> None:
    shape = (4, 4, channels) if channels > 1 else (4, 4)
    stored = arrays(tmp_path, shape, shape)
    data = folder_data(tmp_path, channels=None, **NONE)
    assert data.channels == channels
    expected = np.stack(stored).reshape(2, 4, 4, channels)
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1), expected)
    means = expected.reshape(-1, channels).mean(axis=0) / 255
    np.testing.assert_allclose(data.normalisation.mean, means, atol=5e-5)  # rounded to four digits


def test_every_channel_of_an_array_is_scaled_as_a_picture_is(tmp_path: Path) -> None:
    (stored,) = arrays(tmp_path, (9, 6, 5))
    scaled = folder_data(tmp_path, channels=None, image_size=4).train.images[0]
    for channel, pixels in enumerate(scaled):
        expected = ImageOps.fit(Image.fromarray(stored[:, :, channel]), (4, 4), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize(
    ("shapes", "dtype", "channels", "told"),
    [
        ([(4, 4, 5), (4, 4, 6)], "uint8", None, r"0\.npy has 5 and .*1\.npy 6"),
        ([(4, 4, 1), (4, 4, 3)], "uint8", None, r"of 3 channels, but .*0\.npy is an array of 1, and those of arrays"),
        ([(4, 4, 5)], "uint8", 3, r"of 3 channels, but .*0\.npy is an array of 5"),
        ([(4, 4, 5)], "float32", None, r"holds float32 of the shape \(4, 4, 5\), and images are arrays"),
        ([(4,)], "uint8", None, r"holds uint8 of the shape \(4,\)"),
        ([(0, 4, 3)], "uint8", None, r"holds uint8 of the shape \(0, 4, 3\)"),
        ([(4, 4, 5)], "object", None, "not an image that can be read"),
    ],
)
def test_arrays_that_are_no_images_or_differ_are_refused(
    shapes: list[tuple[int, ...]], dtype: str, channels: int | None, told: str, tmp_path: Path
) -> None:
    arrays(tmp_path, *shapes, dtype=dtype)
    with pytest.raises(ValueError, match=told):
        _ = folder_data(tmp_path, channels=channels, **NONE).train


def test_a_picture_has_no_five_channels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of 5 channels, but .*0\.png is a picture, of which 1, 3 or 4 are made"):
        _ = folder_data(of_colour(tmp_path, "RGB"), channels=5).train


def test_means_are_as_many_as_the_channels_or_all_the_same(tmp_path: Path) -> None:
    of_colour(tmp_path, "L")
    with pytest.raises(ValueError, match=r"as many numbers in data\.mean as .* channels, 1, got \[0\.1, 0\.2, 0\.3\]"):
        _ = folder_data(tmp_path, channels=None, mean=[0.1, 0.2, 0.3]).channels
    same = folder_data(tmp_path, channels=4, mean=[0.2, 0.2], std=[0.5, 0.5]).normalisation
    assert (same.mean, same.std) == ((0.2,) * 4, (0.5,) * 4)


def test_the_number_of_channels_is_part_of_the_fingerprint_but_for_three(tmp_path: Path) -> None:
    of_colour(tmp_path, "L")
    prints = [folder_data(tmp_path, channels=channels).fingerprint() for channels in (1, None, 3, 4)]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    assert prints[2] == folder_data(tmp_path).fingerprint()


def test_the_digits_have_three_equal_channels_or_one() -> None:
    one, three = (image_data(Digits(), channels=channels).train.images for channels in (1, 3))
    assert one.shape == (1438, 1, 8, 8)
    assert torch.equal(one.expand(-1, 3, -1, -1), three)
