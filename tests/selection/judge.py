from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from tests.selection.small_cells import apply
from torch import Tensor

from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Decision, OperationDecision, Score, Selector, SuccessiveElimination, TopologyDecision
from archselect.tasks import Classification


class Judge:
    """Scores mixture weights by two formulas and remembers what it was asked; has batches to read, if they are given.

    Of each batch the first pixel is the number of the batch.
    """

    def __init__(
        self,
        accuracy: Callable[[MixtureWeights], float] = lambda weights: 0.5,
        loss: Callable[[MixtureWeights], float] = lambda weights: 1.0,
        images: Iterable[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.accuracy, self.loss, self.images = accuracy, loss, images
        self.rounds: list[list[MixtureWeights]] = []
        self.eliminations: list[SuccessiveElimination | None] = []
        self.read, self.task = 0, Classification()

    def score(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        self.rounds.append(list(candidates))
        self.eliminations.append(elimination)
        return [Score(self.accuracy(weights), self.loss(weights)) for weights in candidates]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbered = ((torch.full((2, 3, 4, 4), float(number)), torch.tensor([0, 1])) for number in range(3))
        for batch in numbered if self.images is None else self.images:
            self.read += 1
            yield batch

    def train(self, name: str, decisions: Any, training: Any) -> Score:
        """Score a supernet by the numbers of the kept operations."""
        kept = [operation or 0 for cell in decisions.values() for operation in cell.operations]
        accuracy = sum((3 * edge + 5 * operation) % 7 for edge, operation in enumerate(kept)) / (7 * len(kept))
        return Score(accuracy, 1 - accuracy)

    @property
    def passes(self) -> int:
        return sum(len(candidates) for candidates in self.rounds)


class Never:
    """An evaluator of which nothing may be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"this selector evaluates nothing, but asked for {name}")


never: Any = Never()


def worth(name: str, table: Sequence[Sequence[float]]) -> Callable[[MixtureWeights], float]:
    """Sum over edges and operations of weight x table: what an operation contributes is known beforehand."""
    return lambda weights: float((weights[name] * torch.tensor(table)).sum())


def judge_of_everything(supernet: Supernet, seed: int = 5) -> Judge:
    """A judge to whom every operation of every cell type contributes something else."""
    generator = torch.Generator().manual_seed(seed)
    tables = {name: torch.rand(alpha.shape, generator=generator) for name, alpha in supernet.alphas.items()}

    def gain(weights: MixtureWeights) -> float:
        return sum(float((weights[name] * table).sum()) for name, table in tables.items())

    return Judge(gain, lambda weights: 100 - gain(weights))


def present(weights: MixtureWeights, name: str, edges: Sequence[int]) -> str:
    """Which of the edges still carry something, as the letters a, b, c, ..."""
    return "".join(letter for letter, edge in zip("abcdefgh", edges, strict=False) if bool(weights[name][edge].any()))


def decisions_of(
    selector: Selector, supernet: Supernet, evaluator: Any = never, seed: int = 0, steps: Collection[int] | None = None
) -> Iterator[tuple[int, Decision]]:
    """Run the selector's steps from here, or the numbered ones, applying each decision before the next is asked for."""
    every = selector.steps(supernet.cell_spaces, supernet.decisions if steps is None else None)
    for step in every if steps is None else [step for step in every if step.number in steps]:
        for decision in selector.decide(step, supernet, evaluator, seed):
            apply(decision, supernet)
            yield step.number, decision


def decided_by(selector: Selector, supernet: Supernet, evaluator: Any = never, seed: int = 0) -> list[Any]:
    return [decision for _, decision in decisions_of(selector, supernet, evaluator, seed)]


def operations_kept(decisions: Iterable[Decision]) -> dict[tuple[str, int], int]:
    return {(d.cell, d.edge): d.operation for d in decisions if isinstance(d, OperationDecision)}


def inputs_kept(decisions: Iterable[Decision]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(d.cell, d.node): d.edges for d in decisions if isinstance(d, TopologyDecision)}


def order_of(decisions: Iterable[Decision]) -> list[tuple[str, int | str]]:
    """The edges (as numbers) and nodes (as `node N`) in the order in which they were decided."""
    return [(d.cell, d.edge if isinstance(d, OperationDecision) else f"node {d.node}") for d in decisions]
