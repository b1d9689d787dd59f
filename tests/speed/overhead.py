"""What a search costs beside its steps: making the batches, and Lightning's loop.

Lightning, its metrics and our callbacks cost the same time whatever the network does, so they are measured around a
tiny supernet, where they stand out, and compared with a step of the supernet that is asked for.
"""

from argparse import ArgumentParser
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
from archselect.training.devices import for_this_process
from archselect.training.fit import Loaders, StageTrainer
from archselect.training.progress import Progress

from .conditions import Conditions, add_arguments, conditions
from .setting import CLASSES, IMAGE_SIZE, SUPERNETS, Setting
from .sides import Fast, data_for
from .stopwatch import medians, seconds
from .table import aligned, show

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


def seconds_per_batch_pair(limits: Conditions, steps: int = 100) -> float:
    """Return how long it takes to make the two batches of a step."""
    made = batches(limits.batch, steps, limits.device)

    def read() -> None:
        for _ in made:
            pass

    return medians([read], repeat=3, device=limits.device)[0] / steps


def lightning_seconds_per_step(limits: Conditions, steps: int = 200) -> float:
    """Return what Lightning's loop, metrics and callbacks add to a step, beside a bare loop over the same steps."""
    made = batches(4, steps, limits.device)

    def module() -> SearchModule:
        return SearchModule(TINY.build(), TINY.method(), CLASSES, rng_key=())

    def bare() -> None:
        search = module().to(limits.device)
        weights, alpha = (made["optimizer"] for made in search.configure_optimizers())
        for weight_batch, architecture_batch in made:
            for optimizer, gradients in (
                (alpha, search._architecture_gradients(*weight_batch, *architecture_batch)),
                (weights, search._weight_gradients(*weight_batch)[-1]),
            ):
                (group,) = optimizer.param_groups
                for parameter, gradient in zip(group["params"], gradients, strict=True):
                    parameter.grad = gradient
                if optimizer is weights:
                    torch.nn.utils.clip_grad_norm_(group["params"], search.method.gradient_clip)
                optimizer.step()
                optimizer.zero_grad()

    def with_lightning() -> None:
        with TemporaryDirectory() as folder:
            accelerator = "gpu" if limits.device == "cuda" else "cpu"
            trainer = for_this_process(partial(pl.Trainer, accelerator=accelerator, devices=1))
            progress = Progress(Console(quiet=True), "search")
            stage = StageFolder(Path(folder), StageKey("search", "overhead", {}))
            fitting = StageTrainer(stage, trainer, progress, lambda record: None)
            fitting.fit(module(), lambda device: Loaders(made, None, len(made) * 4), epochs=1)

    with kernels.enabled():
        loop, lightning = medians([bare, with_lightning], repeat=5, device=limits.device)
    return (lightning - loop) / steps


def measure(supernets: list[str], limits: Conditions) -> str:
    """Return the table."""
    feeding, lightning = seconds_per_batch_pair(limits), lightning_seconds_per_step(limits)
    rows = [["supernet", "step\nms", "two batches\nms", "share of step", "Lightning\nms", "share of step"]]
    for supernet in supernets:
        side = Fast(Setting(supernet), limits)
        data = data_for(side, limits)
        side.step(data)
        step = seconds(lambda side=side, data=data: side.step(data), limits.device)  # type: ignore[misc]
        shares = (f"{1e3 * feeding:.2f}", f"{feeding / step:.2%}", f"{1e3 * lightning:.2f}", f"{lightning / step:.2%}")
        rows.append([supernet, f"{1e3 * step:.0f}", *shares])
    return aligned(rows)


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(prog="python -m tests.speed.overhead", description=__doc__)
    parser.add_argument("--supernet", choices=SUPERNETS, action="append", help="may be repeated; default: three")
    add_arguments(parser, batch=64)
    arguments = parser.parse_args()
    limits = conditions(arguments)
    limits.apply()
    show(f"{limits}\n")
    show(measure(arguments.supernet or ["darts", "s2", "nasbench201"], limits))


if __name__ == "__main__":
    main()
