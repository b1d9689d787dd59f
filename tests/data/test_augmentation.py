import pytest
import torch
from torch import Tensor

from archselect.data import Augmentation, Normalisation, ResidentBatches
from archselect.data.augmentation import crop_and_flip, cutout_mask
from archselect.randomness import generator_for


def random_images(count: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=generator_for("images"), dtype=torch.uint8)


def cropped(images: Tensor, pad: int, top: int, left: int, flip: int) -> Tensor:
    """All images `(N, 3, H, W)` with the same crop."""
    count, _, height, width = images.shape
    padded = Augmentation(pad=pad).padded(images.permute(0, 2, 3, 1)).contiguous()
    draws = torch.tensor([[top, left, flip, 0, 0]]).expand(count, 5)
    return crop_and_flip(padded, torch.arange(count), draws, height, width).permute(0, 3, 1, 2)


def test_the_crop_that_starts_at_the_padding_is_the_image_itself() -> None:
    images = random_images(5, 6, 7)
    assert torch.equal(cropped(images, pad=4, top=4, left=4, flip=0), images)


def test_a_crop_one_pixel_further_moves_the_image_by_one_and_lets_zeros_in() -> None:
    images = random_images(2, 6, 7)
    moved = cropped(images, pad=4, top=5, left=4, flip=0)
    assert torch.equal(moved[:, :, :-1], images[:, :, 1:])
    assert moved[:, :, -1].count_nonzero() == 0
    moved = cropped(images, pad=4, top=4, left=3, flip=0)
    assert torch.equal(moved[..., 1:], images[..., :-1])
    assert moved[..., 0].count_nonzero() == 0


def test_a_flip_mirrors_left_and_right_of_the_crop() -> None:
    images = random_images(2, 6, 7)
    assert torch.equal(cropped(images, pad=4, top=4, left=4, flip=1), images.flip(3))
    assert torch.equal(cropped(images, 2, 0, 3, flip=1), cropped(images, 2, 0, 3, flip=0).flip(3))


def squares(centres: list[tuple[int, int]], side: int) -> Tensor:
    draws = torch.tensor([(0, 0, 0, row, column) for row, column in centres])
    return cutout_mask(draws, side, 32, 32)[..., 0]


def test_a_cutout_of_16_around_the_centre_covers_16_by_16_pixels() -> None:
    mask = squares([(16, 16)], side=16)[0]
    assert mask.sum() == 256
    assert mask[8:24, 8:24].all()


@pytest.mark.parametrize(
    ("centre", "covered"), [((0, 0), 8 * 8), ((31, 31), 9 * 9), ((0, 16), 8 * 16), ((31, 0), 9 * 8)]
)
def test_a_cutout_is_cut_off_at_the_border(centre: tuple[int, int], covered: int) -> None:
    assert squares([centre], side=16).sum() == covered


def test_every_image_has_its_own_cutout() -> None:
    mask = squares([(16, 16), (0, 0)], side=16)
    assert mask.sum((1, 2)).tolist() == [256, 64]


def test_normalisation_of_known_pixels() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    normalisation = Normalisation((0.5, 0.1, 0.4), (0.25, 0.5, 0.2))
    ((batch, _),) = ResidentBatches(images, torch.tensor([0]), 1, "cpu", normalisation, ("one",))
    assert batch.flatten().tolist() == pytest.approx([-2.0, 0.2, 3.0])  # (0 - .5) / .25, (.2 - .1) / .5, (1 - .4) / .2


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), Augmentation(2, False), Augmentation(0, True, 3), Augmentation(4, True, 6)]
)
def test_batches_equal_a_loop_over_images_and_pixels(augmentation: Augmentation) -> None:
    count, height, width = 9, 8, 6
    images, normalisation = random_images(count, height, width), Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    purpose = ("oracle",)
    order = torch.randperm(count, generator=generator_for(*purpose, "order", 3)).tolist()
    draws = augmentation.draw(count, height, width, generator_for(*purpose, "augmentation", 3)).tolist()
    expected = torch.zeros(count, 3, height, width)
    for position, (image, (top, left, flip, centre_row, centre_column)) in enumerate(zip(order, draws, strict=True)):
        for row in range(height):
            for column in range(width):
                source_row = row + top - augmentation.pad
                source_column = (width - 1 - column if flip else column) + left - augmentation.pad
                inside = 0 <= source_row < height and 0 <= source_column < width
                from_row, from_column = row - centre_row, column - centre_column
                half = augmentation.cutout // 2
                for channel in range(3):
                    pixel = images[image, channel, source_row, source_column].item() / 255 if inside else 0.0
                    value = (pixel - normalisation.mean[channel]) / normalisation.std[channel]
                    cut = all(-half <= offset < augmentation.cutout - half for offset in (from_row, from_column))
                    expected[position, channel, row, column] = 0.0 if cut else value
    batches = ResidentBatches(
        images, torch.zeros(count, dtype=torch.int64), 4, "cpu", normalisation, purpose, augmentation, shuffle=True
    )
    batches.set_epoch(3)
    got = torch.cat([batch for batch, _ in batches])
    assert len(got) == 8  # the ninth would be alone
    torch.testing.assert_close(got, expected[:8])


def test_draws_lie_in_their_ranges_and_reach_both_ends() -> None:
    draws = Augmentation(pad=4, flip=True, cutout=16).draw(5000, 32, 24, generator_for(0))
    assert draws.shape == (5000, 5)
    assert draws.min(0).values.tolist() == [0, 0, 0, 0, 0]
    assert draws.max(0).values.tolist() == [8, 8, 1, 31, 23]
    assert draws[:, 2].float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_nothing_is_drawn_for_what_is_switched_off() -> None:
    draws = Augmentation(pad=0, flip=False).draw(100, 32, 32, generator_for(0))
    assert draws[:, :3].count_nonzero() == 0


def test_adding_a_cutout_leaves_crops_and_flips_as_they_were() -> None:
    plain = Augmentation().draw(50, 32, 32, generator_for(0))
    with_cutout = Augmentation(cutout=16).draw(50, 32, 32, generator_for(0))
    assert torch.equal(plain[:, :3], with_cutout[:, :3])


@pytest.mark.parametrize("options", [{"pad": -1}, {"cutout": -16}])
def test_negative_pixels_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="-1"):
        Augmentation(**options)  # type: ignore[arg-type]


def test_a_cutout_larger_than_the_images_is_refused() -> None:
    with pytest.raises(ValueError, match="cutout of 16 pixels is larger than the images, 8 x 8"):
        ResidentBatches(
            random_images(4, 8, 8),
            torch.zeros(4, dtype=torch.int64),
            2,
            "cpu",
            Normalisation((0, 0, 0), (1, 1, 1)),
            ("purpose",),
            Augmentation(cutout=16),
        )


def test_channel_statistics_must_be_three_and_deviations_positive() -> None:
    with pytest.raises(ValueError, match="three numbers in mean"):
        Normalisation.of([0.5], [1, 1, 1])
    with pytest.raises(ValueError, match="positive standard deviations"):
        Normalisation.of([0, 0, 0], [1, 0, 1])
