"""Freed memory is kept, and a process counts what it has held: in one of its own, because neither can be undone."""

import subprocess
import sys

import pytest

from archselect.training.fit import peak_resident

PROGRAM = """
import resource
import torch
from archselect.training.fit import keep_freed_memory, peak_resident

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        blocks = [torch.zeros(16 * 2**20 // 4) for _ in range(8)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

peak, left = peak_resident(), faults()
kept = keep_freed_memory()
faults()
print(peak, left, faults(), kept)
"""


def test_memory_that_is_kept_is_not_mapped_again_and_what_the_parent_held_is_not_counted() -> None:
    held = bytes(range(1, 251)) * 3 * 10**6
    assert peak_resident() > len(held)
    del held
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    peak, left, again, kept = done.stdout.split()
    assert 5e6 < int(peak) < 750e6
    if kept == "False":
        pytest.skip("this C library has no mallopt")
    assert int(again) < int(left) / 2
