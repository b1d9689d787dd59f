"""What is checked before a run computes anything: that its parts go together, and that the data are enough for them."""

from collections.abc import Mapping, Sized

import torch
from omegaconf import DictConfig
from torch import Tensor

from archselect.data import stratified_split
from archselect.evaluation import Retraining
from archselect.evaluation.nasbench201 import DATA_SETS
from archselect.models.cell_space import CellSpace
from archselect.pipeline.config import Components, instantiate_part
from archselect.pipeline.limits import check_limits
from archselect.results.metric import Mode
from archselect.search import SearchMethod
from archselect.selection import Selector
from archselect.training.cuda_graphs import check_capture
from archselect.training.devices import check_trainer, parts_of_batch, process_count
from archselect.utils.errors import UserError


def check_objective(config: DictConfig) -> None:
    """Raise a `UserError` where the run will not have the `optimized_metric` that is named, or it is a test score."""
    metric, there = config.optimized_metric, validation_scores(config)
    if metric is None or metric in there:
        return
    choices = f"This run will have {', '.join(there)}." if there else "This run will have no validation score."
    if "test" in str(metric) or "rank" in str(metric):  # the table ranks by test accuracy
        reason = "is a test score: what is chosen by it can no longer be judged by it"
    else:
        reason = "is no validation score of this run"
    if config.evaluation.get("validation_share") == 0:
        choices += (
            f" evaluation={config.evaluation.name} retrains on all images; evaluation.validation_share=0.1 holds a "
            f"tenth of them out and adds evaluation.val_{instantiate_part(config, 'task').metric}."
        )
    raise UserError(f"optimized_metric={metric} {reason}. {choices}")


def validation_scores(config: DictConfig) -> dict[str, Mode]:
    """Return the validation scores that the summary of a run will have, each with which way is better."""
    evaluation, task = config.evaluation, instantiate_part(config, "task")
    metrics: dict[str, Mode] = {task.metric: task.mode}
    for name, metric in task.metrics(outputs=2).items():
        if "_per_" not in name:  # one number per class is no score
            metrics[name] = "min" if metric.higher_is_better is False else "max"
    scores = {f"search.val_{name}": mode for name, mode in metrics.items()} if config.genotype is None else {}
    if evaluation.get("validation_share"):
        scores |= {f"evaluation.val_{name}": mode for name, mode in metrics.items()} | {"evaluation.val_loss": "min"}
    if "table" in evaluation:
        scores |= {f"evaluation.{data}_valid": "max" for data in DATA_SETS}
    return scores


def check(parts: Components) -> None:
    """Raise a ValueError for parts that do not go together; nothing is computed or decoded."""
    space, data, genotype = parts.space, parts.data, parts.genotype
    device, processes = check_trainer(parts.trainer), process_count(parts.trainer)
    for option, part in (("search.capture", parts.search), ("evaluation.capture", parts.evaluation)):
        check_capture(option, part.capture, device)
        if processes > 1 and part.capture != "none":
            raise ValueError(
                f"{option}={part.capture} records a step of one process, but with trainer.devices above 1 the "
                f"processes speak to each other in every step. Use {option}=none, or trainer.devices=1."
            )
    parts.selection.check(space.cells)
    parts.selection.check_task(parts.task)
    check_pair(parts.search, parts.selection, space.cells)
    if genotype is not None:
        space.check(genotype)
    # These are told by the data, whose labels are no tensors of the kind below.
    size, outputs, channels = data.image_size, parts.task.outputs(data), data.channels
    space.check_variant(parts.search.variant)
    with torch.device("meta"):
        space.supernet(size, outputs, parts.search.variant, channels)
    parts.evaluation.check(space, genotype, data, parts.task)
    check_limits(parts)


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


def check_task(parts: Components) -> None:
    """Raise a ValueError where the targets of the training images do not fit the task; no image is decoded."""
    parts.task.check_targets(parts.data, parts.data.train_labels, "train")


def check_data(parts: Components) -> None:
    """Decode the images that the stages will read and cut them up as they will.

    Raises:
        ValueError: The targets do not fit the task, an image is damaged, a part is empty, a batch is larger than its
            part.
    """
    check_task(parts)
    parts.task.check(parts.data)
    parts.task.learnt(parts.task.fitted(parts.data))  # can it be kept?
    if parts.genotype is None:
        check_search_images(parts)
    if isinstance(parts.evaluation, Retraining):
        _check_retraining_images(parts, parts.evaluation)


def check_search_images(parts: Components) -> None:
    """Decode the images of the search and cut them up as it will; raises a ValueError like `check_data`."""
    search, scoring = parts.search, parts.selection.scoring
    weights, architecture = _split("search.weight_share", parts.data.train.labels, search.weight_share)
    scored = architecture
    if scoring is not None and scoring.held_out_share:
        scored, architecture = _split("selection.scoring.held_out_share", architecture, scoring.held_out_share)
    size = search.batch_size
    _check_trained(parts, "search.batch_size", size, weights, "train the weights (search.weight_share of all)")
    _check_trained(parts, "search.batch_size", size, architecture, "train alpha (the others)")
    _check_scored(parts, "selection.scoring.held_out_share", scored)
    if scoring is not None and scoring.batch_size is not None:
        _check_batch("selection.scoring.batch_size", scoring.batch_size, scored, "are scored on")


def _check_retraining_images(parts: Components, evaluation: Retraining) -> None:
    images, share = parts.data.train.labels, evaluation.validation_share
    if share:
        validation, images = _split("evaluation.validation_share", images, share)
        _check_scored(parts, "evaluation.validation_share", validation)
    _check_trained(parts, "evaluation.batch_size", evaluation.batch_size, images, "are trained on")
    parts.task.check_targets(parts.data, parts.data.test_labels, "test")
    _check_scored(parts, "the test images", parts.data.test_labels)  # no search sees a test image


def _check_trained(parts: Components, option: str, size: int, labels: Tensor, purpose: str) -> None:
    """Raise a ValueError where there is no whole batch, or one has too few images for every device to normalise."""
    _check_batch(option, size, labels, purpose)
    devices = process_count(parts.trainer)
    least = devices if devices == 1 or parts_of_batch(parts.trainer) == 1 else 2 * devices
    last = len(labels) % size
    if size < least or 1 < last < least:  # a last batch of a single image is left out
        which, images = ("a batch", size) if size < least else ("the last batch", last)
        raise ValueError(
            f"{option}={size}: of the {len(labels)} images that {purpose}, {which} has {images}, but trainer.devices "
            f"asks for at least {least} in every batch. Choose another batch size or fewer devices."
        )


def _check_batch(option: str, size: int, labels: Tensor, purpose: str) -> None:
    if size > len(labels):
        raise ValueError(f"{option} is {size}, but only {len(labels)} images {purpose}. Lower it or use more images.")


def _check_scored(parts: Components, option: str, labels: Sized) -> None:
    if len(labels) < (devices := process_count(parts.trainer)):
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
