from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.search.small_search import (
    CLASSES,
    assert_same,
    bilevel,
    cell_supernet,
    darts_supernet,
    decide,
    method,
    module,
    trainer,
)
from torch import Tensor

from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.search import AdversarialSmoothing, RandomSmoothing
from archselect.search.smoothing import Smoothing

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3")


def partly_decided() -> Supernet:
    """Edge 0 of the normal cell is decided, edge 3 dropped."""
    supernet = darts_supernet(*OPERATIONS)
    decide(supernet, "normal", {0: 2})
    space, normal = supernet.cell_spaces["normal"], supernet.decisions["normal"]
    supernet.decisions = {**supernet.decisions, "normal": normal.keep_inputs(space, 3, (2, 4))}
    return supernet


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


SMOOTHINGS = [RandomSmoothing(0.2, 0.2), AdversarialSmoothing(0.2, 0.2)]
both = pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=["random", "adversarial"])


# What is moved, and how far


@both
def test_weights_stay_between_0_and_1_and_edges_keep_their_sums(smoothing: Smoothing) -> None:
    supernet = partly_decided()
    for batch in range(2 if isinstance(smoothing, AdversarialSmoothing) else 20):
        before, after = smoothed(smoothing, supernet, batch)
        for cell, weights in after.items():
            assert weights.min() >= 0
            assert weights.max() <= 1 + 1e-6
            torch.testing.assert_close(weights.sum(dim=1), before[cell].sum(dim=1))


@both
def test_decided_and_dropped_edges_are_untouched_and_the_others_move(smoothing: Smoothing) -> None:
    before, after = smoothed(smoothing, partly_decided())
    same = {cell: (after[cell] == before[cell]).all(dim=1).tolist() for cell in after}
    assert same == {"normal": [True, False, False, True, False], "reduction": [False] * 5}
    assert after.active == before.active


@both
def test_no_gradient_reaches_alpha(smoothing: Smoothing) -> None:
    _, after = smoothed(smoothing, cell_supernet())
    assert not any(weights.requires_grad for weights in after.values())


def test_before_the_edges_are_scaled_the_noise_is_in_the_ball() -> None:
    """Scaled weights are the clamped ones times one factor per edge, so the factor must leave all of them in."""
    for batch in range(50):
        before, after = smoothed(RandomSmoothing(0.1, 0.1), cell_supernet(), batch)
        for was, now in zip(before["cell"], after["cell"], strict=True):
            # now * factor in [was - 0.1, was + 0.1], except that it may be clamped to 0 from below
            least = ((was - 0.1).clamp_min(0) / now.clamp_min(1e-12)).max()
            most = ((was + 0.1).clamp_max(1) / now.clamp_min(1e-12)).min()
            assert least <= most + 1e-5


