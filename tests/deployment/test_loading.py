"""`load_network`: the network of a run, as it was tested, and what cannot be one."""

import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.command import Run

from archselect import load_network
from archselect.deployment import TrainedNetwork
from archselect.pipeline.finished_run import FinishedRun, open_run


def right(network: TrainedNetwork, run: Run) -> int:
    """Return how many test images of a run its network recognises."""
    test = run.parts.data.test
    with torch.inference_mode():
        return int((network(network.normalize(test.images)).argmax(dim=1) == test.labels).sum())


def test_it_recognises_as_many_test_images_as_the_run_did(tiny_run: Run) -> None:
    network, data = load_network(tiny_run.folder), tiny_run.parts.data
    accuracy = tiny_run.summary["evaluation.test_accuracy"]
    assert right(network, tiny_run) == round(accuracy * len(data.test)) > len(data.test) / data.classes
    assert not network.training and not any(module.training for module in network.modules())
    assert (network.image_size, network.channels, network.classes) == (8, 3, tuple("0123456789"))
    assert network.normalization == data.normalisation
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    assert sum(weight.numel() for weight in network.parameters()) == tiny_run.summary["params"]  # no auxiliary head


def test_it_is_plain_and_passes_through_pickle(tiny_run: Run) -> None:
    network, images = load_network(tiny_run.folder), torch.rand(2, 3, 8, 8)
    copy = pickle.loads(pickle.dumps(network))
    assert copy(images).equal(network(images))
    assert all(type(value) is torch.Tensor for value in network.state_dict().values())


def test_pixels_are_normalised_alike_as_whole_numbers_and_as_fractions(tiny_run: Run) -> None:
    network = load_network(tiny_run.folder)
    pixels = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)  # 0.2
    mean, std = (torch.tensor(values) for values in (network.normalization.mean, network.normalization.std))
    torch.testing.assert_close(network.normalize(pixels)[0, :, 0, 0], (0.2 - mean) / std)
    torch.testing.assert_close(network.normalize(pixels / 255), network.normalize(pixels))
    assert network.normalize(pixels.long()).equal(network.normalize(pixels))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.full((1, 3, 8, 8), 51.0), "fractions between 0 and 1; got float32 from 51 to 51"),
        (torch.full((1, 3, 8, 8), 256), "whole numbers from 0 to 255.*got int64 from 256 to 256"),
        (torch.full((1, 3, 8, 8), torch.nan), "got float32 from nan to nan"),
        (torch.full((1, 1, 8, 8), 0.5), r"must be \(B, 3, H, W\) for this network; got \(1, 1, 8, 8\)"),
    ],
    ids=["fractions of 255", "whole numbers above 255", "no numbers", "channels"],
)
def test_what_are_no_pixels_of_the_network_is_not_normalised(tiny_run: Run, pixels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_network(tiny_run.folder).normalize(pixels)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 16, 16), (3, 8, 8)], ids=str)
def test_images_of_another_kind_are_refused_in_a_sentence(tiny_run: Run, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"trained on images of 3 channels and 8 x 8 pixels") as said:
        load_network(tiny_run.folder)(torch.zeros(shape))
    assert str(shape) in str(said.value)


def test_a_run_without_an_evaluation_that_trains_has_no_network(nasbench201_folder: Path) -> None:
    with pytest.raises(ValueError, match="trained no network: it has evaluation=none"):
        load_network(nasbench201_folder)


@pytest.mark.parametrize("name", ["fitted", "target_mean"])
def test_what_a_result_says_of_the_task_runs_no_code(
    name: str, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code_of_the_result.py").write_text("def call(): pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = {"_target_": "code_of_the_result.call"}
    stage = open_run(tiny_run.folder).stage("evaluation")
    result = {**stage.result, name: {"mean": code} if name == "fitted" else code}
    monkeypatch.setattr(FinishedRun, "stage", lambda run, kind: replace(stage, result=result))
    with pytest.raises(ValueError, match="task=classification cannot be restored"):
        load_network(tiny_run.folder)
    assert "code_of_the_result" not in sys.modules


def test_a_damaged_network_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    shutil.copytree(tiny_run.stage("evaluation").parents[2] / "stages" / "evaluation", logs / "stages" / "evaluation")
    run = logs / "runs" / "a" / "b"
    shutil.copytree(tiny_run.folder, run, symlinks=True)
    file = (run / "evaluation").resolve() / "network.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises((ValueError, FileNotFoundError), match="damaged"):
        load_network(open_run(run))
