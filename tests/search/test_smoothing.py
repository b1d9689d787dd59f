from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.search.small_search import (
    CLASSES,
    adversarial,
    assert_same,
    bilevel,
    cell_supernet,
    method,
    module,
    partly_decided,
    random_smoothing,
    trainer,
)
from torch import Tensor

from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.search import AdversarialSmoothing
from archselect.search.smoothing import Smoothing

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3")


def loss_on(supernet: Supernet, images: Tensor, labels: Tensor) -> Any:
    return lambda weights: F.cross_entropy(supernet(images, weights), labels)


def a_batch(seed: int, count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return torch.randn(count, 3, 8, 8, generator=generator), labels


def smoothed(smoothing: Smoothing, supernet: Supernet, batch: int = 0) -> tuple[MixtureWeights, MixtureWeights]:
    """Return the mixture before and after."""
    torch.manual_seed(batch)
    before = supernet.mixture_weights().detach()
    with frozen_bn_stats(supernet):
        return before, smoothing(before, supernet.mixed, loss_on(supernet, *a_batch(batch)))


def moved(smoothing: Smoothing, row: list[float], loss: Callable[[Tensor], Tensor] = torch.sum) -> list[float]:
    """Return what becomes of the weights of an edge, for a loss of these."""
    weights = MixtureWeights({"cell": torch.tensor([row])}, {"cell": ((True,) * len(row),)})
    return smoothing(weights, {"cell": torch.ones(1, len(row))}, lambda moved: loss(moved["cell"]))["cell"][0].tolist()


SMOOTHINGS = [random_smoothing(first=0.2, last=0.2), adversarial(first=0.2, last=0.2)]
both = pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=["random", "adversarial"])


# What is moved, and how far


@both
def test_weights_stay_between_0_and_1_edges_keep_their_sums_and_decided_and_dropped_ones_their_weights(
    smoothing: Smoothing,
) -> None:
    supernet = partly_decided(*OPERATIONS)
    for batch in range(2 if isinstance(smoothing, AdversarialSmoothing) else 20):
        before, after = smoothed(smoothing, supernet, batch)
        for cell, weights in after.items():
            assert not weights.requires_grad
            assert weights.min() >= 0
            assert weights.max() <= 1 + 1e-6
            torch.testing.assert_close(weights.sum(dim=1), before[cell].sum(dim=1))
    same = {cell: (after[cell] == before[cell]).all(dim=1).tolist() for cell in after}
    assert same == {"normal": [True, False, False, True, False], "reduction": [False] * 5}
    assert after.active == before.active


def test_before_the_edges_are_scaled_the_noise_is_in_the_ball() -> None:
    """Scaled weights are the clamped ones times one factor per edge, so the factor must leave all of them in."""
    for batch in range(20):
        before, after = smoothed(random_smoothing(first=0.1, last=0.1), cell_supernet(), batch)
        for was, now in zip(before["cell"], after["cell"], strict=True):
            # now * factor in [was - 0.1, was + 0.1], except that it may be clamped to 0 from below
            least = ((was - 0.1).clamp_min(0) / now.clamp_min(1e-12)).max()
            most = ((was + 0.1).clamp_max(1) / now.clamp_min(1e-12)).min()
            assert least <= most + 1e-5


