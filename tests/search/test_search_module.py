import copy
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tests.search.small_search import (
    CLASSES,
    KilledError,
    Memory,
    SaveThenDie,
    assert_same,
    bilevel,
    cell_supernet,
    darts_supernet,
    decide,
    matching,
    method,
    module,
    numbers,
    plain_bilevel_training,
    random_smoothing,
    resident,
    sgas,
    trainer,
)

from archselect.models.supernet.supernet import Supernet
from archselect.search import FirstOrder, GumbelSoftmax, SearchModule
from archselect.tasks import Classification

STILL = partial(torch.optim.SGD, lr=0.0)  # an optimizer that moves nothing


class Seen(Callback):
    """Notes the images of every batch and the learning rates it was trained with."""

    def __init__(self) -> None:
        self.images: dict[int, list[tuple[list[int], list[int]]]] = {}
        self.rates: dict[int, set[float]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        (weights, _), (architecture, _) = batch
        self.images.setdefault(trainer.current_epoch, []).append((numbers(weights), numbers(architecture)))
        self.rates.setdefault(trainer.current_epoch, set()).add(trainer.optimizers[0].param_groups[0]["lr"])


# The bilevel step


ALPHA = method().architecture_optimizer
ADAM = partial(torch.optim.Adam, lr=0.05)
SGD = partial(torch.optim.SGD, lr=0.5)  # whose step is as long as the gradient, so that it shows a clip


@pytest.mark.parametrize(
    "made", [cell_supernet, partial(darts_supernet, "skip_connect", "sep_conv_3x3")], ids=["1", "2"]
)
@pytest.mark.parametrize(
    ("changes", "usual"),
    [
        ({"gradient_clip": 5.0}, True),
        ({"gradient_clip": 0.05}, False),
        ({"update_order": "weights_first", "architecture_optimizer": ADAM}, False),
        ({"architecture_gradient_clip": 0.01, "architecture_optimizer": SGD}, False),
        ({"architecture_gradient_clip": 100.0, "architecture_optimizer": SGD}, True),
    ],
    ids=["clip beyond the gradient", "clip", "weights first", "clip in alpha", "clip beyond that in alpha"],
)
def test_an_epoch_is_that_of_a_plain_loop_with_two_optimizers(changes: dict[str, Any], usual: bool, made: Any) -> None:
    supernet, reference, other = (made() for _ in range(3))
    plain_bilevel_training(reference, method(**changes))
    trainer(1).fit(module(supernet, **changes), bilevel())
    assert_same(supernet, reference, 1e-6)
    plain_bilevel_training(other, method(architecture_optimizer=changes.get("architecture_optimizer", ALPHA)))
    with nullcontext() if usual else pytest.raises(AssertionError):
        assert_same(supernet, other, 1e-5)


@pytest.mark.parametrize(
    ("decided", "gradient", "calls"),
    [({0: 0, 1: 1}, FirstOrder(), 2 * 3), ({0: 0, 1: 1, 2: 1}, FirstOrder(), 0), ({}, None, 0)],
    ids=["an edge is undecided", "none is", "alpha is fixed"],
)
def test_alpha_is_updated_once_per_step_while(decided: dict[int, int], gradient: Any, calls: int) -> None:
    supernet, original = cell_supernet(), FirstOrder.__call__
    decide(supernet, "cell", decided)
    before = copy.deepcopy(supernet)
    with mock.patch.object(FirstOrder, "__call__", autospec=True, side_effect=original) as counted:
        trainer(2).fit(module(supernet, architecture_gradient=gradient), bilevel(weights=12, batch_size=4))
    assert counted.call_count == calls
    assert torch.equal(supernet.alphas["cell"], before.alphas["cell"]) == (calls == 0)
    assert not torch.equal(supernet.classifier.weight, before.classifier.weight)
    assert all(parameter.grad is None for parameter in supernet.parameters())


# The epochs


@pytest.mark.parametrize(
    ("lowest", "expected"),
    [
        # 0.02 + 0.08 * (1 + cos(pi * epoch / 4)) / 2, for every step of the epoch
        (0.02, [0.1, 0.02 + 0.04 * (1 + math.sqrt(0.5)), 0.06, 0.02 + 0.04 * (1 - math.sqrt(0.5))]),
        (None, [0.1] * 4),
    ],
)
def test_the_learning_rate_follows_half_a_cosine_from_epoch_to_epoch_or_is_constant(
    lowest: float | None, expected: list[float]
) -> None:
    seen, memory = Seen(), Memory()
    fit = trainer(4, callbacks=[seen], logger=memory)
    fit.fit(module(cell_supernet(), learning_rate_min=lowest), bilevel())
    assert [len(seen.rates[epoch]) for epoch in range(4)] == [1, 1, 1, 1]
    assert [seen.rates[epoch].pop() for epoch in range(4)] == pytest.approx(expected)
    assert [memory.epochs[epoch]["learning_rate"] for epoch in range(4)] == pytest.approx(expected)
    assert [memory.epochs[epoch]["architecture_learning_rate"] for epoch in range(4)] == pytest.approx([0.01] * 4)


def test_each_epoch_sees_the_batches_of_its_own_number() -> None:
    seen = Seen()
    trainer(3, callbacks=[seen]).fit(module(cell_supernet()), bilevel(12, 8))
    expected = {}
    for epoch in range(3):
        batches = bilevel(12, 8)
        batches.set_epoch(epoch)
        expected[epoch] = [(numbers(weights), numbers(architecture)) for (weights, _), (architecture, _) in batches]
    assert seen.images == expected
    assert expected[0] != expected[1] != expected[2] != expected[0]


@pytest.mark.parametrize(
    ("changes", "val"),
    [
        ({}, None),
        ({}, resident(8, 4)),
        ({"greedy": sgas(criterion=2, first=0.25, every=0.25, share=1.0)}, None),
        ({"freezing": matching(threshold=-0.1, interval=3)}, None),  # killed in the middle of an interval
    ],
    ids=["without validation", "with validation", "greedy decisions", "frozen operations"],
)
def test_a_search_that_was_killed_and_goes_on_ends_as_if_nothing_had_happened(
    changes: dict[str, Any], val: Any, tmp_path: Path
) -> None:
    undisturbed, killed, resumed = (module(darts_supernet("noise", "sep_conv_3x3"), **changes) for _ in range(3))
    seen, seen_again, memory = Seen(), Seen(), Memory()
    trainer(4, callbacks=[seen]).fit(undisturbed, bilevel(), val)
    with pytest.raises(KilledError):
        trainer(4, callbacks=[SaveThenDie(tmp_path / "c", in_epoch=2)]).fit(killed, bilevel(), val)
    torch.manual_seed(99)
    fit = trainer(4, callbacks=[seen_again, SaveThenDie(tmp_path / "d")], logger=memory)
    fit.fit(resumed, bilevel(), val, ckpt_path=tmp_path / "c", weights_only=True)

    assert seen_again.images == {epoch: seen.images[epoch] for epoch in (2, 3)}
    assert seen_again.rates == {epoch: seen.rates[epoch] for epoch in (2, 3)}
    assert set(memory.epochs) == {2, 3}
    assert_same(resumed, undisturbed)
    decisions = resumed.supernet.decisions
    assert decisions == undisturbed.supernet.decisions
    assert any(cell.operations != (None,) * 5 for cell in decisions.values()) == ("greedy" in changes)
    assert "freezing" not in changes or 0 < resumed._frozen.frozen_share < 1


def test_the_noise_of_an_epoch_is_a_function_of_purpose_and_epoch(tmp_path: Path) -> None:
    def loss_of_epoch_0(random_state: int, purpose: str) -> float:
        supernet = darts_supernet("noise", "skip_connect")
        torch.manual_seed(random_state)
        fit = trainer(1)
        fit.fit(SearchModule(supernet, method(), Classification(), CLASSES, (0, purpose)), bilevel())
        return float(fit.callback_metrics["train_loss"])

    assert loss_of_epoch_0(1, "search") == loss_of_epoch_0(2, "search")
    assert loss_of_epoch_0(1, "search") != loss_of_epoch_0(1, "selection")


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({}, False),
        ({"drop_path": 0.2}, True),
        ({"auxiliary_skip": True}, True),
        ({"smoothing": random_smoothing()}, True),
        ({"relaxation": GumbelSoftmax(hard=False, first=10.0, last=0.1)}, True),
    ],
)
def test_what_was_captured_is_forgotten_where_an_epoch_has_other_steps(changes: dict[str, Any], other: bool) -> None:
    searching = method(**changes)
    tuning = searching.for_tuning(3, 0.1, "constant", train_alpha=True)
    for of, epochs, forgets in ((searching, (1, 2), other), (tuning, (1, 2), False), (searching, (0, 0), False)):
        search = SearchModule(cell_supernet(), of, Classification(), CLASSES, (0, "search"))
        with mock.patch.object(search.capture, "forget") as forget:
            for epoch in epochs:
                search.set_progress(of.progress(epoch))
        assert forget.call_count == 2 * forgets


