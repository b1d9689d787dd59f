"""Accuracy class by class: numbers worked out by hand, and scikit-learn's."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from archselect.tasks.classification import AccuracyPerClass, BalancedAccuracy
from archselect.training.metrics import listed


def counted(labels: Tensor, predictions: Tensor, metric: AccuracyPerClass) -> Tensor:
    """Return what a metric is after batches of 7."""
    for own, predicted in zip(labels.split(7), predictions.split(7), strict=True):
        metric.update(torch.nn.functional.one_hot(predicted, len(metric.images)).float(), own)
    value: Tensor = metric.compute()
    return value


def test_of_200_40_and_8_images_all_taken_for_the_first_class_a_third_is_balanced() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([200, 40, 8]))
    assert listed(counted(labels, torch.zeros_like(labels), AccuracyPerClass(3))) == [1.0, 0.0, 0.0]
    assert counted(labels, torch.zeros_like(labels), BalancedAccuracy(3)) == pytest.approx(1 / 3)


def test_the_balanced_accuracy_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, predictions = torch.randint(5, (2, 100), generator=generator)
    predictions = torch.where(torch.rand(100, generator=generator) < 0.5, labels, predictions)
    expected = balanced_accuracy_score(labels, predictions)
    assert counted(labels, predictions, BalancedAccuracy(5)) == pytest.approx(expected, abs=1e-6)


def test_a_class_without_images_counts_for_nothing_even_if_others_are_taken_for_it() -> None:
    labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1])
    assert listed(counted(labels, predictions, AccuracyPerClass(3))) == [0.5, 1.0, None]
    assert counted(labels, predictions, BalancedAccuracy(3)) == 0.75
    assert MulticlassAccuracy(3, average="macro")(predictions, labels) == 0.5  # why it is not taken
