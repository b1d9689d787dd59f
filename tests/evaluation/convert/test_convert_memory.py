"""The memory that a conversion takes grows so slowly that the whole benchmark fits into 4 GB, and a bomb does not."""

import bz2
import itertools
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluation.convert.layouts import WRITERS, accuracies, trained

from archselect.evaluation.convert.table import OPERATIONS
from archselect.evaluation.nasbench201 import ARCH, NASBench201Table

CELLS = [ARCH.format(*choice) for choice in itertools.product(OPERATIONS, repeat=6)]

MEASURE = """
import sys
from archselect.training.fit import peak_resident
from archselect.evaluation.convert import source
from archselect.evaluation.convert.command import main
before = peak_resident()
source.MOST_MEMORY = int(sys.argv[3]) or source.MOST_MEMORY
code = main([sys.argv[1], "--out", sys.argv[2], "--incomplete", "--overwrite"])
print(before, peak_resident())
sys.exit(code)
"""


def measured(path: Path, most: int = 0) -> tuple[int, int, subprocess.CompletedProcess[str]]:
    """Return the memory of a process in bytes before and after it converted a file, and the process."""
    command = [sys.executable, "-c", MEASURE, str(path), str(path.parent / "table.csv"), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    before, after = done.stdout.splitlines()[-1].split()
    return int(before), int(after), done


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["old torch", "nats"])
def test_the_whole_benchmark_would_take_less_than_four_gigabytes(layout: str, tmp_path: Path) -> None:
    """Each architecture here has 3 seeds x 4 data sets x 200 epochs, every curve whole; half of the real have fewer."""
    taken = {}  # of few architectures nothing is seen: importing the libraries took more
    for count in (100, 300):
        results = {index: trained(index, CELLS[index], accuracies(3, 40.0), every=1) for index in range(count)}
        folder = tmp_path / str(count)
        folder.mkdir()
        _before, after, done = measured(WRITERS[layout](folder, CELLS, results))
        assert done.returncode == 0 and len(NASBench201Table(folder / "table.csv")) == count
        taken[count] = after
    each = (taken[300] - taken[100]) / 200
    assert each > 1000  # an architecture leaves something, or nothing was measured
    assert taken[100] + 15_625 * each < 4e9


@pytest.mark.slow
def test_a_file_that_fills_the_memory_is_stopped(tmp_path: Path) -> None:
    """20 million lists: 20 MB of pickle, 1 kB of bz2, more than 1 GB of memory."""
    path = tmp_path / "bomb.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.PROTO + b"\x04" + 20 * 10**6 * pickle.EMPTY_LIST))
    before, after, done = measured(path, most=200 * 10**6)
    assert done.returncode == 1 and "takes more than 200,000,000 bytes of memory" in " ".join(done.stderr.split())
    assert after - before < 400 * 10**6
