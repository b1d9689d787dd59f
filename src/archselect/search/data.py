"""The batches of a search: one part of the training images trains the weights, the other `alpha` (DARTS, sec. 3.1)."""

import torch

from archselect.data import Batches, BilevelBatches, ImageData, Images, batches_of, stratified_split
from archselect.distributed.rng import generator_for
from archselect.search.method import SearchMethod
from archselect.training.fit import Loaders


def architecture_images(data: ImageData, method: SearchMethod, seed: int) -> tuple[Images, Images]:
    """Return the images that train the weights and those that train `alpha`."""
    return _split(data.train, method.weight_share, (seed, "search", "split"))


def hold_out(images: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Return the held-out images, used for scoring only, and the rest."""
    return _split(images, share, (seed, "selection", "held out"))


def _split(images: Images, share: float, rng_key: tuple[int | str, ...]) -> tuple[Images, Images]:
    first, second = stratified_split(images.labels, share, generator_for(*rng_key))
    return images.select(first), images.select(second)


def search_loaders(
    data: ImageData, method: SearchMethod, device: torch.device, seed: int, stage: str, held_out_share: float = 0.0
) -> Loaders:
    """Return bilevel batches, validated on the images that train `alpha`; a held-out share of those trains nothing."""
    weights, architecture = architecture_images(data, method, seed)
    validation = architecture
    if held_out_share:
        validation, architecture = hold_out(architecture, held_out_share, seed)
    train = BilevelBatches(
        training_batches(data, weights, method.batch_size, device, (seed, stage, "weights")),
        training_batches(data, architecture, method.batch_size, device, (seed, stage, "architecture")),
    )
    return Loaders(train, fixed_batches(data, validation, 512, device, seed), len(weights.labels))


def training_batches(
    data: ImageData, images: Images, batch_size: int, device: torch.device, rng_key: tuple[int | str, ...]
) -> Batches:
    """Return batches on the device, augmented, in another order in every epoch."""
    return batches_of(images, batch_size, device, data.normalisation, rng_key, data.augmentation(), shuffle=True)


def fixed_batches(data: ImageData, images: Images, batch_size: int, device: torch.device, seed: int) -> Batches:
    """Return batches on the device, not augmented, in the one random order that a seed has for so many images.

    Whatever is validated, scored and analysed on the same images meets the same batches, in every pass and stage of a
    run, so that results can be compared. The first of them hold a random sample.
    """
    size = min(batch_size, len(images))
    return batches_of(images, size, device, data.normalisation, (seed, "fixed"))
