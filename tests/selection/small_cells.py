from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Decision

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


class WithoutNetwork(Supernet):
    """Has `alpha` and decisions, and evaluates nothing."""

    forward_prefix = forward_suffix = layers_before = None  # type: ignore[assignment]
    _new_network = _counterparts = None  # type: ignore[assignment]


def undecided(*cells: CellSpace, weights: Mapping[str, Sequence[Sequence[float]]] | None = None) -> Supernet:
    """A supernet without a network: uniform mixtures, or `alpha` such that its softmax is `weights`."""
    supernet = WithoutNetwork({space.name: space for space in cells}, alpha_scale=0.0)
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
