"""DARTS-PT, Algorithm 1, walked plainly on a small supernet with real images: the selector comes to the same bits.

By the accuracy of classification, where the operation is kept without which the accuracy is lowest, and by the mean
absolute error of a regression, where it is the one without which the error is largest.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tests.selection.small_cells import WIDE_CELL, apply, cell
from tests.selection.test_scorer import CALIBRATION, CLASSES, IMAGES, scorer
from torch import Tensor
from torch.nn import functional as F

from archselect.distributed.rng import generator_for
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Perturbation, Tuning
from archselect.tasks import Classification, Regression, Task

SEED = 3
ERROR = Regression(mean=[0.0] * CLASSES, std=[2.0] * CLASSES)
OPERATIONS = ("skip_connect", "avg_pool_3x3", "sep_conv_3x3")
INPUTS = {3: (2, 3, 4), 4: (5, 6, 7, 8)}  # of the nodes that have more than two


def supernet() -> Supernet:
    torch.manual_seed(0)
    cells = {name: cell(name, OPERATIONS, WIDE_CELL) for name in ("normal", "reduction")}
    return DartsSupernet(cells, channels=2, layers=3, classes=CLASSES, alpha_scale=0.5)


def tune(network: Supernet, epochs: int, weights: Any = lambda: None) -> None:
    """Train weights and `alpha`, here on the same images."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for images, labels in CALIBRATION * epochs:
        optimizer.zero_grad()
        F.cross_entropy(network(images, weights()), labels).backward()
        optimizer.step()


class Algorithm1:
    """E and N hold what is undecided; all cell types decide at a step, as in the official code."""

    def __init__(self, network: Supernet, task: Task) -> None:
        self.network, self.task = network, task
        self.worst: Callable[[Sequence[float]], float] = min if task.mode == "max" else max
        self.E = {name: list(range(9)) for name in network.alphas}
        self.N = {name: list(INPUTS) for name in network.alphas}
        self.kept: dict[tuple[str, int], int] = {}
        self.dropped: list[tuple[str, int]] = []
        self.decided: list[Any] = []

    def run(self) -> None:
        step = 0
        while any(self.E.values()) or any(self.N.values()):
            for name in self.network.alphas:
                if self.E[name]:
                    e = self.take(self.E[name], "edge", name, step)
                    metrics = [self.metric_without(name, e, o) for o in range(len(OPERATIONS))]
                    self.kept[name, e] = metrics.index(self.worst(metrics))
                    self.decided.append((name, e, self.kept[name, e], metrics))
                else:
                    n = self.take(self.N[name], "node", name, step)
                    inputs = list(INPUTS[n])
                    while len(inputs) > 2:  # the last of equals goes, and is back while the next is looked for
                        best = max if self.task.mode == "max" else min
                        inputs.remove(best(reversed(inputs), key=lambda e: self.metric_without(name, e)))
                    self.dropped += [(name, e) for e in INPUTS[n] if e not in inputs]
                    self.decided.append((name, n, tuple(inputs)))
            tune(self.network, 2 if step < 10 else 1, self.mixtures)
            step += 1

    def take(self, left: list[int], *key: str | int) -> int:
        generator = generator_for(SEED, "selection", *key)
        return left.pop(int(torch.randint(len(left), (), generator=generator)))

    def mixtures(self) -> dict[str, Tensor]:
        """softmax(alpha); one-hot where an edge is decided, zero where it is dropped."""
        weights = {name: alpha.softmax(dim=1).clone() for name, alpha in self.network.alphas.items()}
        for (name, e), o in self.kept.items():
            weights[name][e] = F.one_hot(torch.tensor(o), len(OPERATIONS))
        for name, e in self.dropped:
            weights[name][e] = 0
        return weights

    @torch.no_grad()
    def metric_without(self, name: str, e: int, o: int | slice = slice(None)) -> float:
        weights = self.mixtures()
        weights[name][e, o] = 0
        self.network.train()  # the statistics of the batch
        measured = [self.measured(self.network(images, weights), labels) for images, labels in IMAGES]
        return math.fsum(measured) / sum(len(labels) for _, labels in IMAGES)

    def measured(self, outputs: Tensor, labels: Tensor) -> float:
        """Count the images that are right, or add their errors: on average twice an output from a one-hot target."""
        if self.task.metric == "accuracy":
            return float((outputs.argmax(dim=1) == labels).sum())
        return float((2 * outputs - F.one_hot(labels, CLASSES)).abs().mean(dim=1).sum(dtype=torch.float64))


class Evaluator:
    """Scores the supernet as a run does."""

    def __init__(self, network: Supernet, task: Task) -> None:
        self.score = scorer(network)
        self.score.task = task
        if task is ERROR:
            self.score.batches = [(images, F.one_hot(labels, CLASSES).float()) for images, labels in IMAGES]


@pytest.mark.parametrize("task", [Classification(), ERROR], ids=lambda task: task.mode)
def test_the_selection_is_algorithm_1_to_the_bit(task: Task) -> None:
    plain = Algorithm1(supernet(), task)
    plain.run()

    network, found = supernet(), list[Any]()
    evaluator: Any = Evaluator(network, task)
    selector = Perturbation(tuning=Tuning(epochs_between=2))
    for step in selector.steps(network.cell_spaces):
        for decision in selector.decide(step, network, evaluator, SEED):
            apply(decision, network)
            if step.kind == "operation":
                metrics = [score.metric for score in decision.scores]  # type: ignore[union-attr]
                found.append((decision.cell, decision.edge, decision.operation, metrics))  # type: ignore[union-attr]
            else:
                found.append((decision.cell, decision.node, decision.edges))  # type: ignore[union-attr]
        tune(network, len(step.epochs))

    assert found == plain.decided
    assert len({tuple(metrics) for _, _, _, metrics in (one for one in found if len(one) == 4)}) > 9
    parameters = dict(plain.network.named_parameters())
    assert all(torch.equal(value, parameters[name]) for name, value in network.named_parameters())
