"""Images per second of retraining: the discrete network of the package beside the same network without its kernels.

The plain side is PyTorch's operators on images in the contiguous format, as in the official code.
"""

import sys
from argparse import ArgumentParser
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from archselect import kernels
from archselect.genotype import PUBLISHED
from archselect.models.discrete.network import DiscreteNetwork

from .conditions import Conditions, add_arguments, conditions
from .setting import CLASSES, IMAGE_SIZE, Setting
from .stopwatch import medians
from .table import aligned, show


def build(name: str, channels: int, layers: int) -> DiscreteNetwork:
    """Return the network of a published genotype, with the same weights at every call."""
    torch.manual_seed(0)
    space = Setting("darts").space()
    return space.network(PUBLISHED[name], IMAGE_SIZE, CLASSES, channels=channels, layers=layers)


def step(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, limits: Conditions, loops: bool) -> None:
    """Compute the gradient of one training step."""
    network.zero_grad()
    with limits.entered(), kernels.enabled(loops):
        loss = F.cross_entropy(network(images), labels)
    loss.backward()


def images_per_second(name: str, channels: int, layers: int, limits: Conditions, repeat: int) -> tuple[float, float]:
    """Return those of the package and of the plain side."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(limits.batch, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator).to(limits.device)
    labels = torch.randint(CLASSES, (limits.batch,), generator=generator).to(limits.device)
    last = images.contiguous(memory_format=torch.channels_last)
    fast, plain = (build(name, channels, layers).to(limits.device) for _ in range(2))

    runs = [
        partial(step, fast, last, labels, limits, loops=True),
        partial(step, plain, images, labels, limits, loops=False),
    ]
    seconds = medians(runs, repeat, limits.device)
    return limits.batch / seconds[0], limits.batch / seconds[1]


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(prog="python -m tests.speed.retraining", description=__doc__)
    parser.add_argument("--genotype", choices=sorted(PUBLISHED), action="append", help="may be repeated")
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    add_arguments(parser, batch=96)
    arguments = parser.parse_args()
    try:
        limits = conditions(arguments)
    except ValueError as error:
        sys.exit(str(error))
    limits.apply()
    show(f"C={arguments.channels}, L={arguments.layers}, {limits}\n")
    rows = [["genotype", "images/s", "plain\nimages/s", "ratio"]]
    for name in arguments.genotype or ["DARTS_V2", "darts_pt_s5_3"]:
        fast, plain = images_per_second(name, arguments.channels, arguments.layers, limits, arguments.repeat)
        rows.append([name, f"{fast:.1f}", f"{plain:.1f}", f"{fast / plain:.2f}"])
    show(aligned(rows))


if __name__ == "__main__":
    main()
