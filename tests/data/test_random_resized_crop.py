"""The augmentation of ImageNet: random parts of images at their own size, changed colours, the centre to test on."""

import colorsys
import math
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.small_sets import folder_data, write_image
from torch import Tensor

from archselect.data import Augmentation, DeviceLoader, ImageData, Normalisation, StreamedImages, StreamLoader
from archselect.data import stream as streaming
from archselect.data.color_jitter import STEPS, ColorJitter
from archselect.data.pixels import PixelFormat, pixels_of, random_box
from archselect.distributed.rng import generator_for
from archselect.search.data import fixed_batches, training_batches

CPU = torch.device("cpu")
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}


def noise(number: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(256, size=(height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six images, no two of one size."""
    for split, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("ant", "bee")):
            for i in range(count):
                write_image(tmp_path / split / name / f"{i}.png", noise(10 * label + i, 12 + i, 18 - 2 * i))
    return tmp_path


def data_of(folder: Path, **options: object) -> ImageData:
    return folder_data(folder, **{"image_size": 8, "channels": 3, "workers": 3, "crop": "resized"} | options)


def test_boxes_lie_in_the_image_and_have_areas_and_ratios_in_their_ranges_up_to_both_ends() -> None:
    width, height = 500, 375
    boxes = torch.tensor([random_box(width, height, seed) for seed in range(3000)]).double()
    left, top, right, bottom = boxes.unbind(1)
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, width, height)
    areas, ratios = (right - left) * (bottom - top) / (width * height), (right - left) / (bottom - top)
    assert 0.078 < areas.min() < 0.085 and 0.95 < areas.max() <= 1
    assert 0.74 < ratios.min() < 0.76 and 1.31 < ratios.max() < 1.35
    # Few boxes of such an image are refused, so that the logarithm of the ratio stays symmetric around 0.
    assert ratios[areas < 0.5].log().mean().abs() < 0.02


class Numbers:
    """In place of the random numbers: those given, again and again."""

    def __init__(self, *numbers: float) -> None:
        self.random = iter(numbers * 10).__next__


@pytest.mark.parametrize(
    ("numbers", "box"),
    [
        # area 0.54 of 100 x 100 pixels, ratio 1: a side of sqrt(5400) = 73.48; 28 places are possible in each direction
        ((0.5, 0.5, 0.5, 0.25), (7, 14, 80, 87)),
        # area 0.08 and ratio 4/3: sqrt(800 * 4/3) = 32.66 wide and sqrt(800 * 3/4) = 24.49 high, in the last place
        ((0.0, 1 - 1e-9, 0.999, 0.999), (67, 76, 100, 100)),
        # all of the area at 3/4 would be 115.47 pixels high ten times: the whole image has a ratio in the range
        ((1.0, 0.0), (0, 0, 100, 100)),
    ],
)
def test_a_box_by_hand(numbers: tuple[float, ...], box: tuple[int, int, int, int]) -> None:
    with mock.patch("archselect.data.pixels.random.Random", return_value=Numbers(*numbers)):
        assert random_box(100, 100, 0) == box


def test_where_no_box_fits_it_is_the_centre_at_the_nearest_ratio() -> None:
    assert random_box(1000, 3, 0) == (498, 0, 502, 3)  # 4 : 3
    assert random_box(3, 1000, 0) == (0, 498, 3, 502)  # 3 : 4


def test_what_is_not_trained_on_is_the_centre_of_the_shorter_side() -> None:
    """Of 16 x 32 pixels 7/8 are 14: from the first column and the ninth row after the margin of 1 on."""
    image = noise(0, 16, 32)
    expected = np.asarray(image)[9:23, 1:15]
    assert np.array_equal(pixels_of(image, PixelFormat(14, resize=True, center_crop=0.875), "one"), expected)
    already = pixels_of(image.crop((0, 0, 14, 14)), PixelFormat(14, resize=True, center_crop=0.875), "of this size")
    assert not np.array_equal(already, np.asarray(image)[:14, :14])


def rows_of(jitter: ColorJitter, image: np.ndarray, draws: list[float]) -> list[list[float]]:
    """Return what becomes of pixels `(P, 3)`, one by one."""
    strengths = (jitter.brightness, jitter.contrast, jitter.saturation)
    bright, contrast, saturation = (
        max(0.0, 1 - strength) + (1 + strength - max(0.0, 1 - strength)) * draw
        for strength, draw in zip(strengths, draws, strict=False)
    )

    def clipped(values: np.ndarray) -> np.ndarray:
        return np.clip(values, 0, 255)

    def grey(values: np.ndarray) -> np.ndarray:
        return values @ (0.299, 0.587, 0.114)

    pixels = clipped(image.astype(float) * bright)
    pixels = clipped(contrast * pixels + (1 - contrast) * grey(pixels).mean())
    pixels = clipped(saturation * pixels + (1 - saturation) * grey(pixels)[:, None])
    turn, turned = (2 * draws[3] - 1) * jitter.hue, []
    for pixel in pixels:
        hue, *others = colorsys.rgb_to_hsv(*(pixel / 255))
        turned.append([255 * value for value in colorsys.hsv_to_rgb((hue + turn) % 1, *others)])
    return turned


@pytest.mark.parametrize("jitter", [ColorJitter(**COLOURS), ColorJitter(1.5, 0.0, 2.0, 0.5), ColorJitter(contrast=3.0)])
def test_colours_change_as_pixel_by_pixel_in_hsv(jitter: ColorJitter) -> None:
    generator = generator_for("colours")
    images = torch.randint(256, (5, 4, 6, 3), generator=generator).float()
    images[0, 0] = torch.tensor((90.0, 90.0, 90.0))  # grey has no hue
    images[0, 1] = torch.tensor((200.0, 200.0, 0.0))  # two largest channels
    draws = torch.randint(STEPS, (5, 4), generator=generator)
    expected = [
        rows_of(jitter, image.reshape(-1, 3).numpy(), draw.tolist())
        for image, draw in zip(images, draws / STEPS, strict=True)
    ]
    torch.testing.assert_close(
        jitter(images, draws), torch.tensor(expected).float().view_as(images), rtol=1e-4, atol=5e-3
    )


def test_colours_by_hand() -> None:
    """A third of the circle makes red green; a pixel of 100 at half of the brightness is one of 50."""
    red, last = torch.tensor((200.0, 0, 0)).view(1, 1, 1, 3), torch.tensor([[0, 0, 0, STEPS - 1]])
    assert ColorJitter(hue=1 / 3)(red, last).flatten().tolist() == pytest.approx([0, 200, 0], abs=1e-3)
    grey = torch.full((1, 2, 2, 3), 100.0)
    torch.testing.assert_close(ColorJitter(0.5, 0.4, 0.4)(grey, last * 0), grey / 2)
    assert torch.equal(ColorJitter()(red, last), red)
    with pytest.raises(ValueError, match="Expected images of 3 channels, whose colours are changed, got 1"):
        ColorJitter(0.5)(torch.zeros(1, 2, 2, 1), last)


def expected_batches(data: ImageData, key: tuple[int | str, ...], epoch: int) -> Tensor:
    """Return what Pillow makes of the images, one by one, in the order and with the draws of an epoch."""
    images = data.train
    assert isinstance(images, StreamedImages)
    augmentation, found = data.augmentation(), []
    draws = augmentation.draw(len(images), 8, 8, generator_for(*key, "augmentation", epoch)).tolist()
    order = torch.randperm(len(images), generator=generator_for(*key, "order", epoch)).tolist()
    for position, (_, _, flipped, _, _, seed, *colours) in zip(order, draws, strict=True):
        label, number = divmod(position, 6)
        image = noise(10 * label + number, 12 + number, 18 - 2 * number)
        image = image.crop(random_box(*image.size, seed)).resize((8, 8), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image))
        changed = augmentation.color_jitter
        found.append(changed(pixels[None].float(), torch.tensor([colours]))[0] if changed else pixels.float())
    return torch.stack(found).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("colours", [None, COLOURS])
def test_batches_are_what_pillow_makes_of_the_images_one_by_one(folder: Path, colours: Any) -> None:
    data, key = data_of(folder, color_jitter=colours, storage="auto"), (0, "search", "weights")
    batches = training_batches(data, data.train, 4, CPU, key)
    assert isinstance(batches, StreamLoader)  # however few they are
    for epoch in (0, 3):
        batches.set_epoch(epoch)
        got = torch.cat([images for images, _ in batches])
        torch.testing.assert_close(got, expected_batches(data, key, epoch), rtol=0, atol=1e-6)


def test_the_centre_is_validated_and_tested_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(folder, center_crop=0.5, color_jitter=COLOURS, storage="stream")
    batches = [fixed_batches(data, data.test, 4, CPU, 0)]
    monkeypatch.setattr(streaming, "KEPT_BELOW", 0)
    batches.append(fixed_batches(data, data.test, 4, CPU, 0))
    (kept, _), (read, _) = (next(iter(each)) for each in batches)
    assert isinstance(batches[0], DeviceLoader) and isinstance(batches[1], StreamLoader) and torch.equal(kept, read)
    order = torch.randperm(4, generator=generator_for(0, "fixed", "order")).tolist()
    for pixels, position in zip(kept, order, strict=True):
        label, number = divmod(position, 2)
        # Half of the shorter side is a square of 6 or 6.5 pixels around the centre.
        width, height = 12 + number, 18 - 2 * number
        box = (width / 4, height / 2 - width / 4, 3 * width / 4, height / 2 + width / 4)
        image = noise(10 * label + number, width, height).resize((8, 8), Image.Resampling.BILINEAR, box)
        torch.testing.assert_close(pixels, torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)


def test_draws_of_crop_and_flip_stay_whatever_is_drawn_besides() -> None:
    plain, resized, both = (
        Augmentation(0, **options).draw(50, 8, 8, generator_for(1))
        for options in ({}, {"crop": "resized"}, {"crop": "resized", "color_jitter": ColorJitter()})
    )
    assert torch.equal(plain, resized[:, :5]) and torch.equal(resized, both[:, :6])
    assert (resized.shape[1], both.shape[1], int(both[:, 6:].max()) < STEPS) == (6, 10, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"storage": "memory"}, "with data.storage=memory they are kept scaled. Set data.storage=stream, or data.crop"),
        ({"image_size": None}, "data.crop=resized crops images of their own size and scales them to data.image_size"),
        ({"image_size": None, "crop": "padded", "center_crop": 0.5}, "data.center_crop=0.5 crops images of their own"),
        ({"crop": "random"}, "data.crop must be one of padded, resized; got 'random'"),
        ({"center_crop": 1.2}, "data.center_crop must lie above 0 and at most at 1; got 1.2"),
        (
            {"color_jitter": COLOURS, "channels": 1},
            "data.color_jitter .* 3 channels, but data.channels is 1",
        ),
        ({"color_jitter": {"hue": 0.6}}, r"data.color_jitter.hue must lie between 0 and 0.5; got 0.6"),
        ({"color_jitter": {"contrast": -1}}, r"data.color_jitter.contrast must be a finite number, 0 or more; got -1"),
        ({"color_jitter": {"hues": 0.1}}, "data.color_jitter has brightness, contrast, saturation, hue; got hues"),
        ({"color_jitter": 0.4}, "data.color_jitter must be a node of options, data.color_jitter.NAME=VALUE; got 0.4"),
    ],
)
def test_what_does_not_go_together_is_refused_before_an_image_is_read(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        data_of(Path("nowhere"), **options)


def test_a_cutout_larger_than_the_crop_is_refused_and_images_in_memory_take_no_resized_crop(folder: Path) -> None:
    with pytest.raises(ValueError, match="cutout of 9 pixels is larger than the images, 8 x 8"):
        data_of(folder).augmentation(cutout=9)
    with pytest.raises(ValueError, match="takes no padding, but pad is 4"):
        Augmentation(crop="resized")
    images, labels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    normalisation, resized = Normalisation((0,) * 3, (1,) * 3), Augmentation(0, crop="resized")
    with pytest.raises(ValueError, match="while it is decoded, but these images are decoded"):
        DeviceLoader(images, labels, 2, "cpu", normalisation, ("one",), resized)


def test_images_seen_through_another_centre_are_other_images(folder: Path) -> None:
    prints = [data_of(folder, center_crop=share).fingerprint() for share in (1, 1.0, 0.875)]
    assert prints[0] == prints[1] == data_of(folder, crop="padded").fingerprint() != prints[2]
    assert math.isclose(data_of(folder, center_crop=0.875).pixel_format.center_crop, 0.875)