@pytest.mark.parametrize("noise", [-0.03, 0.01])
def test_the_same_noise_on_all_weights_of_an_edge_moves_them_together(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archselect.search.smoothing._noise", lambda like, epsilon: torch.full_like(like, noise))
    weights = MixtureWeights({"cell": torch.tensor([[0.5, 0.48, 0.02]])}, {"cell": ((True,) * 3,)})
    (after,) = RandomSmoothing()(weights, {"cell": torch.ones(1, 3)}, lambda weights: torch.zeros(())).values()
    expected = {-0.03: [0.47 / 0.92, 0.45 / 0.92, 0], 0.01: [0.51 / 1.03, 0.49 / 1.03, 0.03 / 1.03]}[noise]
    assert after[0].tolist() == pytest.approx(expected)


def test_an_edge_on_which_the_noise_would_leave_no_weight_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archselect.search.smoothing._noise", lambda like, epsilon: torch.full_like(like, -epsilon))
    weights = MixtureWeights({"cell": torch.full((1, 8), 1 / 8)}, {"cell": ((True,) * 8,)})
    after = RandomSmoothing(0.3, 0.3)(weights, {"cell": torch.ones(1, 8)}, lambda weights: torch.zeros(()))
    assert torch.equal(after["cell"], weights["cell"])


def test_candidates_that_an_edge_does_not_have_get_no_weight() -> None:
    weights = MixtureWeights({"cell": torch.tensor([[0.5, 0.5, 0.0]])}, {"cell": ((True, True, False),)})
    after = RandomSmoothing(0.3, 0.3)(weights, {"cell": torch.ones(1, 3)}, lambda weights: torch.zeros(()))
    assert after["cell"][0, 2] == 0


# The attack


@pytest.mark.parametrize("epsilon", [0.03, 0.3])
def test_the_attack_never_lowers_the_loss_and_mostly_raises_it(epsilon: float) -> None:
    supernet, rises = cell_supernet(), []
    for batch in range(12):
        before, after = smoothed(AdversarialSmoothing(epsilon, epsilon), supernet, batch)
        loss = loss_on(supernet, *a_batch(batch))
        with torch.no_grad():
            rises.append(float(loss(after) - loss(before)))
    assert min(rises) >= 0
    assert sum(rise > 0 for rise in rises) >= 9


def test_the_attack_finds_a_higher_loss_than_noise_of_the_same_size() -> None:
    supernet, attacked, noisy = cell_supernet(), [], []
    for batch in range(6):
        loss = loss_on(supernet, *a_batch(batch))
        _, worst = smoothed(AdversarialSmoothing(0.2, 0.2), supernet, batch)
        _, random = smoothed(RandomSmoothing(0.2, 0.2), supernet, batch)
        with torch.no_grad():
            attacked.append(float(loss(worst)))
            noisy.append(float(loss(random)))
    assert sum(x > y for x, y in zip(attacked, noisy, strict=True)) >= 5


def test_on_a_linear_loss_the_attack_ends_at_the_border_of_the_ball() -> None:
    slope = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    weights = MixtureWeights({"cell": torch.full((1, 4), 0.25)}, {"cell": ((True,) * 4,)})
    after = AdversarialSmoothing(0.1, 0.1)(weights, {"cell": torch.ones(1, 4)}, lambda w: (slope * w["cell"]).sum())
    assert after["cell"][0].tolist() == pytest.approx([0.35, 0.15, 0.35, 0.15], abs=1e-6)


@pytest.mark.parametrize(("revive", "expected"), [(True, 0.15 / 1.1), (False, 0.0)])
def test_an_operation_that_fell_to_weight_0_comes_back_or_stays_there(
    revive: bool, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random start takes its weight from the third operation; the step would give it 0.15, the edge sums to 1.1."""
    start = torch.tensor([[0.0, 0.0, -0.1]])
    monkeypatch.setattr("archselect.search.smoothing._noise", lambda like, epsilon: start)
    weights = MixtureWeights({"cell": torch.tensor([[0.5, 0.45, 0.05]])}, {"cell": ((True,) * 3,)})
    slope = torch.tensor([[9.0, -0.5, 1.0]])
    smoothing = AdversarialSmoothing(0.1, 0.1, steps=1, revive=revive)
    after = smoothing(weights, {"cell": torch.ones(1, 3)}, lambda w: (slope * w["cell"]).sum())
    assert after["cell"][0, 0] > 0.5
    assert after["cell"][0, 2] == pytest.approx(expected)


def test_if_no_loss_is_higher_the_mixture_stays_as_it_was() -> None:
    weights = MixtureWeights({"cell": torch.full((1, 4), 0.25)}, {"cell": ((True,) * 4,)})
    after = AdversarialSmoothing()(weights, {"cell": torch.ones(1, 4)}, lambda w: -(w["cell"] - 0.25).square().sum())
    assert torch.equal(after["cell"], weights["cell"])


@both
def test_running_statistics_are_moved_by_the_step_alone(smoothing: Smoothing) -> None:
    images, labels = a_batch(0)
    smooth, plain = cell_supernet(), cell_supernet()
    torch.manual_seed(0)
    mixture = module(smooth, smoothing=smoothing).weights_of_a_step(images, labels)
    assert not torch.equal(mixture["cell"], plain.mixture_weights()["cell"])
    assert_same(smooth, plain)


# In the search


@pytest.mark.parametrize("kind", [RandomSmoothing, AdversarialSmoothing])
def test_without_noise_a_search_is_that_of_darts_to_the_last_bit_and_with_it_another(kind: Any) -> None:
    """Every edge is scaled by x / x = 1, and operations draw nothing that the noise could shift."""
    still, smooth, plain = (cell_supernet() for _ in range(3))
    trainer(2).fit(module(still, smoothing=kind(0.0, 0.0)), bilevel())
    trainer(2).fit(module(smooth, smoothing=kind(0.2, 0.2)), bilevel())
    trainer(2).fit(module(plain), bilevel())
    assert_same(still, plain)
    with pytest.raises(AssertionError):
        assert_same(smooth, plain)


def sizes_of(smoothing: Smoothing, epochs: int) -> list[float]:
    """Return the size of the noise before the search begins and in each of its epochs."""
    search: Any = module(cell_supernet(), epochs=epochs, smoothing=smoothing)
    sizes = [search._smoothing.first]
    for epoch in range(epochs):
        search.set_progress(search.method.progress(epoch))
        sizes.append(search._smoothing.first)
    return sizes


@pytest.mark.parametrize("kind", [RandomSmoothing, AdversarialSmoothing])
def test_the_noise_grows_linearly_and_reaches_its_last_size_in_the_last_epoch_or_after_it(kind: Any) -> None:
    assert sizes_of(kind(endpoint=True), 4) == pytest.approx([0.03, 0.03, 0.12, 0.21, 0.3])
    assert sizes_of(kind(endpoint=False), 4) == pytest.approx([0.03, 0.03, 0.0975, 0.165, 0.2325])
    assert sizes_of(kind(), 1) == [0.03, 0.03]
    # SmoothDARTS and DARTS-PT, sota/cnn/train_search.py: 0.03 + (0.3 - 0.03) * epoch / epochs
    assert sizes_of(kind(), 50)[-1] == pytest.approx(0.2946)


def test_while_a_selection_tunes_the_noise_stays_where_the_search_ended() -> None:
    tuning: Any = method(smoothing=RandomSmoothing()).for_tuning(3, 0.1, "constant", train_alpha=True)
    assert [tuning.smoothing_at(tuning.progress(epoch)).first for epoch in range(3)] == pytest.approx([0.3] * 3)
    assert not tuning.is_scheduled
