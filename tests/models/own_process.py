"""Checks in a process of their own, which may corrupt its memory and die."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

Case = TypeVar("Case")
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["archselect.pipeline.run", "hydra.main", "sklearn.datasets"])


def faults(check: Callable[[Case], str], cases: Sequence[Case]) -> list[str]:
    """Return what a function of a module finds wrong with each case, and with which one the process died, if it did."""
    mine, theirs = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_child, args=(theirs, check, cases))
    process.start()
    theirs.close()
    found: list[str] = []
    begun = "nothing"
    while True:
        try:
            begun, fault = mine.recv()
        except EOFError:
            break
        found += [f"{begun}: {fault}"] if fault else []
    process.join()
    if process.exitcode:
        found.append(f"the process ended with {process.exitcode} in or after {begun}")
    return found


def _child(pipe: Connection, check: Callable[[Case], str], cases: Sequence[Case]) -> None:
    torch.set_num_threads(1)
    for case in cases:
        pipe.send((str(case), ""))
        pipe.send((str(case), check(case)))
