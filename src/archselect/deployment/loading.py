"""Trained networks, opened again: `load_network(run)`, or of a file that was exported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from archselect.deployment.network import Description, TrainedNetwork, build
from archselect.deployment.weights_file import read_weights
from archselect.evaluation import Retraining
from archselect.pipeline.config import to_plain_dict
from archselect.pipeline.evaluation_stage import NETWORK
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.safe_io import tensors


def load_network(run: str | Path | FinishedRun, trusted: Sequence[str] = ()) -> TrainedNetwork:
    """Return the network that a run trained, in evaluation mode, on the CPU.

    Like all that is read of a run, it runs no code of whoever made the file.

    Args:
        run: The folder of a finished run, what `open_run` returned, or a `.safetensors` file of `python export.py`.
        trusted: As of `open_run`.

    Raises:
        ValueError: The run trained no network, or its file is damaged or that of another network.

    Example:
        >>> network = archselect.load_network(folder)
        >>> network.image_size, network.channels, len(network.classes)
        (8, 3, 10)
        >>> import torch
        >>> pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> network(network.normalize(pixels)).shape
        torch.Size([2, 10])
    """
    if not isinstance(run, FinishedRun) and Path(run).suffix == ".safetensors":
        return read_weights(Path(run), trusted)
    found = run if isinstance(run, FinishedRun) else open_run(run, trusted=trusted)
    file = _file(found)
    found.say_changed_code("evaluation")
    description, space = _description(found), found.parts.space
    auxiliary = bool(found.parts.evaluation.skeleton.get("auxiliary"))  # type: ignore[attr-defined]
    with torch.device("meta"):  # the file bounds what is made: a config could ask for more than this machine has
        tensors.check_fits(build(description, space, auxiliary), tensors.load_state(file), file)
    with torch.random.fork_rng(devices=[]):
        network = build(description, space, auxiliary)
    tensors.load_into(network, file)
    network.auxiliary = None
    fitted = _fitted(found.stage("evaluation").result)
    return TrainedNetwork(network, description, found.parts.task.restored(fitted)).eval()


def _file(run: FinishedRun) -> Path:
    """Return the file of the network that a run trained; a ValueError says that it trained none."""
    evaluation = run.parts.evaluation
    if not isinstance(evaluation, Retraining):
        raise ValueError(
            f"The run {run.folder} trained no network: it has evaluation={evaluation.name}. Type its command again "
            "with one that trains, such as evaluation=retrain_small; search and selection are not made again."
        )
    return run.stage("evaluation").folder.path / NETWORK


def _description(run: FinishedRun) -> Description:
    result, parts = run.stage("evaluation").result, run.parts
    evaluation: Any = parts.evaluation
    if missing := [name for name in ("mean", "std") if not isinstance(result.get(name), list)]:
        raise ValueError(f"The evaluation of the run {run.folder} does not say the {missing[0]} of its images.")
    return Description(
        search_space=to_plain_dict(run.config.search_space),
        skeleton={name: value for name, value in evaluation.network.items() if name != "auxiliary"},
        genotype=str(run.genotype),
        classes=tuple(map(str, run.summary.get("class_names") or parts.data.class_names)),
        outputs=parts.task.outputs(parts.data),
        image_size=result.get("image_size") or parts.data.image_size,
        channels=result.get("channels") or parts.data.channels,
        mean=tuple(result["mean"]),
        std=tuple(result["std"]),
        task={**to_plain_dict(run.config.task), **_fitted(result)},
    )


def _fitted(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a task that follow from the training images; an older result has a regression's only."""
    if isinstance(fitted := result.get("fitted"), dict):
        return fitted
    return {name: result[f"target_{name}"] for name in ("mean", "std") if f"target_{name}" in result}
