"""Two processes that share every batch compute what one process computes; in float64, to rounding that tells."""

import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.ranks.two_processes import in_two
from tests.search import small_search
from torch import Tensor, nn

from archselect import ranks
from archselect.data import Augmentation, BilevelBatches, ResidentBatches
from archselect.evaluation import RetrainModule
from archselect.metrics import ClassAccuracy
from archselect.networks.relaxation import Dirichlet, GumbelSoftmax
from archselect.operations.batch_norm import BatchNorm2d
from archselect.quiet import quiet_lightning
from archselect.search import SearchModule
from archselect.search.architecture_gradient import Unrolled
from archselect.search.freezing import GradientMatching
from archselect.search.smoothing import AdversarialSmoothing, RandomSmoothing
from archselect.search.stopping import Curvature
from archselect.selection import Race, Scorer, Scoring
from archselect.selection.scoring import Racing

METHODS: Mapping[str, Mapping[str, Any]] = {
    "first order": {},
    "an adversarial perturbation": {"smoothing": AdversarialSmoothing(steps=1)},
    "one drawn operation": {"relaxation": GumbelSoftmax(hard=True, first=10.0, last=0.1)},
}
MORE_METHODS: Mapping[str, Mapping[str, Any]] = {
    "second order": {"architecture_gradient": Unrolled()},
    "a random perturbation": {"smoothing": RandomSmoothing()},
    "a drawn mixture": {"relaxation": Dirichlet()},
    "frozen operations": {"freezing": GradientMatching(interval=1, threshold=0.2)},
    "curvature": {"stopping": {"curvature": Curvature(window=1, lag=1, every=1, batch_size=5)}},
    "recomputed cells": {"recompute": True},
}

NO_PATH = {1: 0, 2: 0}
"""Both edges into the last node give nothing but zeros, so no loss depends on `alpha`."""

EXACT = {"rtol": 1e-7, "atol": 1e-9}


def batches(count: int, size: int, purpose: tuple[int | str, ...] = ()) -> ResidentBatches:
    """In float64, augmented if for a purpose, and of several processes each one's share."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(small_search.CLASSES, (count,), generator=generator)
    augmentation = Augmentation(pad=1, flip=True) if purpose else None
    return ResidentBatches(
        images,
        labels,
        size,
        "cpu",
        small_search.PLAIN,
        purpose or (0, "fixed"),
        augmentation,
        shuffle=bool(purpose),
        dtype=torch.float64,
        share=ranks.share(),
    )


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if isinstance(value, Tensor)}


def searched(
    changes: Mapping[str, Any], decided: Mapping[int, int] | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return supernet and metrics after two epochs; batches of 5 and 3 images are not equally spread."""
    quiet_lightning()
    first = "none" if decided else "skip_connect"
    supernet = small_search.cell_supernet(first, "nor_conv_3x3", "avg_pool_3x3").double()
    small_search.decide(supernet, "cell", decided or {})
    method = small_search.method(epochs=2, batch_size=5, **changes)
    module = SearchModule(supernet, method, small_search.CLASSES, (0, "search"))
    train = BilevelBatches(batches(8, 5, (0, "weights")), batches(7, 5, (0, "architecture")))
    trainer = small_search.trainer(2)
    trainer.fit(module, train, batches(7, 4))
    ranks.check_alike(module, "at the end")
    return state(supernet), {name: float(value) for name, value in trainer.callback_metrics.items()}


def retrained() -> tuple[dict[str, Tensor], dict[str, float]]:
    from tests.evaluation.test_retrain_module import network, protocol

    quiet_lightning()
    module = RetrainModule(network().double(), protocol(batch_size=5), small_search.CLASSES, 0)
    trainer = small_search.trainer(2)
    trainer.fit(module, batches(8, 5, (0, "train")), batches(7, 4))
    fitted = {name: float(value) for name, value in trainer.callback_metrics.items()}
    (tested,) = trainer.test(module, batches(7, 4), verbose=False)
    return state(module.network), fitted | tested


def scored(scoring: Scoring) -> list[Any]:
    """Return what a round of candidates of a noisy supernet comes to, and what it did on each batch."""
    supernet = small_search.cell_supernet("noise", "nor_conv_3x3", "avg_pool_3x3")
    own = supernet.mixture_weights().detach()
    candidates = [own.masked("cell", 0, operation) for operation in range(3)] + [own]
    whole = small_search.resident(23, 2)
    scorer = Scorer(supernet, whole, scoring, whole, (0, "selection"))
    scores = scorer(candidates, Race("loss", "harmed", 3))
    return [(score, score.per_batch) for score in scores]


SCORINGS = {
    "statistics of the batch": Scoring(),
    "gathered anew": Scoring(batch_norm="recalibrated", recalibration_batches=3),
    "a race": Racing(first_check=3, confidence=0.6),
}


