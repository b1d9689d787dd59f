from typing import Any

import pytest
import torch
from torch import Tensor

from archselect.data import Augmentation, DeviceLoader, Normalisation
from archselect.data.augmentation import cutout_mask
from archselect.distributed.rng import generator_for


def random_images(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), generator=generator_for("images"), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("centre", "covered"), [((16, 16), 256), ((0, 0), 8 * 8), ((31, 31), 9 * 9), ((0, 16), 8 * 16), ((31, 0), 9 * 8)]
)
def test_a_cutout_of_16_covers_16_by_16_pixels_and_is_cut_off_at_the_border(
    centre: tuple[int, int], covered: int
) -> None:
    mask = cutout_mask(torch.tensor([(0, 0, 0, *centre), (0, 0, 0, 16, 16)]), 16, 32, 32)[..., 0]
    assert mask[0].sum() == covered
    assert mask[1].sum() == 256 and mask[1, 8:24, 8:24].all()


def test_normalisation_of_known_pixels() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    normalisation = Normalisation((0.5, 0.1, 0.4), (0.25, 0.5, 0.2))
    ((batch, _),) = DeviceLoader(images, torch.tensor([0]), 1, "cpu", normalisation, ("one",))
    assert batch.flatten().tolist() == pytest.approx([-2.0, 0.2, 3.0])  # (0 - .5) / .25, (.2 - .1) / .5, (1 - .4) / .2


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), Augmentation(2, False), Augmentation(0, True, 3), Augmentation(4, True, 6)]
)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_batches_equal_a_loop_over_images_and_pixels(augmentation: Augmentation, channels: int) -> None:
    count, height, width = 9, 8, 6
    images = random_images(count, channels, height, width)
    normalisation = Normalisation((0.5, 0.4, 0.3, 0.1, 0.2, 0.6)[:channels], (0.2, 0.25, 0.3, 0.1, 0.4, 0.5)[:channels])
    purpose = ("oracle",)
    order = torch.randperm(count, generator=generator_for(*purpose, "order", 3)).tolist()
    draws = augmentation.draw(count, height, width, generator_for(*purpose, "augmentation", 3)).tolist()
    expected = torch.zeros(count, channels, height, width)
    for position, (image, (top, left, flip, centre_row, centre_column)) in enumerate(zip(order, draws, strict=True)):
        for row in range(height):
            for column in range(width):
                source_row = row + top - augmentation.pad
                source_column = (width - 1 - column if flip else column) + left - augmentation.pad
                inside = 0 <= source_row < height and 0 <= source_column < width
                from_row, from_column = row - centre_row, column - centre_column
                half = augmentation.cutout // 2
                for channel in range(channels):
                    pixel = images[image, channel, source_row, source_column].item() / 255 if inside else 0.0
                    value = (pixel - normalisation.mean[channel]) / normalisation.std[channel]
                    cut = all(-half <= offset < augmentation.cutout - half for offset in (from_row, from_column))
                    expected[position, channel, row, column] = 0.0 if cut else value
    batches = DeviceLoader(
        images, torch.zeros(count, dtype=torch.int64), 4, "cpu", normalisation, purpose, augmentation, shuffle=True
    )
    batches.set_epoch(3)
    got = torch.cat([batch for batch, _ in batches])
    assert len(got) == 8  # the ninth would be alone
    torch.testing.assert_close(got, expected[:8])


def test_draws_reach_both_ends_of_their_ranges_and_a_cutout_leaves_crops_and_flips_as_they_were() -> None:
    draws, plain = (Augmentation(cutout=side).draw(5000, 32, 24, generator_for(0)) for side in (16, 0))
    assert draws.min(0).values.tolist() == [0, 0, 0, 0, 0]
    assert draws.max(0).values.tolist() == [8, 8, 1, 31, 23]
    assert draws[:, 2].float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(plain[:, :3], draws[:, :3])


def test_negative_pixels_and_a_cutout_larger_than_the_images_are_refused() -> None:
    for options in ({"pad": -1}, {"cutout": -16}):
        with pytest.raises(ValueError, match=r"must be a whole number, 0 or more; got -1"):
            Augmentation(**options)
    with pytest.raises(ValueError, match="cutout of 16 pixels is larger than the images, 8 x 8"):
        Augmentation(cutout=16).check(8, 8)


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        ([], [1, 1, 1], "a list of numbers in data.mean, one per channel, got"),
        ([0.5], [1, 1, 1], "one number per channel in data.mean and in data.std, got 1 in data.mean and 3 in data.std"),
        ([0.5, "a", 0.5], [1, 1, 1], "a list of numbers in data.mean, one per channel, got"),
        ([0, 0, 0], 0.5, "a list of numbers in data.std, one per channel, got 0.5"),
        ([0, 0, 0], [1, 0, 1], "data.std to lie above 0 and at most at 1, for pixels whose values are between 0 and 1"),
        ([0, 0, 0], [1, float("nan"), 1], "data.std to lie above 0 and at most at 1"),
        ([float("nan"), 0, 0], [1, 1, 1], "data.mean to lie between 0 and 1"),
        ([125.307, 122.961, 113.8575], [1, 1, 1], r"In that unit 0 to 255 is \[0.4914, 0.4822, 0.4465\]"),
        ([0, 0, 0], [62.985, 62.0925, 66.708], r"In that unit 0 to 255 is \[0.247, 0.2435, 0.2616\]"),
    ],
)
def test_channel_statistics_in_another_unit_or_that_are_none_are_refused(mean: Any, std: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Normalisation(mean, std)


def test_statistics_are_measured_over_all_pixels_of_all_images() -> None:
    # Red is 0 and 255 in equal parts: mean 1/2, deviation 1/2. Green is 51 = 1/5 of 255 in three of four pixels and 255
    # in one: mean (3/5 + 1) / 4 = 0.4, variance 3/4 * 0.04 + 1/4 * 0.36 = 0.12. Blue is green mirrored.
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    images[1, 0] = 255
    images[:, 1] = images[:, 2] = 51
    images[:, 1, 0, 0] = images[:, 2, 1, 1] = 255
    measured = Normalisation.measured(Normalisation.pixel_counts(images), None, None)
    assert measured == Normalisation((0.5, 0.4, 0.4), (0.5, 0.3464, 0.3464))
    assert Normalisation.measured(Normalisation.pixel_counts(images), [0.1, 0.2, 0.3], None).mean == (0.1, 0.2, 0.3)
    assert Normalisation.measured(Normalisation.pixel_counts(images), None, [0.1, 0.2, 0.3]) == Normalisation(
        (0.5, 0.4, 0.4), (0.1, 0.2, 0.3)
    )


def test_a_channel_of_one_value_has_no_deviation_to_divide_by() -> None:
    images = torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 2] = 7
    with pytest.raises(ValueError, match=r"one value in a whole channel.*data.std=\[\.\.\.\]"):
        Normalisation.measured(Normalisation.pixel_counts(images), None, None)
    assert Normalisation.measured(Normalisation.pixel_counts(images), None, [1, 1, 1]).std == (1, 1, 1)


def test_nothing_is_mirrored_where_that_is_switched_off() -> None:
    drawn = [Augmentation(0, flip).draw(100, 32, 32, generator_for(0))[:, :3].any() for flip in (False, True)]
    assert drawn == [False, True]
