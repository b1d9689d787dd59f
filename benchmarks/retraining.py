"""Images per second of a discrete network, beside the same network without the package's kernels.

The plain side is PyTorch's operators on images in the contiguous format, as in the official code.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.genotype import PUBLISHED
from archselect.models.discrete.network import DiscreteNetwork
from archselect.training.cuda_graphs import capture_for
from benchmarks.measuring import medians
from benchmarks.output import show, show_table
from benchmarks.settings import CLASSES, IMAGE_SIZE, Conditions, Setting, add_conditions, conditions

DEFAULT = ("DARTS_V2", "darts_pt_s5_3")


def build(name: str, channels: int, layers: int) -> DiscreteNetwork:
    """Return the network of a published genotype, with the same weights at every call."""
    torch.manual_seed(0)
    space = Setting("darts").space()
    return space.network(PUBLISHED[name], IMAGE_SIZE, CLASSES, channels=channels, layers=layers)


def images_per_second(name: str, channels: int, layers: int, under: Conditions, repeat: int) -> tuple[float, float]:
    """Return those of the package, captured as the conditions say, and of the plain side, eager."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(under.batch, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator).to(under.device)
    labels = torch.randint(CLASSES, (under.batch,), generator=generator).to(under.device)
    package, plain = (build(name, channels, layers).to(under.device) for _ in range(2))

    def gradients(network: nn.Module, loops: bool, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
        with under.entered(), kernels.enabled(loops):
            loss = F.cross_entropy(network(images), labels)
        return torch.autograd.grad(loss, list(network.parameters()))

    capture = capture_for(under.capture, torch.device(under.device), package)
    last = images.contiguous(memory_format=torch.channels_last)
    runs = [
        partial(capture, "step", partial(gradients, package, True), (last, labels)),
        partial(gradients, plain, False, images, labels),
    ]
    seconds = medians(runs, repeat, under.device)
    return under.batch / seconds[0], under.batch / seconds[1]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    some = f"one or more; default: {' '.join(DEFAULT)}"
    parser.add_argument("--genotype", choices=sorted(PUBLISHED), nargs="+", default=list(DEFAULT), help=some)
    parser.add_argument("--channels", type=int, default=36, help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=20, help="default: %(default)s")
    add_conditions(parser, batch=96, repeat=3, captures=True)


def run(options: Namespace) -> None:
    """Measure and print."""
    under = conditions(options)
    show(f"C={options.channels}, L={options.layers}, {under}\n")
    rows = []
    for name in options.genotype:
        package, plain = images_per_second(name, options.channels, options.layers, under, options.repeat)
        rows.append([name, f"{package:.1f}", f"{plain:.1f}", f"{package / plain:.2f}"])
    show_table(["genotype", "images/s", "plain\nimages/s", "ratio"], rows)