def normalised() -> dict[str, Tensor]:
    """Return output, statistics, gradients and a second derivative of a normalisation of 5 images."""
    generator = torch.Generator().manual_seed(0)
    x, direction = 3 + torch.randn(2, 5, 4, 2, 2, generator=generator, dtype=torch.float64)
    x, direction = (value[ranks.share().part(5)] for value in (x, direction))
    x.requires_grad_()
    norm = BatchNorm2d(4).double()
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    out = norm(x)
    in_x, in_weight = torch.autograd.grad((out * direction).sum(), [x, norm.weight], create_graph=True)
    (second,) = torch.autograd.grad(in_x.square().sum(), [x])
    average = BatchNorm2d(4, momentum=None).double()
    with torch.no_grad():
        for factor in (1, 2, 3):
            average(factor * x)
        return {
            "output": out.detach(),
            "in the input": in_x.detach(),
            "of the second order": second,
            "in the scale": ranks.total(in_weight.detach()),
            "mean": norm.running_mean.clone(),
            "variance": norm.running_var.clone(),
            "cumulative mean": average.running_mean.clone(),
            "cumulative variance": average.running_var.clone(),
            "batches": average.num_batches_tracked.reshape(1),
        }


def per_class() -> Tensor:
    """Return the accuracy of each class over 31 images, of which each process counts its part."""
    generator = torch.Generator().manual_seed(1)
    labels, predictions = torch.randint(4, (2, 31), generator=generator)
    own = ranks.share().part(31)
    metric = ClassAccuracy(4)
    metric.update(nn.functional.one_hot(predictions[own], 4).float(), labels[own])
    return metric.compute()


def disagreement() -> str:
    norm = BatchNorm2d(2)
    ranks.check_alike(norm, "before")
    norm.running_var[1] += ranks.rank() * 1e-7
    try:
        ranks.check_alike(norm, "after epoch 3")
    except ranks.RanksDifferError as error:
        return str(error)
    return "alike"


def everything() -> dict[str, Any]:
    warnings.simplefilter("ignore")
    return {
        **{name: searched(changes) for name, changes in METHODS.items()},
        **{name: scored(scoring) for name, scoring in SCORINGS.items()},
        "no path": searched({}, decided=NO_PATH),
        "retraining": retrained(),
        "normalisation": normalised(),
        "per class": per_class(),
        "disagreement": disagreement(),
    }


def plainly_searched() -> tuple[dict[str, Tensor], dict[str, float]]:
    warnings.simplefilter("ignore")
    return searched({})


def more() -> dict[str, Any]:
    warnings.simplefilter("ignore")
    return {name: searched(changes) for name, changes in MORE_METHODS.items()}


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    """What each of two processes came to."""
    return in_two(everything)


@pytest.fixture(scope="module")
def two_more() -> list[dict[str, Any]]:
    return in_two(more)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_METHODS)
def test_a_search_with_more(name: str, two_more: list[dict[str, Any]]) -> None:
    assert_same(searched(MORE_METHODS[name]), *(process[name] for process in two_more))


@pytest.mark.parametrize("name", METHODS)
def test_a_search_with(name: str, two: list[dict[str, Any]]) -> None:
    assert_same(searched(METHODS[name]), *(process[name] for process in two))


def test_a_search_whose_loss_depends_on_no_alpha(two: list[dict[str, Any]]) -> None:
    assert_same(searched({}, decided=NO_PATH), *(process["no path"] for process in two))


@pytest.mark.slow
def test_processes_that_normalise_by_themselves_hold_the_same_but_not_what_one_holds() -> None:
    first, second = in_two(plainly_searched, synchronised=False)
    assert_same(first, second)
    alone, _ = searched({})
    assert not torch.allclose(first[0]["stem.1.running_var"], alone["stem.1.running_var"], rtol=1e-6)


def test_a_retraining(two: list[dict[str, Any]]) -> None:
    assert_same(retrained(), *(process["retraining"] for process in two))


@pytest.mark.parametrize("name", SCORINGS)
def test_scores_are_those_of_one_process_to_the_last_bit(name: str, two: list[dict[str, Any]]) -> None:
    alone = scored(SCORINGS[name])
    assert len({score.loss for score, _ in alone}) > 1
    assert any(score.beaten_after for score, _ in alone) == (name == "a race")
    assert [process[name] for process in two] == [alone, alone]


def test_a_normalisation_and_its_derivatives(two: list[dict[str, Any]]) -> None:
    for name, value in normalised().items():
        first, second = (process["normalisation"][name] for process in two)
        found = torch.cat([first, second]) if len(value) == 5 else first
        torch.testing.assert_close(found, value, **EXACT)


def test_the_accuracy_of_each_class_to_the_last_bit(two: list[dict[str, Any]]) -> None:
    expected = per_class()
    assert not expected.isnan().any() and len(set(expected.tolist())) > 1
    assert all(torch.equal(process["per class"], expected) for process in two)


def test_a_difference_between_processes_is_an_error(two: list[dict[str, Any]]) -> None:
    for process in two:
        assert "hold different numbers after epoch 3, first in running_var (1 of 5" in process["disagreement"]


def assert_same(alone: Any, *processes: Any) -> None:
    for weights, metrics in processes:
        torch.testing.assert_close(weights, alone[0], **EXACT)
        assert metrics == pytest.approx(alone[1], rel=1e-6)
