"""Does a file compute what its network computes? It is compared on random images and on the run's test images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from archselect.data import Normalisation
from archselect.data.stream import batches_of
from archselect.deployment.formats import Compute, Deployed, Image
from archselect.distributed.rng import generator_for
from archselect.pipeline.finished_run import FinishedRun

BATCHES = (1, 2, 5)
"""Images in each of the random batches: their number is free."""


@dataclass(frozen=True)
class Agreement:
    """How far a file and its network lie apart.

    Attributes:
        tolerance: The largest difference that is allowed.
        difference: The largest there was of any output, as a share of the largest output of its batch, or of 1.
        random_images: How many of them were compared.
        test_images: Likewise of the run's.
    """

    tolerance: float
    difference: float
    random_images: int
    test_images: int


def random_images(images: Image) -> Iterator[Tensor]:
    """Yield batches of pixels between 0 and 1, of several numbers and sizes."""
    generator = generator_for("exported", "random images")
    for size in images.sizes:
        for count in BATCHES:
            yield torch.rand(count, images.channels, *size, generator=generator)


def test_images(run: FinishedRun, normalizes: bool, most: int | None) -> Iterator[Tensor]:
    """Yield batches of the run's test images, `most` in all, as a file takes them that normalises or does not."""
    data = run.parts.data
    plain = Normalisation((0.0,) * data.channels, (1.0,) * data.channels)
    test = data.test if most is None else data.test.select(torch.arange(min(most, len(data.test))))
    given = plain if normalizes else data.normalisation
    for batch, _ in batches_of(test, min(256, len(test)), "cpu", given, ("exported", "test images")):
        yield batch.contiguous()


@torch.no_grad()
def compared(compute: Compute, deployed: Deployed, batches: Iterable[Tensor], tolerance: float) -> tuple[float, int]:
    """Return the largest difference between a file and its network, and on how many images.

    Raises:
        ValueError: It is larger than the tolerance.
    """
    largest, count = 0.0, 0
    for images in batches:
        expected, found = deployed(images), compute(images)
        difference = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
        if not difference <= tolerance:  # NaN lies nowhere
            raise ValueError(
                f"The file computes something else than the network: of {len(images)} images an output differs by "
                f"{difference:.2g} of the largest, where tolerance={tolerance:g} is allowed. It was not kept."
            )
        largest, count = max(largest, difference), count + len(images)
    return largest, count
