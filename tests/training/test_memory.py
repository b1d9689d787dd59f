"""Freed memory is kept: in a process of its own, because it cannot be undone. And how much a process has held."""

import subprocess
import sys

import pytest

from archselect.training.fit import peak_resident

PROGRAM = """
import resource, sys
import torch
from archselect.training.fit import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
blocks = [torch.zeros(16 * 2**20 // 4) for _ in range(8)]
del blocks
before = faults()
for _ in range(4):
    blocks = [torch.zeros(16 * 2**20 // 4) for _ in range(8)]
    del blocks
print(faults() - before, kept)
"""


def faults(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, check=True)
    count, kept = done.stdout.split()
    if kept == "False":
        pytest.skip("this C library has no mallopt")
    return int(count)


def test_memory_that_is_kept_is_not_mapped_again() -> None:
    assert faults("keep") < faults("leave")


def test_a_process_does_not_count_what_the_one_that_started_it_held() -> None:
    held = bytes(range(1, 251)) * 3 * 10**6
    assert peak_resident() > len(held)
    del held
    program = "from archselect.training.fit import peak_resident; print(peak_resident())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 5e6 < int(done.stdout) < 750e6
