"""What making the batches and Lightning's loop add to a step.

Lightning, its metrics and our callbacks cost the same time whatever the network does, so they are measured around a
tiny supernet, where they stand out, and compared with a step of the supernet that is asked for.
"""

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as pl
import torch
from rich.console import Console

from archselect import kernels
from archselect.data import BilevelBatches, DeviceLoader
from archselect.data.augmentation import Augmentation, Normalisation
from archselect.search import SearchModule
from archselect.store import StageFolder, StageKey
from archselect.tasks import Classification
from archselect.training.fit import Loaders, StageTrainer
from archselect.training.progress import Progress
from archselect.training.step import optimizer_step
from benchmarks.measuring import medians
from benchmarks.output import show, show_table
from benchmarks.settings import (
    CLASSES,
    IMAGE_SIZE,
    THREE,
    Conditions,
    Setting,
    add_conditions,
    add_supernets,
    conditions,
    settings,
)
from benchmarks.sides import Package, data_for

TINY = Setting("s2", channels=4, depth=3)
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def batches(size: int, steps: int, device: str) -> BilevelBatches:
    """Return augmented batches of random images that lie on the device."""

    def half(purpose: str) -> DeviceLoader:
        generator = torch.Generator().manual_seed(0)
        shape = (size * steps, 3, IMAGE_SIZE, IMAGE_SIZE)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(CLASSES, shape[:1], generator=generator)
        return DeviceLoader(images, labels, size, device, NORMALISATION, (0, purpose), Augmentation(), shuffle=True)

    return BilevelBatches(half("weights"), half("alpha"))


def seconds_per_batch_pair(under: Conditions, steps: int = 100) -> float:
    """Return how long it takes to make the two batches of a step."""
    made = batches(under.batch, steps, under.device)

    def read() -> None:
        for _ in made:
            pass

    return medians([read], repeat=3, device=under.device)[0] / steps


def lightning_seconds_per_step(under: Conditions, steps: int = 200, repeat: int = 5) -> float:
    """Return what Lightning's loop, metrics and callbacks add to a step, beside a bare loop over the same steps."""
    made = batches(4, steps, under.device)

    def module() -> SearchModule:
        return SearchModule(TINY.build(), TINY.method(), Classification(), CLASSES, rng_key=())

    def bare() -> None:
        search = module().to(under.device)
        (weights, alpha), _ = search.configure_optimizers()
        for batch in made:
            optimizer_step(alpha, search.supernet.architecture_parameters(), search.alpha_gradients(batch))
            *_, of_weights = search.weight_gradients(batch)
            optimizer_step(weights, search.supernet.weight_parameters(), of_weights, search.method.gradient_clip)

    def with_lightning() -> None:
        with TemporaryDirectory() as folder:
            accelerator = "gpu" if under.device == "cuda" else "cpu"
            trainer = partial(pl.Trainer, accelerator=accelerator, devices=1)
            stage = StageFolder(Path(folder), StageKey("search", "overhead", {}))
            fitting = StageTrainer(stage, trainer, Progress(Console(quiet=True), "search"), lambda record: None)
            fitting.fit(module(), lambda device: Loaders(made, None, len(made) * 4), epochs=1)

    with kernels.enabled():
        loop, lightning = medians([bare, with_lightning], repeat, under.device)
    return (lightning - loop) / steps


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    add_supernets(parser, THREE)
    add_conditions(parser, batch=64, repeat=5)
    parser.add_argument("--steps", type=int, default=200, help="of an epoch of Lightning's (default: %(default)s)")


def run(options: Namespace) -> None:
    """Measure and print."""
    under = conditions(options)
    show(f"{under}")
    feeding = seconds_per_batch_pair(under)
    lightning = lightning_seconds_per_step(under, options.steps, options.repeat)
    rows = []
    for setting in settings(options):
        side = Package(setting, under)
        (step,) = medians([partial(side.step, data_for(side, under))], options.repeat, under.device)
        shares = (f"{1e3 * feeding:.2f}", f"{feeding / step:.2%}", f"{1e3 * lightning:.2f}", f"{lightning / step:.2%}")
        rows.append([setting.supernet, f"{1e3 * step:.0f}", *shares])
    heading = ["supernet", "step\nms", "two batches\nms", "share of step", "Lightning\nms", "share of step"]
    show_table(heading, rows)
