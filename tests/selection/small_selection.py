from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import (
    Decision,
    OperationDecision,
    Score,
    Selector,
    SuccessiveElimination,
    TopologyDecision,
)

PLAIN_CELL = CellTopology(1, 2, "last", None)  # edges (0,1) (0,2) (1,2), all of which stay
WIDE_CELL = CellTopology(2, 3, "concat", 2)  # nodes 2, 3 and 4; node 3 chooses among edges 2-4, node 4 among edges 5-8
TWO = ("skip_connect", "nor_conv_1x1")
THREE = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3")

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


def two_cells() -> Supernet:
    return undecided(*(cell(name, THREE, WIDE_CELL) for name in ("normal", "reduction")))


def norms(supernet: Supernet) -> list[nn.BatchNorm2d]:
    return [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]


@contextmanager
def leaves_no_trace(supernet: Supernet) -> Iterator[None]:
    """Parameters, statistics, modes and the random state are afterwards what they were, and nothing has a gradient."""

    def modes() -> list[tuple[bool, float | None]]:
        return [(module.training, getattr(module, "momentum", None)) for module in supernet.modules()]

    norms(supernet)[0].train(not norms(supernet)[0].training)
    for index, norm in enumerate(norms(supernet)):
        norm.momentum = 0.01 * index
    state, before, random_state = deepcopy(supernet.state_dict()), modes(), torch.get_rng_state()
    yield
    assert all(torch.equal(supernet.state_dict()[name], x) for name, x in state.items() if isinstance(x, Tensor))
    assert modes() == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in supernet.parameters())


def apply(decision: Decision, supernet: Supernet) -> None:
    decided = decision.apply(supernet.cell_spaces[decision.cell], supernet.decisions[decision.cell])
    supernet.decisions = {**supernet.decisions, decision.cell: decided}


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
        self.read = 0

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
