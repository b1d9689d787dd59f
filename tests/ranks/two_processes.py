"""A function in two processes that are ranks of one run."""

import io
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from archselect import ranks
from archselect.ranks import Share

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["archselect.pipeline", "hydra.main", "sklearn.datasets"])


def in_two(function: Callable[[], Any], synchronised: bool = True) -> list[Any]:
    """Return what a function of a module returns in each of two processes."""
    store = ranks.meeting(2)
    pipes, processes = [], []
    for rank in range(2):
        mine, theirs = _PROCESSES.Pipe()
        process = _PROCESSES.Process(target=_child, args=(theirs, store.port, rank, synchronised, function))
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    try:
        # As bytes: tensors would stay in the memory of processes that are gone by then.
        results = [torch.load(io.BytesIO(pipe.recv_bytes()), weights_only=False) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
    return results


def _child(pipe: Connection, port: int, rank: int, synchronised: bool, function: Callable[[], Any]) -> None:
    torch.set_num_threads(1)
    ranks.join(ranks.meeting(2, port), Share(rank, 2), torch.device("cpu"), synchronised)
    result = io.BytesIO()
    torch.save(function(), result)
    pipe.send_bytes(result.getvalue())
    ranks.barrier()
