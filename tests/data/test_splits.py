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


def test_odd_classes_still_give_halves_of_the_whole() -> None:
    labels = torch.arange(10).repeat_interleave(3)
    first, second = stratified_split(labels, 0.5, generator_for(0))
    assert len(first) == len(second) == 15
    assert set(labels[first].bincount(minlength=10).tolist()) == {1, 2}


def test_a_split_depends_on_its_generator_alone() -> None:
    first, _ = stratified_split(LABELS, 0.5, generator_for(0))
    again, _ = stratified_split(LABELS, 0.5, generator_for(0))
    other, _ = stratified_split(LABELS, 0.5, generator_for(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5])
def test_a_share_outside_of_zero_to_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of the first part to lie between 0 and 1"):
        stratified_split(LABELS, share, generator_for(0))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_an_empty_part_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"70 images .* leaves one part empty"):
        stratified_split(LABELS, share, generator_for(0))


def test_a_subset_keeps_the_share_of_every_class() -> None:
    subset = stratified_subset(LABELS, 14, generator_for(0))
    assert LABELS[subset].bincount().tolist() == [8, 4, 2]
    assert subset.tolist() == sorted(set(subset.tolist()))


def test_a_rare_class_keeps_one_image_in_a_subset() -> None:
    labels = torch.tensor([0] * 97 + [1] * 2 + [2])
    subset = stratified_subset(labels, 10, generator_for(0))
    assert labels[subset].bincount().tolist() == [8, 1, 1]


def test_the_smallest_subset_has_one_image_of_each_class_and_the_largest_is_the_set() -> None:
    assert LABELS[stratified_subset(LABELS, 3, generator_for(0))].sort().values.tolist() == [0, 1, 2]
    assert stratified_subset(LABELS, 70, generator_for(0)).tolist() == list(range(70))


@pytest.mark.parametrize(
    ("size", "told"),
    [(71, "subset of 71 images cannot be drawn from 70"), (2, "subset of 2 images cannot hold all 3 classes")],
)
def test_a_subset_larger_than_the_set_or_smaller_than_its_number_of_classes_is_refused(size: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stratified_subset(LABELS, size, generator_for(0))
