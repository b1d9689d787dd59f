"""A folder larger than the memory that a process may have: decoded it does not fit, streamed it needs little of it."""

import multiprocessing
import re
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.data.small_sets import folder_data

from archselect.search.data import training_batches
from archselect.training.fit import peak_resident

SIDE, IMAGES = 256, 1200
DECODED = SIDE * SIDE * 3 * IMAGES  # 236 MB
ALLOWED = DECODED * 4 // 5  # on top of what the process has when it begins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("large")
    for label in range(2):
        (place / "train" / str(label)).mkdir(parents=True)
        picture = Image.new("RGB", (SIDE, SIDE), (100 * label, 50, 200))
        picture.save(place / "train" / str(label) / "0.jpg")
        content = (place / "train" / str(label) / "0.jpg").read_bytes()
        for number in range(1, IMAGES // 2):
            (place / "train" / str(label) / f"{number}.jpg").write_bytes(content)
    return place


def read_within_a_limit(folder: Path, storage: str, told: Connection) -> None:
    """Send how much memory a process of its own has held at most: at first, after a quarter of an epoch, at its end."""
    torch.set_num_threads(1)
    data_segment = re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert data_segment
    limit = 1024 * int(data_segment[1]) + ALLOWED
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    peaks = [peak_resident()]
    try:
        data = folder_data(folder, storage=storage, workers=2)
        for number, (images, _) in enumerate(training_batches(data, data.train, 4, torch.device("cpu"), ()), start=1):
            assert images.shape == (4, 3, SIDE, SIDE)
            if number in (IMAGES // 16, IMAGES // 4):
                peaks.append(peak_resident())
    except (MemoryError, RuntimeError) as error:
        told.send(repr(error))
    told.send(peaks)


def memory_of(folder: Path, storage: str) -> list[Any]:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=read_within_a_limit, args=(folder, storage, theirs))
    process.start()
    theirs.close()
    said = [ours.recv()]
    if isinstance(said[0], str):
        said.append(ours.recv())
    process.join()
    return said


def test_decoded_the_folder_exceeds_the_limit(folder: Path) -> None:
    error, _ = memory_of(folder, "memory")
    assert "alloc" in error.lower() or "memory" in error.lower()


def test_streamed_it_takes_a_fraction_of_its_size_from_the_first_batches_on(folder: Path) -> None:
    ((before, quarter, whole),) = memory_of(folder, "stream")
    assert whole - before < DECODED / 3
    assert whole - quarter < DECODED / 10
