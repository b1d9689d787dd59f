"""What several processes do together, each part of it in a few lines; what is returned is compared by the tests."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tests.search import small_search

from archselect.data import ResidentBatches
from archselect.distributed.consistency import assert_in_sync
from archselect.distributed.process_group import (
    Shard,
    all_reduce_coalesced,
    check_same,
    in_every_process,
    is_distributed,
    on_main_process,
    rank,
    shard,
    sharded_batches,
    whole_batches,
)
from archselect.errors import RunError
from archselect.operations.batch_norm import BatchNorm2d
from archselect.randomness import drawn_alike, seed_generators
from archselect.stages.shared_folder import SharedFolder
from archselect.store import StageKey

Raised = tuple[str, str, bool] | None
"""Class and words of an error, and whether another process shows it."""


def raised(function: Callable[[], object]) -> Raised:
    try:
        function()
    except Exception as error:
        return type(error).__name__, str(error), hasattr(error, "shown_elsewhere")
    return None


def fail(*ranks: int) -> int:
    """Raise an error in these processes; return which process this is in the others."""
    if rank() in ranks:
        raise RunError(f"Process {rank()} has no room.")
    return rank()


def fail_unsendably() -> None:
    class OfThisProcessError(Exception):
        pass

    raise OfThisProcessError("no room")


def on_main() -> dict[str, Any]:
    return {
        "value": on_main_process(lambda: f"of process {rank()}"),
        "error": raised(lambda: on_main_process(lambda: fail(0, 1))),
        "unsendable error": raised(lambda: on_main_process(fail_unsendably)),
        "nested": on_main_process(lambda: on_main_process(lambda: (rank(), is_distributed()))),
    }


def in_every() -> dict[str, Any]:
    return {
        "value": in_every_process(lambda: fail()),
        "error of the second": raised(lambda: in_every_process(lambda: fail(1))),
        "errors of both": raised(lambda: in_every_process(lambda: fail(0, 1))),
        "the same": raised(lambda: check_same("s2", "They differ.")),
        "not the same": raised(lambda: check_same(f"seed {rank()}", "They differ.")),
    }


def shards() -> dict[str, Shard]:
    found = {"at first": shard()}
    with sharded_batches():
        found["sharded"] = shard()
        with whole_batches():
            found["whole"] = shard()
        found["main alone"] = on_main_process(shard)
        with suppress(RunError):
            on_main_process(lambda: fail(0))
        found["sharded again"] = shard()
    return found | {"in the end": shard()}


def sums() -> list[Any]:
    own = float(rank() + 1)
    given = [torch.full((2, 1), own), None, torch.full((3,), 10 * own, dtype=torch.float64)]
    return all_reduce_coalesced(given)


def labels_of(batches: ResidentBatches) -> tuple[int, list[list[int]]]:
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


def draws() -> dict[str, list[float]]:
    """Draws for images, of which the processes have unequally many, between draws that all share."""
    alike, own = [], []
    with sharded_batches():
        seed_generators(7)
        for _ in range(2):
            own += torch.rand(3 + rank()).tolist()
            with drawn_alike():
                alike += torch.rand(2).tolist()
    seed_generators(7)
    with drawn_alike():
        whole = torch.rand(4).tolist()
    return {"alike": alike, "own": own, "whole batches": whole}


def disagreement() -> Raised:
    norm = BatchNorm2d(2)
    assert_in_sync(norm, "before")
    norm.running_var[1] += rank() * 1e-7
    return raised(lambda: assert_in_sync(norm, "after epoch 3"))


def shared_folder() -> dict[str, Any]:
    """Each process has a folder of its own under the name: only the main one's is used."""
    key = StageKey("search", "tests", {})
    with TemporaryDirectory() as own:
        path, file = Path(own) / "stage", Path(own) / "file"
        file.touch()
        folder = SharedFolder(path, key)
        folder.begin({}, {})
        for epoch in range(2):
            folder.append_line("history.jsonl", {"process": rank(), "epoch": epoch})
        folder.keep_lines("history.jsonl", lambda record: record["epoch"] == 1)
        full = SharedFolder(file / "stage" if rank() == 0 else path, key)
        return {
            "lines": folder.read_lines("history.jsonl"),
            "files": sorted(found.name for found in path.iterdir()) if path.exists() else [],
            "disk error": raised(lambda: full.begin({}, {})),
        }


def cooperation() -> dict[str, Any]:
    parts = (on_main, in_every, shards, sums, read_batches, draws, disagreement, shared_folder)
    return {part.__name__: part() for part in parts}
