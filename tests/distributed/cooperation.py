"""What several processes do together, each part of it in a few lines; what is returned is compared by the tests."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tests.search import small_search

from archselect.data import DeviceLoader
from archselect.distributed.batch_norm import BatchNorm2d
from archselect.distributed.process_group import (
    Shard,
    assert_in_sync,
    check_same,
    gathered,
    on_main_process,
    place,
    sharded_batches,
    whole_batches,
)
from archselect.distributed.rng import drawn_alike, seed_generators
from archselect.pipeline.stage import SharedFolder
from archselect.store import StageKey
from archselect.training.step import gradients_of

Raised = tuple[str, str] | None
"""Class and words of an error."""


def raised(function: Callable[[], object]) -> Raised:
    try:
        function()
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def on_main() -> tuple[str, Shard, list[int]]:
    """What the main process gives all, what it gives itself within, and what all give each other."""
    own = on_main_process(lambda: f"of process {place().rank}")
    return own, on_main_process(lambda: on_main_process(place)), gathered(place().rank)


def comparisons() -> tuple[Raised, Raised]:
    return tuple(
        raised(lambda value=value: check_same(value, "They differ.")) for value in ("s2", f"seed {place().rank}")
    )


def sums() -> list[Any]:
    """Gradients of this process's part of a loss: in two parameters, and in one that it does not depend on."""
    own = place().rank + 1
    first, second, unused = (torch.ones(*shape, requires_grad=True) for shape in ((2, 1), (3,), (4,)))
    with sharded_batches():
        return gradients_of((own * first).sum() + (10 * own * second).sum(), [first, unused, second], allow_unused=True)


def labels_of(batches: DeviceLoader) -> tuple[int, list[list[int]]]:
    return len(batches), [small_search.numbers(images) for images, _ in batches]


def read_batches() -> dict[str, Any]:
    """Of 13 images in batches of 4, the last batch has one."""
    fixed, shuffled = small_search.resident(13, 4), small_search.resident(14, 4, (0, "train"))
    found = {"whole": labels_of(fixed)}
    with sharded_batches():
        found |= {"sharded": labels_of(fixed), "shuffled": labels_of(shuffled)}
        with whole_batches():
            found["whole amid shards"] = labels_of(fixed)
        found["main alone"] = on_main_process(lambda: labels_of(fixed))
    return found | {"whole and shuffled": labels_of(shuffled)}


def draws() -> tuple[list[float], list[float], list[float]]:
    """Draws for images, of which the processes have unequally many; draws between that all share; whole batches."""
    alike, own = [], []
    with sharded_batches():
        seed_generators(7)
        for _ in range(2):
            own += torch.rand(3 + place().rank).tolist()
            with drawn_alike():
                alike += torch.rand(2).tolist()
    seed_generators(7)
    with drawn_alike():
        whole = torch.rand(4).tolist()
    return own, alike, whole


def disagreement() -> Raised:
    norm = BatchNorm2d(2)
    assert_in_sync(norm, "before")
    norm.running_var[1] += place().rank * 1e-7
    return raised(lambda: assert_in_sync(norm, "after epoch 3"))


def shared_folder() -> dict[str, Any]:
    """Each process has a folder of its own under the name: only the main one's is used."""
    key = StageKey("search", "tests", {})
    with TemporaryDirectory() as own:
        path = Path(own) / "stage"
        folder = SharedFolder(path, key)
        folder.begin({}, {})
        for epoch in range(2):
            folder.append_line("history.jsonl", {"process": place().rank, "epoch": epoch})
        folder.keep_lines("history.jsonl", lambda record: record["epoch"] == 1)
        return {
            "lines": folder.read_lines("history.jsonl"),
            "files": sorted(found.name for found in path.iterdir()) if path.exists() else [],
        }


def cooperation() -> dict[str, Any]:
    parts = (on_main, comparisons, sums, read_batches, draws, disagreement, shared_folder)
    return {part.__name__: part() for part in parts}
