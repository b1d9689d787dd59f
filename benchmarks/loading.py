"""Images per second and peak memory where images are kept in memory, or stay on disk and are decoded for every epoch.

Each row is a process of its own, which reads a synthetic set of noisy JPEGs (500 x 375 pixels, scaled to the size that
is asked for) in the order of an epoch, augmented, and does nothing with the batches. For a comparison, a DataLoader has
worker processes in place of threads and augments nothing; their memory is not counted. The system caches the files.
"""

import io
import multiprocessing
import tarfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from archselect.data import ImageData, ImageFolder, StreamedImages, TarShards, batches_of
from archselect.data.stream import Storage
from archselect.training.fit import peak_resident
from benchmarks.output import show, show_table

WIDTH, HEIGHT, CLASSES, DIFFERENT = 500, 375, 10, 64


class Case(NamedTuple):
    """What is read, and how."""

    name: str
    storage: Storage
    workers: int
    shards: bool = False
    processes: bool = False


def cases(workers: Iterable[int]) -> list[Case]:
    """Return the rows of the table."""
    found = [Case("memory", "memory", 1)]
    for count in workers:
        found.append(Case(f"folder, {count} threads", "stream", count))
        found.append(Case(f"tar shards, {count} threads", "stream", count, shards=True))
        found.append(Case(f"folder, {count} processes (DataLoader)", "stream", count, processes=True))
    return found


def write(folder: Path, images: int) -> None:
    """Write the images as a folder of classes, and as one shard per class."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(min(images, DIFFERENT)):
        coarse = Image.fromarray(generator.integers(256, size=(12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + generator.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    for label in range(CLASSES):
        place = folder / "train" / f"{label}"
        place.mkdir(parents=True)
        with tarfile.open(folder / f"train-{label:04}.tar", "w") as shard:
            for number in range(label, images, CLASSES):
                content = encoded[number % DIFFERENT]
                (place / f"{number}.jpg").write_bytes(content)
                for ending, data in (("jpg", content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number}.{ending}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))


def measure(case: Case, folder: Path, size: int, batch: int, device: str) -> tuple[float, float, float]:
    """Return images per second of an epoch, seconds before its first batch, and GB of this process's peak memory."""
    torch.set_num_threads(1)
    source = TarShards() if case.shards else ImageFolder()
    given: Any = {"mean": [0.5] * 3, "std": [0.25] * 3, "classes": CLASSES, "image_size": size, "channels": 3}
    given |= {"pad": size // 8, "flip": True, "train_subset": None, "path": folder}
    data = ImageData("loading", source, storage=case.storage, workers=case.workers, **given)
    started = time.perf_counter()
    images = data.train
    batches: Any = batches_of(
        images, batch, device, data.normalisation, ("loading",), data.augmentation(), shuffle=True
    )
    if case.processes:
        assert isinstance(images, StreamedImages)
        read = partial(_pixels, images)
        rows: Any = range(len(images))
        context: Any = {"num_workers": case.workers, "multiprocessing_context": "fork"}
        batches = DataLoader(rows, batch, shuffle=True, collate_fn=read, **context)
    count, first = 0, 0.0
    for number, _ in enumerate(batches):
        if number == 0:
            first = time.perf_counter()
        else:
            count += batch
    seconds = time.perf_counter() - first
    return count / seconds, first - started, peak_resident() / 1e9


def _pixels(images: StreamedImages, positions: list[int]) -> torch.Tensor:
    pixels = np.empty((len(positions), *images.form.shape), dtype=np.uint8)
    images.read(positions, pixels)
    return torch.from_numpy(pixels)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--images", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="pixels they are scaled to (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="that decode (default: 1 2)")
    parser.add_argument("--device", default="cpu", help="that the batches go to (default: %(default)s)")


def run(options: Namespace) -> None:
    """Measure and print."""
    rows = []
    with TemporaryDirectory() as place:
        write(Path(place), options.images)
        for case in cases(options.workers):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                arguments = case, Path(place), options.size, options.batch, options.device
                pace, before, peak = pool.submit(measure, *arguments).result()
            rows.append([case.name, f"{pace:,.0f}", f"{before:.1f}", f"{peak:.2f}"])
    show(f"{options.images:,} images of {options.size} x {options.size} pixels, batches of {options.batch}")
    show_table(["", "images/s", "first batch after\ns", "peak memory\nGB"], rows)
