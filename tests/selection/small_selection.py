from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import OmegaConf

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import (
    Decision,
    DecisionStep,
    OperationDecision,
    Score,
    Selector,
    SuccessiveElimination,
    TopologyDecision,
)

PLAIN_CELL = CellTopology(1, 2, "last", None)  # edges (0,1) (0,2) (1,2), all of which stay
WIDE_CELL = CellTopology(2, 3, "concat", 2)  # nodes 2, 3 and 4; node 3 chooses among edges 2-4, node 4 among edges 5-8

CONFIGS = Path(__file__).parents[2] / "configs" / "search_space"
SIX_SPACES = ("darts", "s1", "s2", "s3", "s4", "nasbench201")


def cells_of(name: str) -> Mapping[str, CellSpace]:
    """The cells of one of the six search spaces."""
    space: Any = hydra.utils.instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), _convert_="all")
    return space.cells


def cell(
    name: str, operations: Sequence[str] | Sequence[Sequence[str]], topology: CellTopology = PLAIN_CELL
) -> CellSpace:
    per_edge = [operations] * len(topology.edges) if isinstance(operations[0], str) else operations
    return CellSpace(name, topology, tuple(tuple(candidates) for candidates in per_edge))


def undecided(*cells: CellSpace, weights: Mapping[str, Sequence[Sequence[float]]] | None = None) -> Supernet:
    """A supernet without a network: uniform mixtures, or `alpha` such that its softmax is `weights`."""
    supernet = Supernet({space.name: space for space in cells}, alpha_scale=0.0)
    for name, rows in (weights or {}).items():
        supernet.alphas[name].data = torch.tensor(rows).log()
    return supernet


def apply(decision: Decision, supernet: Supernet) -> None:
    decided = decision.apply(supernet.cell_spaces[decision.cell], supernet.decisions[decision.cell])
    supernet.decisions = {**supernet.decisions, decision.cell: decided}


class Judge:
    """Scores mixture weights by two formulas and remembers what it was asked."""

    def __init__(
        self,
        accuracy: Callable[[MixtureWeights], float] = lambda weights: 0.5,
        loss: Callable[[MixtureWeights], float] = lambda weights: 1.0,
    ) -> None:
        self.accuracy, self.loss = accuracy, loss
        self.rounds: list[list[MixtureWeights]] = []

    def score(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        self.rounds.append(list(candidates))
        return [Score(self.accuracy(weights), self.loss(weights)) for weights in candidates]

    @property
    def passes(self) -> int:
        return sum(len(candidates) for candidates in self.rounds)


class Never:
    """Trials of which none may be made."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"this selector makes no trials, but asked for {name}")


never: Any = Never()


def worth(name: str, table: Sequence[Sequence[float]]) -> Callable[[MixtureWeights], float]:
    """Sum over edges and operations of weight x table: what an operation contributes is known beforehand."""
    return lambda weights: float((weights[name] * torch.tensor(table)).sum())


def present(weights: MixtureWeights, name: str, edges: Sequence[int]) -> str:
    """Which of the edges still carry something, as the letters a, b, c, ..."""
    return "".join(letter for letter, edge in zip("abcdefgh", edges, strict=False) if bool(weights[name][edge].any()))


def decisions_of(
    selector: Selector,
    supernet: Supernet,
    evaluator: Any = never,
    seed: int = 0,
    steps: Sequence[DecisionStep] | None = None,
) -> Iterator[tuple[int, Decision]]:
    """Run the selector's steps, applying each decision before the next is asked for."""
    if steps is None:
        steps = selector.steps(supernet.cell_spaces, supernet.decisions)
    for step in steps:
        for decision in selector.decide(step, supernet, evaluator, seed):
            apply(decision, supernet)
            yield step.number, decision


def operations_kept(decisions: Iterator[tuple[int, Decision]]) -> dict[tuple[str, int], str | int]:
    return {(d.cell, d.edge): d.operation for _, d in decisions if isinstance(d, OperationDecision)}


def inputs_kept(decisions: Iterator[tuple[int, Decision]]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(d.cell, d.node): d.edges for _, d in decisions if isinstance(d, TopologyDecision)}
