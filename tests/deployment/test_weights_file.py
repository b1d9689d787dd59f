"""A `.safetensors` file of somebody else's making: a network, or one sentence; nothing of it is run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.command import Run

from archselect import load_network
from archselect.deployment.weights_file import write_weights


@pytest.fixture
def file(tiny_run: Run, tmp_path: Path) -> Path:
    """The network of a run as a file."""
    path = tmp_path / "network.safetensors"
    write_weights(load_network(tiny_run.folder), path)
    return path


def changed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a file anew, with a change in what it says of its network."""
    with safe_open(file, "pt") as opened:
        said = json.loads(opened.metadata()["archselect"])
    save_file(load_file(file), file, {"archselect": json.dumps(change(said) or said)})


def test_it_is_the_network_that_was_written(tiny_run: Run, file: Path) -> None:
    network, original = load_network(str(file)), load_network(tiny_run.folder)
    images = torch.rand(2, 3, 8, 8)
    assert network(images).equal(original(images))
    assert network.description == original.description and not network.training


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: said["search_space"].update(_target_="os.system"), r"'os.system' as search_space\._target_"),
        (lambda said: said["task"].update(_target_="os.system"), r"'os.system' as task\._target_"),
        (
            lambda said: said["skeleton"].update(stem={"_target_": "evil.Stem"}),
            r"'evil.Stem' as skeleton\.stem\._target_",
        ),
        (
            lambda said: said["skeleton"].update(head={"_target_": "evil.Head"}),
            r"'evil.Head' as skeleton\.head\._target_",
        ),
        (
            lambda said: said["search_space"].update(operations_of={"0": [{"name": "x", "_target_": "evil.Op"}]}),
            r"'evil.Op' as search_space\.operations_of\.0\.0\._target_",
        ),
        (lambda said: said["search_space"].update(name="${oc.env:HOME}"), "refers to something outside"),
        (lambda said: said["skeleton"].update(channels=400), "holds the state of another network"),
        (lambda said: said.update(genotype="normal"), "got 'normal'"),
        (lambda said: said.update(image_size="8"), "network.image_size must be a whole number above 0"),
        (lambda said: said.update(search_space=[]), "network.search_space must be a node of options"),
        (lambda said: said.update(extra=1), "is no description of one"),
        (lambda said: [said], "is no description of one"),
    ],
    ids=[
        "class",
        "task",
        "stem",
        "head",
        "operation",
        "resolver",
        "other_network",
        "genotype",
        "size",
        "space",
        "more",
        "list",
    ],
)
def test_a_file_that_says_something_else_is_a_sentence(file: Path, change: Any, why: str) -> None:
    changed(file, change)
    with pytest.raises(ValueError, match=why):
        load_network(file)


def test_tied_weights_are_written_each(tiny_run: Run, tmp_path: Path) -> None:
    network = load_network(tiny_run.folder)
    network.network.tied = next(network.network.parameters())
    write_weights(network, tmp_path / "tied.safetensors")
    written = load_file(tmp_path / "tied.safetensors")
    assert written["tied"].equal(network.network.tied) and len(written) == len(network.network.state_dict())


def test_damaged_and_foreign_files_are_told_apart(file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="was not written by python export"):
        load_network(foreign)
    whole = file.read_bytes()
    for content in (whole[:-100], b"", b"\xff" * 16, whole[:8] + b"x" + whole[9:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"is damaged, or no \.safetensors file"):
            load_network(file)
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_network(file)
