from collections.abc import Callable

import pytest
import torch

from archselect.data import stratified_split, stratified_subset
from archselect.distributed.rng import generator_for

LABELS = torch.tensor([0] * 40 + [1] * 20 + [2] * 10)[torch.randperm(70, generator=generator_for("mix"))]


def test_each_class_is_split_in_exactly_the_asked_proportion_and_every_image_is_in_one_part() -> None:
    first, second = stratified_split(LABELS, 0.7, generator_for(0))
    assert LABELS[first].bincount().tolist() == [28, 14, 7]
    assert LABELS[second].bincount().tolist() == [12, 6, 3]
    assert torch.cat([first, second]).sort().values.tolist() == list(range(70))
    assert first.tolist() == sorted(first.tolist())
    assert second.tolist() == sorted(second.tolist())


def test_remainders_go_to_the_classes_with_the_largest() -> None:
    labels = torch.tensor([0] * 3 + [1] * 5 + [2] * 4)  # 0.4 of them: 1.2 + 2.0 + 1.6, together round(4.8) = 5
    first, _ = stratified_split(labels, 0.4, generator_for(0))
    assert labels[first].bincount().tolist() == [1, 2, 2]


def test_odd_classes_still_give_halves_of_the_whole_that_depend_on_the_generator_alone() -> None:
    labels = torch.arange(10).repeat_interleave(3)
    (first, second), (again, _), (other, _) = (stratified_split(labels, 0.5, generator_for(n)) for n in (0, 0, 1))
    assert len(first) == len(second) == 15
    assert set(labels[first].bincount(minlength=10).tolist()) == {1, 2}
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("size", "counts"), [(14, [8, 4, 2]), (3, [1, 1, 1]), (70, [40, 20, 10])], ids=["share", "smallest", "all"]
)
def test_a_subset_keeps_the_share_of_every_class_and_one_image_at_least(size: int, counts: list[int]) -> None:
    subset = stratified_subset(LABELS, size, generator_for(0))
    assert LABELS[subset].bincount().tolist() == counts
    assert subset.tolist() == sorted(set(subset.tolist()))
    rare = torch.tensor([0] * 97 + [1] * 2 + [2])
    assert rare[stratified_subset(rare, 10, generator_for(0))].bincount().tolist() == [8, 1, 1]


@pytest.mark.parametrize(
    ("cut", "size", "told"),
    [
        *((stratified_split, share, "first part to lie between 0 and 1") for share in (0.0, 1.0, -0.5, 1.5)),
        *((stratified_split, share, "70 images .* leaves one part empty") for share in (0.001, 0.999)),
        (stratified_subset, 71, "subset of 71 images cannot be drawn from 70"),
        (stratified_subset, 2, "subset of 2 images cannot hold all 3 classes"),
    ],
)
def test_a_part_that_cannot_be_is_refused(cut: Callable[..., object], size: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cut(LABELS, size, generator_for(0))
