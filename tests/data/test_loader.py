from collections.abc import Sequence
from unittest import mock

import pytest
import torch
from torch import Tensor

from archselect.data import Augmentation, BilevelBatches, DeviceLoader, Normalisation
from archselect.distributed.process_group import Shard
from archselect.distributed.rng import generator_for

RAW = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves the pixels 0..255


def batches_of(
    count: int, batch_size: int, purpose: tuple[int | str, ...] = ("data",), **options: object
) -> DeviceLoader:
    """Batches of images whose pixels and labels are all the image's number."""
    labels = torch.arange(count)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 4, 4)
    return DeviceLoader(images, labels, batch_size, "cpu", RAW, rng_key=purpose, **options)  # type: ignore[arg-type]


def order(batches: DeviceLoader) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


def images_of(batches: DeviceLoader) -> list[Tensor]:
    return [images for images, _ in batches]


def test_images_stay_with_their_labels() -> None:
    for images, labels in batches_of(20, 6, shuffle=True, augmentation=Augmentation(pad=0)):
        assert torch.equal(images, labels.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).float())


def test_without_shuffling_every_pass_has_the_same_random_order() -> None:
    batches = batches_of(20, 6)
    first = order(batches)
    assert first == torch.randperm(20, generator=generator_for("data", "order")).tolist() != list(range(20))
    batches.set_epoch(3)
    assert order(batches) == first == torch.cat([labels for _, labels in batches.repetition(2)]).tolist()
    assert order(batches_of(20, 7)) == first != order(batches_of(20, 6, ("other",)))


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_of_a_class_meet_as_often_in_a_data_set_sorted_by_class_as_in_any_other(shuffle: bool) -> None:
    """Of 10 x 64 images in batches of 64, 64 * 63 / 2 * 63 / 639 = 199 pairs of a batch are of one class; not 2,016."""
    by_class, pixels = torch.arange(640) // 64, torch.zeros(640, 3, 1, 1, dtype=torch.uint8)
    for labels in (by_class, by_class[torch.randperm(640, generator=generator_for(1))]):
        found = []
        for seed in range(10):
            for _, batch in DeviceLoader(pixels, labels, 64, "cpu", RAW, (seed, "data"), shuffle=shuffle):
                counts = torch.bincount(batch)
                found.append(int((counts * (counts - 1)).sum()) // 2)
        assert sum(found) / len(found) == pytest.approx(199, abs=4)  # the mean of 100; one is off by 13 or so
        assert max(found) < 199 + 5 * 13


def test_an_epoch_is_a_permutation_that_depends_on_purpose_and_number_and_not_on_what_came_before() -> None:
    went_on, resumed, other, smaller = (
        batches_of(20, size, purpose, shuffle=True, augmentation=Augmentation())
        for size, purpose in ((6, (0, "search")), (6, (0, "search")), (6, (1, "search")), (4, (0, "search")))
    )
    orders, first = [], torch.cat(images_of(went_on))
    for epoch in range(4):
        went_on.set_epoch(epoch)
        orders.append(order(went_on))
    assert all(sorted(one) == list(range(20)) for one in orders) and orders[0] != orders[1] != orders[2] != orders[0]
    for batches in (resumed, other, smaller):
        batches.set_epoch(3)
    assert order(went_on) == orders[3] == order(resumed) == order(smaller) != order(other)
    last, again, in_others = (torch.cat(images_of(batches)) for batches in (went_on, resumed, smaller))
    assert torch.equal(last, again) and torch.equal(last, in_others)
    unshuffled = batches_of(20, 20, (0, "search"), augmentation=Augmentation())
    before = images_of(unshuffled)[0]
    unshuffled.set_epoch(1)
    assert not torch.equal(images_of(unshuffled)[0], before) and not torch.equal(last, first)


def test_the_epoch_counts_that_is_set_before_the_first_batch_is_asked_for() -> None:
    batches = batches_of(20, 20, shuffle=True)
    pairs = BilevelBatches(batches, batches_of(20, 20, ("other",), shuffle=True))
    iterator = iter(pairs)
    pairs.set_epoch(5)
    (_, weight_labels), (_, architecture_labels) = next(iterator)
    assert weight_labels.tolist() == torch.randperm(20, generator=generator_for("data", "order", 5)).tolist()
    assert architecture_labels.tolist() == torch.randperm(20, generator=generator_for("other", "order", 5)).tolist()


@pytest.mark.parametrize(
    ("count", "size", "sizes", "shuffled"),
    [
        (12, 6, [6, 6], [6, 6]),
        (14, 6, [6, 6, 2], [6, 6, 2]),
        (13, 6, [6, 6, 1], [6, 6]),
        (6, 6, [6], [6]),
        (3, 1, [1, 1, 1], [1, 1, 1]),
    ],
)
def test_sizes_of_the_batches(count: int, size: int, sizes: list[int], shuffled: list[int]) -> None:
    for shuffle, expected in ((False, sizes), (True, shuffled)):
        batches = batches_of(count, size, shuffle=shuffle)
        assert [len(labels) for _, labels in batches] == expected
        assert len(batches) == len(expected)


def test_the_single_image_that_is_left_out_while_shuffling_is_another_one_each_epoch() -> None:
    batches, left_out = batches_of(13, 6, shuffle=True), set()
    for epoch in range(5):
        batches.set_epoch(epoch)
        left_out |= set(range(13)) - set(order(batches))
    assert len(left_out) > 1


@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(cutout=2)])
def test_images_are_channels_last_in_the_asked_type_and_what_was_given_stays(augmentation: Augmentation | None) -> None:
    given = torch.randint(1, 256, (8, 3, 4, 4), dtype=torch.uint8)
    before = given.clone()
    for dtype in (torch.float32, torch.bfloat16):
        for images, labels in DeviceLoader(
            given, torch.arange(8), 4, "cpu", RAW, ("data",), augmentation=augmentation, dtype=dtype
        ):
            assert (images.shape, images.dtype, labels.dtype) == ((4, 3, 4, 4), dtype, torch.int64)
            assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given, before)


