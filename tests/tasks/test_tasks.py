"""Losses, measures and metrics of the tasks: numbers worked out by hand, and scikit-learn's."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score, r2_score
from torch import Tensor

from archselect.data import ImageData
from archselect.tasks import Classification, Multilabel, Regression, Task

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])


def data(labels: Tensor, classes: int, name: str = "own") -> Any:
    made = SimpleNamespace(train=SimpleNamespace(labels=labels), classes=classes, name=name)
    made.class_names = tuple("abcdefgh"[:classes])
    made.count_classes = lambda of: ImageData.count_classes(made, of)
    return made


def test_balanced_classes_weigh_one_on_average_over_the_images() -> None:
    task = Classification(class_weights="balanced").fitted(data(torch.tensor([0, 0, 0, 1]), 2))
    assert task.class_weights == pytest.approx((4 / 6, 4 / 2))
    labels = torch.tensor([0, 1])
    plain, weighted = Classification().losses(LOGITS, labels), task.losses(LOGITS, labels)
    assert weighted.tolist() == pytest.approx([float(plain[0]) * 2 / 3, float(plain[1]) * 2])
    assert float(task.loss(LOGITS, labels)) == pytest.approx(float(weighted.sum()) / 2)  # not over their weights


def test_the_loss_of_classification_is_the_mean_or_sum_of_its_losses() -> None:
    task, labels = Classification().smoothed(0.1), torch.tensor([0, 0])
    losses = task.losses(LOGITS, labels)
    assert float(task.loss(LOGITS, labels)) == pytest.approx(float(losses.mean()))
    assert float(task.loss(LOGITS, labels, "sum")) == pytest.approx(float(losses.sum()))
    assert task.losses(LOGITS, labels)[0] > Classification().losses(LOGITS, labels)[0]
    assert task.measures(LOGITS, labels).tolist() == [1.0, 0.0]


def test_a_subclass_with_losses_of_its_own_trains_on_their_mean() -> None:
    class Doubled(Classification):
        def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return 2 * super().losses(outputs, targets)

    labels = torch.tensor([0, 0])
    assert float(Doubled().loss(LOGITS, labels)) == pytest.approx(2 * float(Classification().loss(LOGITS, labels)))


def test_labels_are_lost_and_measured_one_by_one() -> None:
    outputs = torch.tensor([[0.0, 0.0, 0.0], [4.0, -4.0, 4.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    task = Multilabel()
    wrong, right = 4.018150, 0.018150  # log(1 + e^4), log(1 + e^-4)
    assert task.losses(outputs, targets).tolist() == pytest.approx([0.693147, (2 * right + wrong) / 3], abs=1e-5)
    assert task.measures(outputs, targets).tolist() == pytest.approx([2 / 3, 2 / 3])  # a half is taken for a yes
    assert replace(task, threshold=0.99).measures(outputs, targets).tolist() == pytest.approx([1 / 3, 2 / 3])
    fitted = Multilabel(positive_weights="balanced").fitted(data(torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]), 3))
    assert fitted.positive_weights == (2.0, 1.0, 0.5)  # no image has the second
    assert float(fitted.losses(outputs, targets)[0]) == pytest.approx(0.693147 * (2 + 1 + 0.5) / 3, abs=1e-5)


def test_the_mean_average_precision_is_scikit_learns_over_the_labels_that_there_are() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(40, 3, generator=generator), torch.rand(40, 3, generator=generator) < 0.4
    targets[:, 2] = False
    metrics = Multilabel().metrics(3)
    for metric in metrics.values():
        for one, other in zip(outputs.split(16), targets.float().split(16), strict=True):
            metric.update(one, other)
    expected = [average_precision_score(targets[:, label], outputs[:, label]) for label in range(2)]
    found = metrics["average_precision_per_label"].compute()
    assert found[:2].tolist() == pytest.approx(expected, abs=1e-6)
    assert found[2].isnan()
    assert float(metrics["mean_average_precision"].compute()) == pytest.approx(sum(expected) / 2, abs=1e-6)


TARGETS = torch.tensor([[10.0, 2000.0], [30.0, 2010.0]])  # means 20, 2005; standard deviations 10, 5


@pytest.mark.parametrize(
    ("error", "losses"),
    [("squared", [(1 + 9) / 2, 0.0]), ("absolute", [(1 + 3) / 2, 0.0]), ("huber", [(0.5 + 2.5) / 2, 0.0])],
)
def test_errors_are_those_of_standardised_targets_and_the_metric_has_the_users_unit(
    error: Any, losses: list[float]
) -> None:
    task = Regression(error=error).fitted(data(TARGETS, 2))
    assert (task.mean, task.std) == ((20.0, 2005.0), (10.0, 5.0))
    outputs = torch.tensor([[0.0, 2.0], [1.0, 1.0]])  # 20 and 2015, 30 and 2010
    assert task.losses(outputs, TARGETS).tolist() == pytest.approx(losses)
    assert task.predictions(outputs).tolist() == [[20.0, 2015.0], [30.0, 2010.0]]
    assert task.measures(outputs, TARGETS).tolist() == [(10 + 15) / 2, 0.0]
    assert task.describe(data(TARGETS, 2), TARGETS, "train") == {
        "target_mean": [20.0, 2005.0],
        "target_std": [10.0, 5.0],
    }


def test_r2_is_scikit_learns_however_far_targets_are_from_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(50, 2, generator=generator) + torch.tensor([1e5, 0.0])
    task = Regression().fitted(data(targets, 2))
    outputs = task.standardised(targets) + 0.5 * torch.randn(50, 2, generator=generator)
    metric = task.metrics(2)["r2"]
    for one, other in zip(outputs.split(16), targets.split(16), strict=True):
        metric.update(one, other)
    assert float(metric.compute()) == pytest.approx(r2_score(targets, task.predictions(outputs)), abs=1e-3)


CLASSES, NUMBERS = torch.tensor([0, 1, 1]), torch.tensor([[0.0, 1.0], [0.5, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("task", "labels", "told"),
    [
        (
            Regression(),
            CLASSES,
            r"task=regression expects numbers .* data=own has a class per image \(a, b\)\.",
        ),
        (Multilabel(), CLASSES, r"task=multilabel expects numbers .* or use task=classification"),
        (Multilabel(), NUMBERS, r"0 or 1 for each label, but number 1 \(from 0\) of the train images .* 0\.5 for 'a'"),
        (Classification(), NUMBERS, r"expects a class per image, but the train images .* numbers as targets \(a, b\)"),
        (
            Classification(class_weights=[1.0]),
            CLASSES,
            r"task\.class_weights has 1 .* has 2 classes \(a, b\)",
        ),
        (Multilabel(positive_weights=[1.0]), NUMBERS.round(), r"task\.positive_weights has 1 .* has 2 labels \(a, b\)"),
        (Regression(mean=[1.0]), NUMBERS, r"task\.mean has 1 numbers, but data=own has 2 targets"),
        (Regression(), torch.ones(3, 2), r"All training images of data=own have the same 'a'"),
        (Classification(), CLASSES * 0, r"are of one class, 'a'"),
    ],
)
def test_data_that_do_not_fit_a_task_are_refused_in_a_sentence(task: Task, labels: Tensor, told: str) -> None:
    own = data(labels, 2)

    def check() -> None:
        task.check_targets(own, labels, "train")
        task.check(own)

    with pytest.raises(ValueError, match=told):
        check()


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (
            Classification,
            {"class_weights": "balance"},
            r"task\.class_weights must be balanced, null or a list .*; got 'balance'",
        ),
        (Classification, {"class_weights": [1.0, 0.0]}, r"numbers above 0; got \[1\.0, 0\.0\]"),
        (Regression, {"mean": "abc"}, r"task\.mean must be null or a list .* a finite number; got 'abc'"),
        (Regression, {"mean": [float("nan")]}, r"task\.mean must .*; got \[nan\]"),
        (Regression, {"std": [1.0, 0.0]}, r"task\.std must .* a finite number above 0; got \[1\.0, 0\.0\]"),
        (Regression, {"std": ["a"]}, r"task\.std must .*; got \['a'\]"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(kind: type[Task], options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        kind(**options)


def test_only_classes_have_labels_to_smooth() -> None:
    assert Regression().smoothed(0.0) == Regression()
    with pytest.raises(ValueError, match=r"evaluation\.label_smoothing=0\.1 .* task=regression has no classes"):
        Regression().smoothed(0.1)


def test_labels_are_smoothed_by_one_number() -> None:
    task = Classification(label_smoothing=0.1)
    assert task.smoothed(0.0) == task.smoothed(0.1) == Classification().smoothed(0.1) == task
    with pytest.raises(
        ValueError, match=r"task\.label_smoothing=0\.1 and evaluation\.label_smoothing=0\.2 both smooth"
    ):
        task.smoothed(0.2)


def test_of_one_image_no_variance_is_explained() -> None:
    metric = Regression(mean=(0.0,), std=(1.0,)).metrics(1)["r2"]
    metric.update(torch.ones(1, 1), torch.zeros(1, 1))
    assert metric.compute().isnan()
    metric.update(torch.ones(1, 1), torch.ones(1, 1))
    assert float(metric.compute()) == -1.0  # 1 - 1 / 0.5
