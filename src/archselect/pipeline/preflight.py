"""What is checked before a run computes anything: that its parts go together, and that the data are enough for them."""

from collections.abc import Mapping, Sized

import torch
from torch import Tensor

from archselect.data import ImageData, stratified_split
from archselect.evaluation import NASBench201Lookup, Retraining
from archselect.models.cell_space import CellSpace
from archselect.pipeline.config import Components
from archselect.search import SearchMethod
from archselect.selection import Selector
from archselect.training.cuda_graphs import check_capture
from archselect.training.devices import check_trainer, parts_of_batch, process_count


def check(parts: Components) -> None:
    """Raise a ValueError for parts that do not go together; nothing is computed or decoded."""
    space, data, evaluation = parts.space, parts.data, parts.evaluation
    device = check_trainer(parts.trainer)
    several = process_count(parts.trainer) > 1
    check_capture("search.capture", parts.search.capture, device)
    _check_not_captured("search.capture", parts.search.capture, several)
    parts.selection.check(space.cells)
    check_pair(parts.search, parts.selection, space.cells)
    if parts.genotype is not None:
        space.check(parts.genotype)
    size, classes = data.image_size, data.classes  # told by the data, whose labels are no tensors of the kind below
    with torch.device("meta"):
        space.supernet(size, classes, parts.search.variant)
    if isinstance(evaluation, Retraining):
        check_capture("evaluation.capture", evaluation.capture, device)
        _check_not_captured("evaluation.capture", evaluation.capture, several)
        _check_network(parts, evaluation)
        data.augmentation(evaluation.cutout)
    if isinstance(evaluation, NASBench201Lookup):
        _check_table(parts, evaluation)


def _check_not_captured(option: str, capture: str, several: bool) -> None:
    if several and capture != "none":
        raise ValueError(
            f"{option}={capture} records a step of one process, but with trainer.devices above 1 the processes speak "
            f"to each other in every step. Use {option}=none, or trainer.devices=1."
        )


def check_pair(search: SearchMethod, selection: Selector, cells: Mapping[str, CellSpace]) -> None:
    """Raise a ValueError for a search and a selection that make no sense together."""
    if selection.needs_candidates and search.decides_all(cells):
        raise ValueError(
            f"search={search.name} decides every edge while it trains, so selection={selection.name} would have "
            "nothing to compare. Lower search.greedy.share, or choose selection=magnitude, which takes what is decided."
        )
    if selection.needs_trained_alpha and search.architecture_gradient is None:
        raise ValueError(
            f"selection={selection.name} reads the size of alpha, but search={search.name} never trains alpha: it "
            "would read the initialisation. Choose a selection that scores the supernet, such as perturb, or another "
            "search."
        )


def check_data(parts: Components) -> None:
    """Decode the images that the stages will read and cut them up as they will.

    Raises:
        ValueError: An image is damaged, there is but one class, a part is empty, a batch is larger than its part.
    """
    _check_classes(parts.data)
    if parts.genotype is None:
        check_search_images(parts)
    if isinstance(parts.evaluation, Retraining):
        _check_retraining_images(parts, parts.evaluation)


def _check_network(parts: Components, evaluation: Retraining) -> None:
    space, data = parts.space, parts.data
    try:
        with torch.device("meta"):
            space.network(parts.genotype or space.example(), data.image_size, data.classes, **evaluation.skeleton)
    except TypeError as error:
        raise ValueError(
            f"evaluation={evaluation.name} does not fit search space {space.name!r}: it makes the network of "
            f"{', '.join(sorted(evaluation.skeleton))}, not all of which networks of this space have. Choose another "
            "evaluation, or leave evaluation=... out for the one that suits the space."
        ) from error
    except ValueError as error:
        raise ValueError(f"evaluation.network: {error}") from error