# The metrics


def scores_by_hand(supernet: Supernet, batches: Any) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy over all images."""
    with torch.no_grad():
        logits, labels = zip(*[(supernet(images), labels) for images, labels in batches], strict=True)
    log_probabilities = torch.cat(logits).log_softmax(dim=1)
    target = torch.cat(labels)
    losses = -log_probabilities[torch.arange(len(target)), target]
    return float((log_probabilities.argmax(dim=1) == target).sum()) / len(target), float(losses.sum()) / len(target)


def test_metrics_are_means_over_the_images_in_training_and_in_evaluation_mode() -> None:
    supernet, memory = cell_supernet(), Memory()
    val = resident(10, 4)  # batches of 4, 4 and 2: a mean over batches would be another number
    still = {"weight_optimizer": STILL, "architecture_gradient": None, "learning_rate_min": None}
    trainer(2, logger=memory).fit(module(supernet, **still), bilevel(weights=10), val)
    accuracy, loss = scores_by_hand(supernet.eval(), val)
    assert memory.epochs[1]["val_accuracy"] == pytest.approx(accuracy)
    assert memory.epochs[1]["val_loss"] == pytest.approx(loss, rel=1e-5)
    for epoch in range(2):
        batches = resident(10, 4, (0, "weights"))
        batches.set_epoch(epoch)
        accuracy, loss = scores_by_hand(supernet.train(), batches)
        assert memory.epochs[epoch]["train_accuracy"] == pytest.approx(accuracy)
        assert memory.epochs[epoch]["train_loss"] == pytest.approx(loss, rel=1e-5)


def test_validation_changes_nothing() -> None:
    validated, other = cell_supernet(), cell_supernet()
    trainer(2).fit(module(validated), bilevel(), resident(10, 4))
    trainer(2).fit(module(other), bilevel())
    assert_same(validated, other)