def draws(noise: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be drawn as noise."""
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda drawn, *bounds: drawn.copy_(torch.tensor(noise)))


@pytest.mark.parametrize(
    ("row", "noise", "expected"),
    [
        ([0.5, 0.48, 0.02], -0.03, [0.47 / 0.92, 0.45 / 0.92, 0]),
        ([0.5, 0.48, 0.02], 0.01, [0.51 / 1.03, 0.49 / 1.03, 0.03 / 1.03]),
        ([0.5, 0.5, 0.0], 0.3, [0.5, 0.5, 0.0]),
        ([0.125] * 8, -0.3, [0.125] * 8),
    ],
    ids=["clamped", "scaled", "an operation without weight stays out", "no weight would be left"],
)
def test_the_same_noise_on_all_weights_of_an_edge_moves_them_together(
    row: list[float], noise: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    draws(noise, monkeypatch)
    assert moved(random_smoothing(), row) == pytest.approx(expected)


# The attack


def test_the_attack_never_lowers_the_loss_and_mostly_raises_it_further_than_noise_of_the_same_size() -> None:
    supernet, rises = cell_supernet(), []
    for batch in range(8):
        before, worst = smoothed(adversarial(first=0.2, last=0.2), supernet, batch)
        _, noisy = smoothed(random_smoothing(first=0.2, last=0.2), supernet, batch)
        loss = loss_on(supernet, *a_batch(batch))
        with torch.no_grad():
            rises.append((float(loss(worst) - loss(before)), float(loss(worst) - loss(noisy))))
    assert min(rise for rise, _ in rises) >= 0
    assert sum(rise > 0 for rise, _ in rises) >= 6
    assert sum(more > 0 for _, more in rises) >= 6


def test_on_a_linear_loss_the_attack_ends_at_the_border_of_the_ball_and_at_a_maximum_it_moves_nothing() -> None:
    slope = torch.tensor([1.0, -1.0, 1.0, -1.0])
    attack = adversarial(first=0.1, last=0.1)
    found = moved(attack, [0.25] * 4, lambda row: (slope * row).sum())
    assert found == pytest.approx([0.35, 0.15, 0.35, 0.15], abs=1e-6)
    assert moved(attack, [0.25] * 4, lambda row: -(row - 0.25).square().sum()) == [0.25] * 4


@pytest.mark.parametrize(("revive", "expected"), [(True, 0.15 / 1.1), (False, 0.0)])
def test_an_operation_that_fell_to_weight_0_comes_back_or_stays_there(
    revive: bool, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random start takes its weight from the third operation; the step would give it 0.15, the edge sums to 1.1."""
    draws([[0.0, 0.0, -0.1]], monkeypatch)
    slope = torch.tensor([9.0, -0.5, 1.0])
    attack = adversarial(first=0.1, last=0.1, steps=1, revive=revive)
    found = moved(attack, [0.5, 0.45, 0.05], lambda row: (slope * row).sum())
    assert found[0] > 0.5
    assert found[2] == pytest.approx(expected)


@both
def test_running_statistics_are_moved_by_the_step_alone(smoothing: Smoothing) -> None:
    images, labels = a_batch(0)
    smooth, plain = cell_supernet(), cell_supernet()
    torch.manual_seed(0)
    mixture = module(smooth, smoothing=smoothing).weights_of_a_step(images, labels)
    assert not torch.equal(mixture["cell"], plain.mixture_weights()["cell"])
    assert_same(smooth, plain)


# In the search


@pytest.mark.parametrize("kind", [random_smoothing, adversarial])
def test_without_noise_a_search_is_that_of_darts_to_the_last_bit_and_with_it_another(kind: Any) -> None:
    """Every edge is scaled by x / x = 1, and operations draw nothing that the noise could shift."""
    still, smooth, plain = (cell_supernet() for _ in range(3))
    trainer(2).fit(module(still, smoothing=kind(first=0.0, last=0.0)), bilevel())
    trainer(2).fit(module(smooth, smoothing=kind(first=0.2, last=0.2)), bilevel())
    trainer(2).fit(module(plain), bilevel())
    assert_same(still, plain)
    with pytest.raises(AssertionError):
        assert_same(smooth, plain)


def sizes_of(epochs: int, **options: Any) -> list[float]:
    """Return the size of the noise in each epoch of a search, then in three of a selection's tuning."""
    search = method(epochs=epochs, smoothing=random_smoothing(**options))
    tuning = search.for_tuning(3, 0.1, "constant", train_alpha=True)
    epochs_of_all = [(one, epoch) for one in (search, tuning) for epoch in range(one.epochs)]
    return [one.smoothing_at(one.progress(epoch)).first for one, epoch in epochs_of_all]


def test_the_noise_grows_linearly_and_reaches_its_last_size_in_the_last_epoch_or_after_it() -> None:
    assert sizes_of(4, endpoint=True) == pytest.approx([0.03, 0.12, 0.21, 0.3, 0.3, 0.3, 0.3])
    assert sizes_of(4) == pytest.approx([0.03, 0.0975, 0.165, 0.2325, 0.3, 0.3, 0.3])
    # SmoothDARTS and DARTS-PT, sota/cnn/train_search.py: 0.03 + (0.3 - 0.03) * epoch / epochs
    assert sizes_of(50)[49:] == pytest.approx([0.2946, 0.3, 0.3, 0.3])
