"""Which edge, and then which node, a progressive selection decides next."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from archselect.distributed.process_group import on_main_process
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.restored_state import restored_state
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import SupernetEvaluator
from archselect.training.step import gradients_of

RngKey = tuple[int | str, ...]

NodeOrder = Literal["random"] | Sequence[int] | Mapping[str, Sequence[int]]
NamedEdgeOrder = Literal["random", "reverse", "entropy", "gradient_norm", "global"]
EdgeOrder = NamedEdgeOrder | Sequence[int] | Mapping[str, Sequence[int]]
"""`random`; `reverse`: from the last edge to the first; `entropy`: the most certain softmax(alpha) first;
`gradient_norm`: the edge whose `alpha` the loss depends on most first; `global`: all undecided edges are scored and the
one whose best operation stands out most is decided; or the numbers themselves, one list for all or one per cell type.
"""


def next_edge(order: EdgeOrder, supernet: Supernet, cell: str, evaluator: SupernetEvaluator, rng_key: RngKey) -> int:
    """Return the undecided edge of a cell type that comes next, in any order but `global`."""
    undecided = supernet.decisions[cell].undecided_edges
    if order == "reverse":
        return undecided[-1]
    if order == "entropy":
        entropies = normalised_entropies(supernet, cell)
        return min(undecided, key=lambda edge: entropies[edge])
    if order == "gradient_norm":
        norms = on_main_process(lambda: gradient_norms(supernet, evaluator, rng_key))[cell]
        return max(undecided, key=lambda edge: norms[edge])
    assert order != "global"
    return _next(order, cell, undecided, rng_key)


def next_node(order: NodeOrder, supernet: Supernet, cell: str, rng_key: RngKey) -> int:
    """Return the undecided node of a cell type that comes next."""
    undecided = supernet.decisions[cell].undecided_nodes(supernet.cell_spaces[cell])
    return _next(order, cell, undecided, rng_key)


def _next(order: NodeOrder, cell: str, undecided: Sequence[int], rng_key: RngKey) -> int:
    if order == "random":
        return undecided[int(torch.randint(len(undecided), (), generator=generator_for(*rng_key)))]
    given = order[cell] if isinstance(order, Mapping) else order
    return next(int(number) for number in given if number in undecided)


def normalised_entropies(supernet: Supernet, cell: str) -> list[float]:
    """Return per edge the entropy of its mixture as a share of the largest one possible; 0 with a single candidate."""
    weights = supernet.relaxed(cell).detach()
    shares = weights / weights.sum(dim=1, keepdim=True)
    entropies = torch.special.entr(shares).sum(dim=1)
    counts = torch.tensor([len(candidates) for candidates in supernet.cell_spaces[cell].operations])
    largest = counts.to(entropies).log().clamp_min(torch.finfo(entropies.dtype).tiny)
    return (entropies / largest).tolist()


def gradient_norms(supernet: Supernet, evaluator: SupernetEvaluator, rng_key: RngKey) -> dict[str, list[float]]:
    """Return per cell type and edge the norm of the scoring loss's gradient in `alpha`.

    The supernet is evaluated in training mode and left as it was; its randomness is derived from `rng_key`.
    """
    alphas = list(supernet.alphas.values())
    total = [torch.zeros_like(alpha) for alpha in alphas]
    images_seen = 0
    with restored_state(supernet):
        supernet.train()
        seed_generators(derived_seed(*rng_key, "gradient norm"))
        for images, labels in evaluator.batches():
            loss = F.cross_entropy(supernet(images), labels, reduction="sum")
            for sum_, gradient in zip(total, gradients_of(loss, alphas), strict=True):
                sum_ += gradient
            images_seen += len(labels)
    pairs = zip(supernet.alphas, total, strict=True)
    return {cell: (gradient / images_seen).norm(dim=1).tolist() for cell, gradient in pairs}


def check_edge_order(
    order: EdgeOrder, cells: Mapping[str, CellSpace], names: Sequence[str] = get_args(NamedEdgeOrder)
) -> None:
    """Raise a ValueError unless `order` is one of the names or holds each edge of each cell type once."""
    if not (isinstance(order, str) and order in names):
        _check_numbers("edge_order", order, {name: range(len(cells[name].operations)) for name in cells}, names)


def check_node_order(order: NodeOrder, cells: Mapping[str, CellSpace]) -> None:
    """Raise a ValueError unless `order` is random or holds each node that chooses its inputs once."""
    if order != "random":
        nodes = {name: CellDecisions.none(space).undecided_nodes(space) for name, space in cells.items()}
        _check_numbers("node_order", order, nodes, ("random",))


def _check_numbers(option: str, order: object, expected: Mapping[str, Collection[int]], names: Sequence[str]) -> None:
    if isinstance(order, Mapping) and (unknown := sorted(set(order) - set(expected))):
        raise ValueError(
            f"selection.{option} names the cell types {unknown}, but this search space has {sorted(expected)}. "
            "Name these."
        )
    for cell, numbers in expected.items():
        given = order.get(cell) if isinstance(order, Mapping) else order
        listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
        if len(listed) != len(numbers) or any(number not in listed for number in numbers):
            raise ValueError(
                f"selection.{option} must be {', '.join(names)} or, for the {cell} cell, contain each of "
                f"{list(numbers)} once; got {given!r}."
            )
