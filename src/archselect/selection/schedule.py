"""The steps of a progressive selection, and which edge or node it decides next (DARTS-PT, Algorithm 1)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import torch

from archselect.distributed.process_group import on_main_process
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.models.cell_space import CellDecisions
from archselect.models.restored_state import restored_state
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Cells, DecisionStep, Evaluator, Tuning
from archselect.training.step import gradients_of

RngKey = tuple[int | str, ...]

NamedEdgeOrder = Literal["random", "reverse", "entropy", "gradient_norm", "global"]
EdgeOrder = NamedEdgeOrder | Sequence[int] | Mapping[str, Sequence[int]]
"""By name, as `configs/selection/perturb.yaml` explains; or the numbers, one list for all or one per cell type."""
NodeOrder = Literal["random"] | Sequence[int] | Mapping[str, Sequence[int]]
"""The numbers are those of states."""


def progressive_steps(
    cells: Cells, decided: Mapping[str, CellDecisions] | None = None, tuning: Tuning | None = None
) -> list[DecisionStep]:
    """Return the steps that decide edge by edge, then node by node, one of each cell type at a step.

    A cell type with fewer edges or nodes left than another begins later, so that all end together.

    Args:
        cells: The choices of each cell type.
        decided: What the search has decided already; None: nothing.
        tuning: What happens between the steps.
    """
    decided = decided or {name: CellDecisions.none(space) for name, space in cells.items()}
    edges = list(_side_by_side({name: len(decided[name].undecided_edges) for name in cells}))
    nodes = list(_side_by_side({name: len(decided[name].undecided_nodes(space)) for name, space in cells.items()}))
    count = len(edges) + len(nodes)
    epochs = tuning.epochs_after(count) if tuning else [range(0)] * count
    return [
        DecisionStep(number, "operation" if number < len(edges) else "topology", names, epochs[number])
        for number, names in enumerate(edges + nodes)
    ]


def _side_by_side(counts: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield the cell types that take a turn, until each has had as many as its count."""
    for left in range(max(counts.values()), 0, -1):
        yield tuple(name for name, count in counts.items() if count >= left)


def next_edge(order: EdgeOrder, supernet: Supernet, cell: str, evaluator: Evaluator, rng_key: RngKey) -> int:
    """Return the undecided edge of a cell type that comes next, in any order but `global`."""
    undecided = supernet.decisions[cell].undecided_edges
    if order == "reverse":
        return undecided[-1]
    if order == "entropy":
        return min(undecided, key=normalised_entropies(supernet, cell).__getitem__)
    if order == "gradient_norm":
        norms = on_main_process(lambda: gradient_norms(supernet, evaluator, rng_key))
        return max(undecided, key=norms[cell].__getitem__)
    assert order != "global"
    return _next(order, cell, undecided, rng_key)


def next_node(order: NodeOrder, supernet: Supernet, cell: str, rng_key: RngKey) -> int:
    """Return the undecided node of a cell type that comes next."""
    return _next(order, cell, supernet.decisions[cell].undecided_nodes(supernet.cell_spaces[cell]), rng_key)


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


def gradient_norms(supernet: Supernet, evaluator: Evaluator, rng_key: RngKey) -> dict[str, list[float]]:
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
            loss = evaluator.task.loss(supernet(images), labels, "sum")
            for sum_, gradient in zip(total, gradients_of(loss, alphas), strict=True):
                sum_ += gradient
            images_seen += len(labels)
    pairs = zip(supernet.alphas, total, strict=True)
    return {cell: (gradient / images_seen).norm(dim=1).tolist() for cell, gradient in pairs}


def check_order(option: str, order: object, expected: Mapping[str, Collection[int]], names: Sequence[str]) -> None:
    """Raise a ValueError unless `order` is one of the names or holds, for each cell type, the expected numbers once."""
    if isinstance(order, str) and order in names:
        return
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
