"""A network as one file of weights, `.safetensors`: tensors by name, and a description as JSON from which it is built.

Such a file holds no code. What it names is built as what a run's config names is: classes of this package, and of
packages that one trusts.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from archselect.deployment.network import Description, TrainedNetwork, build
from archselect.pipeline.config import instantiate_part
from archselect.safe_io.config import check_targets
from archselect.safe_io.files import nodes, parse_json
from archselect.safe_io.tensors import check_fits
from archselect.tasks import Task
from archselect.utils.errors import extra

KEY = "archselect"
"""Of the description in the file's metadata."""


def write_weights(network: TrainedNetwork, path: Path) -> None:
    """Write the weights and statistics of a network, and what it is."""
    with extra("export", "A .safetensors file"):
        from safetensors.torch import save
    state = {name: value.clone().contiguous() for name, value in network.network.state_dict().items()}  # some are tied
    path.write_bytes(save(state, {KEY: json.dumps(asdict(network.description)), "format": "pt"}))


def read_weights(path: Path, trusted: Sequence[str] = ()) -> TrainedNetwork:
    """Return the network in a file that `write_weights` wrote, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, was written by another program, or describes another network than it holds.
    """
    with extra("export", "A .safetensors file"):
        from safetensors import SafetensorError, safe_open
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. python export.py run=FOLDER format=safetensors writes one.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no .safetensors file: {error}") from error
    description = _description(metadata, path)
    check_targets(asdict(description), path, trusted)
    space = instantiate_part(OmegaConf.create({"search_space": dict(description.search_space)}), "search_space")
    with torch.device("meta"):  # the file bounds what is made
        check_fits(build(description, space), state, path)
    with torch.random.fork_rng(devices=[]):
        network = build(description, space)
    network.load_state_dict(state)
    task: Task = instantiate_part(OmegaConf.create({"task": dict(description.task)}), "task")
    lists = {name: value for name, value in vars(task).items() if isinstance(value, list)}
    return TrainedNetwork(network, description, task.restored(lists)).eval()


def _description(metadata: dict[str, str], path: Path) -> Description:
    if KEY not in metadata:
        raise ValueError(
            f"{path} does not say which network it holds: it was not written by python export.py. Build the network "
            "yourself, and give it the tensors of safetensors.torch.load_file."
        )
    wrong = f"{path} is damaged: what it says of its network is no description of one"
    try:
        values: Any = parse_json(metadata[KEY])
    except ValueError as error:
        raise ValueError(f"{wrong} ({error}).") from error
    names = [field.name for field in fields(Description)]
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        raise ValueError(f"{wrong}, which has {', '.join(names)}.")
    if any("$" in part for _, part in nodes(values) if isinstance(part, str)):
        raise ValueError(f"{wrong}: it refers to something outside of it, which is not looked up.")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Description(**given)
