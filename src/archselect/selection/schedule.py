"""In which order a progressive selector decides: edge by edge, then node by node, all cell types side by side."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from archselect.distributed.process_group import on_main_process
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.restored_state import restored_state
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, SupernetEvaluator
from archselect.training.step import gradients_of

NodeOrder = Literal["random"] | Sequence[int] | Mapping[str, Sequence[int]]
NamedEdgeOrder = Literal["random", "reverse", "entropy", "gradient_norm", "global"]
EdgeOrder = NamedEdgeOrder | Sequence[int] | Mapping[str, Sequence[int]]
"""`random`; `reverse`: from the last edge to the first; `entropy`: the most certain softmax(alpha) first;
`gradient_norm`: the edge whose `alpha` the loss depends on most first; `global`: all undecided edges are scored and the
one whose best operation stands out most is decided; or the numbers themselves, one list for all or one per cell type.
"""


def nothing_decided(cells: Mapping[str, CellSpace]) -> Mapping[str, CellDecisions]:
    """Return the decisions before any is made."""
    return {name: CellDecisions.none(space) for name, space in cells.items()}


def edge_points(cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
    """Return how many points it takes to decide one edge per cell type at each, where so much is decided already."""
    decided = decided or nothing_decided(cells)
    return max(len(decided[name].undecided_edges) for name in cells)


def node_points(cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
    """Return how many points it takes to decide the inputs of one node per cell type at each."""
    decided = decided or nothing_decided(cells)
    return max(len(decided[name].undecided_nodes(space)) for name, space in cells.items())


def edge_is_due(supernet: Supernet, cell: str, point: DecisionStep) -> bool:
    """Return whether a cell type decides an edge at this point.

    A cell type with fewer undecided edges than another begins later, so that all end together. What a session that was
    cut off decided at this point is not decided twice.
    """
    left = point.left - node_points(supernet.cell_spaces, supernet.decisions)
    return 0 < left <= len(supernet.decisions[cell].undecided_edges)


def node_is_due(supernet: Supernet, cell: str, point: DecisionStep) -> bool:
    """Return whether a cell type decides the inputs of a node at this point; see `edge_is_due`."""
    space, decisions = supernet.cell_spaces[cell], supernet.decisions[cell]
    return not decisions.undecided_edges and point.left <= len(decisions.undecided_nodes(space))


def next_of(order: NodeOrder, cell: str, undecided: Sequence[int], rng_key: tuple[int | str, ...]) -> int:
    """Return the next edge or node of a random or a given order."""
    if order == "random":
        return undecided[int(torch.randint(len(undecided), (), generator=generator_for(*rng_key)))]
    given = order[cell] if isinstance(order, Mapping) else order
    return next(int(number) for number in given if number in undecided)


def next_edge(
    order: EdgeOrder, supernet: Supernet, cell: str, trials: SupernetEvaluator, rng_key: tuple[int | str, ...]
) -> int:
    """Return the undecided edge of a cell type that comes next, in any order but `global`."""
    undecided = supernet.decisions[cell].undecided_edges
    if order == "reverse":
        return undecided[-1]
    if order == "entropy":
        entropies = normalised_entropies(supernet, cell)
        return min(undecided, key=lambda edge: entropies[edge])
    if order == "gradient_norm":
        norms = gradient_norms(supernet, trials, rng_key)[cell]
        return max(undecided, key=lambda edge: norms[edge])
    assert order != "global"
    return next_of(order, cell, undecided, rng_key)


def normalised_entropies(supernet: Supernet, cell: str) -> list[float]:
    """Return per edge the entropy of its mixture as a share of the largest one possible; 0 with a single candidate."""
    weights = supernet.relaxed(cell).detach()
    shares = weights / weights.sum(dim=1, keepdim=True)
    entropies = torch.special.entr(shares).sum(dim=1)
    counts = torch.tensor([len(candidates) for candidates in supernet.cell_spaces[cell].operations])
    largest = counts.to(entropies).log().clamp_min(torch.finfo(entropies.dtype).tiny)
    return (entropies / largest).tolist()


def gradient_norms(
    supernet: Supernet, trials: SupernetEvaluator, rng_key: tuple[int | str, ...]
) -> dict[str, list[float]]:
    """Return per cell type and edge the norm of the scoring loss's gradient in `alpha`.

    Args:
        supernet: Evaluated in training mode; nothing in it changes.
        trials: Reads the scoring batches.
        purpose: What the randomness inside the network is derived from.
    """
    return on_main_process(lambda: _gradient_norms(supernet, trials, rng_key))


def _gradient_norms(
    supernet: Supernet, trials: SupernetEvaluator, rng_key: tuple[int | str, ...]
) -> dict[str, list[float]]:
    alphas = list(supernet.alphas.values())
    total = [torch.zeros_like(alpha) for alpha in alphas]
    images_seen = 0
    with restored_state(supernet):
        supernet.train()
        seed_generators(derived_seed(*rng_key, "gradient norm"))
        for images, labels in trials.batches():
            loss = F.cross_entropy(supernet(images), labels, reduction="sum")
            for sum_, gradient in zip(total, gradients_of(loss, alphas), strict=True):
                sum_ += gradient
            images_seen += len(labels)
    return {
        cell: (gradient / images_seen).norm(dim=1).tolist()
        for cell, gradient in zip(supernet.alphas, total, strict=True)
    }


def check_edge_order(
    order: EdgeOrder, cells: Mapping[str, CellSpace], cell: str, names: Sequence[str] = get_args(NamedEdgeOrder)
) -> None:
    """Raise a ValueError unless `order` is one of the names or holds each edge of the cell type once."""
    if not (isinstance(order, str) and order in names):
        _check_numbers("edge_order", order, cells, cell, range(len(cells[cell].operations)), names)


def check_node_order(order: NodeOrder, cells: Mapping[str, CellSpace], cell: str) -> None:
    """Raise a ValueError unless `order` is random or holds each node that chooses its inputs once."""
    if order != "random":
        nodes = CellDecisions.none(cells[cell]).undecided_nodes(cells[cell])
        _check_numbers("node_order", order, cells, cell, nodes, ("random",))


def _check_numbers(
    option: str, order: object, cells: Collection[str], cell: str, expected: Sequence[int], names: Sequence[str]
) -> None:
    if isinstance(order, Mapping) and (unknown := sorted(set(order) - set(cells))):
        raise ValueError(
            f"selection.{option} names the cell types {unknown}, but this search space has {sorted(cells)}. Name these."
        )
    given = order.get(cell) if isinstance(order, Mapping) else order
    numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if len(numbers) != len(expected) or any(number not in numbers for number in expected):
        raise ValueError(
            f"selection.{option} must be {', '.join(names)} or, for the {cell} cell, contain each of {list(expected)} "
            f"once; got {given!r}."
        )
