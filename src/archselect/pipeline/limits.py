"""The networks that a limit or a price of a run is about: those that its evaluation judges."""

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from archselect.costs.expected import Skeleton
from archselect.models.cell_space import CellDecisions
from archselect.pipeline.config import Components
from archselect.pipeline.own_code import own_sources
from archselect.search import SearchMethod
from archselect.selection import Selector
from archselect.store.integrity import sha256_of


def judged_skeleton(parts: Components) -> Skeleton:
    """Return the networks that the evaluation judges; of evaluation=none, some as large as the supernet."""
    space, evaluation, data = parts.space, parts.evaluation, parts.data
    outputs = parts.task.outputs(data)
    images = {"image_size": evaluation.judged_image_size(data), "in_channels": data.channels, "outputs": outputs}
    sizes = evaluation.judged_sizes(space)
    choices = {"stem": space.stem, "head": space.head} | {key: one for key, one in sizes.items() if one is not None}
    return Skeleton(
        space,
        lambda genotype: evaluation.judged_network(space, genotype, data, outputs),
        images["image_size"],
        {**images, "network": _plain(choices)},
    )


def limited_selection(parts: Components) -> Selector:
    """Return the selection with what its limit comes to for these networks."""
    limit = parts.selection.limit
    return replace(parts.selection, budget=limit.budget(judged_skeleton(parts))) if limit.most else parts.selection


def priced_search(parts: Components) -> SearchMethod:
    """Return the search with what its price on costs comes to for these networks."""
    cost = parts.search.cost
    return replace(parts.search, cost=cost.of(judged_skeleton(parts))) if cost else parts.search


def check_limits(parts: Components) -> None:
    """Raise a ValueError where nothing in the space is within the limit or meets the target, or a genotype is not."""
    budget = limited_selection(parts).budget
    if budget is not None and parts.genotype is not None:
        budget.check_genotype(parts.genotype)
    elif budget is not None:
        nothing = {name: CellDecisions.none(space) for name, space in parts.space.cells.items()}
        what = f"Every network of search space {parts.space.name!r}"
        budget.check(nothing, what, "Raise the limit, or take a smaller evaluation.network.")
    priced_search(parts)


def identity_of_limit(parts: Components) -> dict[str, Any]:
    """Return what tells a limit from others; nothing where there is none."""
    limit = parts.selection.limit
    if not limit.most:
        return {}
    return {"limit": {**limit.most, **_identity(parts, limit.latency_table if "latency" in limit.most else None)}}


def identity_of_price(parts: Components) -> dict[str, Any]:
    """Return what tells a price on costs from others besides its options; nothing where there is none."""
    cost = parts.search.cost
    if cost is None:
        return {}
    return {"costs_of": _identity(parts, cost.latency_table if cost.measure == "latency" else None)}


def _identity(parts: Components, table: str | None) -> Mapping[str, Any]:
    measured = {} if table is None else {"latency_table": sha256_of(Path(table))}
    described = judged_skeleton(parts).description
    return {"skeleton": described, **own_sources(described, {"_target_": _plain(type(parts.evaluation))}), **measured}


def _plain(value: Any) -> Any:
    """Return the sizes of a network, with what makes a stem or head of a user's own, as JSON-able data.

    Raises:
        ValueError: There is something that has no name by which it could be told from others.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, partial):
        return {"_target_": _plain(value.func), "_args_": [*map(_plain, value.args)], **_plain(value.keywords)}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(vars(value))
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    if value is None or isinstance(value, str | int | float):
        return value
    if not hasattr(value, "__qualname__"):
        raise ValueError(
            f"The sizes of a network and the arguments of its stem and head must be numbers, texts, classes, or lists "
            f"and mappings of them, for stages to be told apart; got {value!r}."
        )
    return f"{value.__module__}.{value.__qualname__}"