def _check_table(parts: Components, evaluation: NASBench201Lookup) -> None:
    if set(parts.space.cells) != {"cell"}:
        raise ValueError(
            "evaluation=nasbench201 looks up NAS-Bench-201 cells, but the search space is "
            f"{parts.space.name!r}. Choose search_space=nasbench201, or leave evaluation=... out for the one that "
            "suits the space."
        )
    table = evaluation.load()
    if parts.genotype is None:
        table.check_covers(parts.space.cells["cell"].operations)
    else:
        table.look_up(parts.genotype)


def check_search_images(parts: Components) -> None:
    """Decode the images of the search and cut them up as it will; raises a ValueError like `check_data`."""
    search, scoring = parts.search, parts.selection.scoring
    weights, architecture = _split("search.weight_share", parts.data.train.labels, search.weight_share)
    scored = architecture
    if scoring is not None and scoring.held_out_share:
        scored, architecture = _split("selection.scoring.held_out_share", architecture, scoring.held_out_share)
    least = _least(parts)
    halves = {"train the weights (search.weight_share of all)": weights, "train alpha (the others)": architecture}
    for purpose, labels in halves.items():
        _check_batch("search.batch_size", search.batch_size, labels, purpose)
        _check_spread("search.batch_size", search.batch_size, labels, purpose, least)
    _check_scored("selection.scoring.held_out_share", scored, process_count(parts.trainer))
    if scoring is not None and scoring.batch_size is not None:
        _check_batch("selection.scoring.batch_size", scoring.batch_size, scored, "are scored on")


def _check_retraining_images(parts: Components, evaluation: Retraining) -> None:
    images, share = parts.data.train.labels, evaluation.validation_share
    if share:
        validation, images = _split("evaluation.validation_share", images, share)
        _check_scored("evaluation.validation_share", validation, process_count(parts.trainer))
    _check_batch("evaluation.batch_size", evaluation.batch_size, images, "are trained on")
    _check_spread("evaluation.batch_size", evaluation.batch_size, images, "are trained on", _least(parts))
    _check_scored(
        "the test images", parts.data.test_labels, process_count(parts.trainer)
    )  # no search sees a test image


def _check_classes(data: ImageData) -> None:
    """Raise a ValueError where all images are of one class."""
    counts = data.count_classes(data.train.labels)
    if sum(count > 0 for count in counts) < 2:
        (only,) = (name for name, count in zip(data.class_names, counts, strict=True) if count)
        raise ValueError(
            f"All {sum(counts)} training images of data={data.name} are of one class, {only!r}, so there is nothing to "
            "tell apart and every network would be right. Expected two classes or more: for image folders, "
            "train/CLASS/IMAGE.png with a folder per class; for tables, another data.source.label_column."
        )


def _least(parts: Components) -> int:
    """Return the fewest images that a batch can have so that each device has enough to normalise."""
    devices = process_count(parts.trainer)
    return devices if devices == 1 or parts_of_batch(parts.trainer) == 1 else 2 * devices


def _check_spread(option: str, size: int, labels: Tensor, purpose: str, least: int) -> None:
    """Raise a ValueError where a batch is too small to be spread over the devices."""
    last = len(labels) % size
    if size < least or 1 < last < least:  # a last batch of a single image is left out
        which, images = ("a batch", size) if size < least else ("the last batch", last)
        raise ValueError(
            f"{option}={size}: of the {len(labels)} images that {purpose}, {which} has {images}, but trainer.devices "
            f"asks for at least {least} in every batch. Choose another batch size or fewer devices."
        )


def _check_scored(option: str, labels: Sized, devices: int) -> None:
    if len(labels) < devices:
        raise ValueError(
            f"trainer.devices={devices}, but only {len(labels)} images are scored on ({option}). Use fewer devices."
        )


def _split(option: str, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the labels of the two parts; which images go where does not matter here."""
    try:
        first, second = stratified_split(labels, share, torch.Generator())
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    return labels[first], labels[second]


def _check_batch(option: str, size: int, labels: Tensor, purpose: str) -> None:
    if size > len(labels):
        raise ValueError(f"{option} is {size}, but only {len(labels)} images {purpose}. Lower it or use more images.")