@pytest.mark.parametrize("batch_size", [0, 65])
def test_a_batch_size_that_does_not_fit_the_split_is_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch size is {batch_size}, but the split has 64 images"):
        batches_of(64, batch_size)


def test_bilevel_epochs_are_as_long_as_the_weight_batches() -> None:
    for weights, architecture in ((24, 8), (8, 24)):
        pairs = BilevelBatches(batches_of(weights, 4), batches_of(architecture, 4))
        assert len(pairs) == len(list(pairs)) == weights // 4
        assert sorted(torch.cat([labels for (_, labels), _ in pairs]).tolist()) == list(range(weights))


def test_architecture_batches_start_again_in_another_order() -> None:
    pairs = BilevelBatches(batches_of(60, 10, ("w",), shuffle=True), batches_of(20, 10, ("a",), shuffle=True))
    labels = torch.cat([labels for _, (_, labels) in pairs]).tolist()
    rounds = [labels[:20], labels[20:40], labels[40:]]
    assert all(sorted(one) == list(range(20)) for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]
    assert labels == torch.cat([labels for _, (_, labels) in pairs]).tolist()


def test_weight_and_architecture_batches_in_the_same_order_are_refused() -> None:
    with pytest.raises(ValueError, match="Give each a purpose of its own"):
        BilevelBatches(batches_of(20, 10, shuffle=True), batches_of(20, 10, shuffle=True))


def parts_of(batches: DeviceLoader, processes: int) -> list[Sequence[tuple[Tensor, Tensor]]]:
    """Return what each of several processes reads of the batches, and check that it is as much as it says."""
    parts = []
    for rank in range(processes):
        with mock.patch("archselect.data.loader.shard", return_value=Shard(rank, processes)):
            parts.append(list(batches))
            assert len(parts[-1]) == len(batches)
    return parts


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_parts_of_several_processes_make_the_batches_of_one(processes: int, shuffle: bool) -> None:
    whole = batches_of(17, 6, shuffle=shuffle, augmentation=Augmentation(pad=1))
    for batch, parts in zip(whole, zip(*parts_of(whole, processes), strict=True), strict=True):
        sizes = [len(labels) for _, labels in parts]
        assert max(sizes) - min(sizes) <= 1
        for one, several in zip(batch, zip(*parts, strict=True), strict=True):
            assert torch.equal(one, torch.cat(several))


def test_a_batch_of_which_a_process_has_nothing_is_left_out_of_it() -> None:
    whole = batches_of(5, 4)
    first, second = ([labels.tolist() for _, labels in parts] for parts in parts_of(whole, 2))
    expected = order(whole)
    assert first == [expected[:2]]
    assert second == [expected[2:4], expected[4:]]
