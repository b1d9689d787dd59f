"""Exported networks: each file computes what the network computes, or it is not there; the card's lines run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.command import TRAIN, Run, _script
from torch import nn

from archselect import load_network
from archselect.deployment.export import Export, _check_computes_the_same_twice
from archselect.deployment.formats import FORMATS, Deployed, program_of
from archselect.pipeline.finished_run import open_run
from archselect.search_spaces import DartsSpace

EXPORT = TRAIN.parent / "export.py"
ASKED: dict[str, Any] = {"normalization": "inside", "image_size": "fixed", "test_images": None, "tolerance": 1e-5}


def written(run: Run, form: str, folder: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    card = Export(form, **{**ASKED, **options}).write(open_run(run.folder), folder)
    return folder / card["file"], card


@pytest.mark.parametrize(
    ("form", "normalization"),
    [("torch_export", "inside"), ("onnx", "inside"), ("safetensors", "inside"), ("safetensors", "outside")],
)
def test_a_file_recognises_every_test_image_as_the_run_did(
    trained_run: Run, form: str, normalization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file, card = written(trained_run, form, tmp_path, normalization=normalization)
    network, test = load_network(trained_run.folder), trained_run.parts.data.test
    deployed = Deployed(network, normalization == "inside")
    compute = FORMATS[form].read(file, deployed, ())
    given = test.images / 255 if deployed.normalizes else network.normalize(test.images)
    answers = compute(given.contiguous()).argmax(dim=1)
    assert answers.equal(network(network.normalize(test.images)).argmax(dim=1))
    accuracy = trained_run.summary["evaluation.test_accuracy"]
    assert int((answers == test.labels).sum()) == round(accuracy * len(test)) > len(test) / 2
    shown = f"| accuracy on the test images | {100 * accuracy:.2f} % |"
    assert card["test"] == accuracy and shown in file.with_suffix(".md").read_text()
    assert card["checked"]["test_images"] == len(test) and card["checked"]["difference"] <= 1e-5
    # The lines of the card, as a stranger types them.
    picture = test.images[5].permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(tmp_path / "image.png")
    lines = file.with_suffix(".md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "card", "exec"), {})
    said, probability = capsys.readouterr().out.split()
    with torch.no_grad():
        probabilities = network(network.normalize(test.images[5:6])).softmax(dim=1)[0]
    assert said == network.classes[int(probabilities.argmax())]
    assert float(probability) == pytest.approx(float(probabilities.max()), abs=1e-5)
    assert len(lines.splitlines()) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch_export", "onnx"])
def test_a_file_of_the_darts_family_takes_any_number_of_images_of_many_sizes(
    tiny_run: Run, form: str, tmp_path: Path
) -> None:
    file, card = written(tiny_run, form, tmp_path, image_size="free")
    network = load_network(tiny_run.folder)
    compute = FORMATS[form].read(file, Deployed(network, True), ())
    for shape in ((1, 3, 8, 8), (3, 3, 16, 8), (7, 3, 12, 20)):
        images = torch.rand(shape)
        torch.testing.assert_close(compute(images), network.network(network.normalize(images)), atol=1e-5, rtol=1e-5)
    assert card["images"]["multiple"] == 4


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_file_that_computes_something_else_is_not_kept(
    trained_run: Run, wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(trained_run, "safetensors", tmp_path)
    form = FORMATS["safetensors"]

    def read(*arguments: Any) -> Any:
        compute = form.read(*arguments)
        return lambda images: compute(images) + wrong

    monkeypatch.setitem(FORMATS, "safetensors", replace(form, read=read))
    with pytest.raises(ValueError, match="computes something else than the network"):
        written(trained_run, "safetensors", tmp_path)
    assert list(tmp_path.iterdir()) == []  # that of before neither


def test_sizes_are_free_as_far_as_the_network_allows_it(trained_run: Run) -> None:
    network = load_network(trained_run.folder)
    program, images = program_of(Deployed(network, True), 3, 8, free=True)
    assert images.sizes == [(8, 8), (8, 12)]
    with torch.no_grad():
        pixels = torch.rand(2, 3, 20, 12)
        torch.testing.assert_close(program.module()(pixels), network.network(network.normalize(pixels)))
    flat = Deployed(network, True)
    flat.network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))  # type: ignore[assignment]
    assert program_of(flat, 3, 8, free=True)[1].sizes == [(8, 8)]


def test_a_network_that_draws_noise_is_refused(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = DartsSpace("s4", ["noise", "sep_conv_3x3"], channels=4, layers=3)
    network = load_network(trained_run.folder)
    network.description = replace(network.description, genotype=str(space.example()))
    monkeypatch.setattr("archselect.deployment.export.load_network", lambda run: network)
    with pytest.raises(ValueError, match="draws noise"):
        written(trained_run, "safetensors", tmp_path)
    genotype = network.description.genotype.replace("noise@", "denoise@")
    network.description = replace(network.description, genotype=genotype)
    _check_computes_the_same_twice(network)


@pytest.mark.slow
def test_what_onnx_cannot_express_is_a_sentence(trained_run: Run, tmp_path: Path) -> None:
    network, file = load_network(trained_run.folder), tmp_path / "network.onnx"
    deployed = Deployed(network, True)
    deployed.network = nn.Sequential(Bessel(), nn.Flatten())  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"the operator \w+\.\w*bessel_i1e\)\. Use format=torch_export or"):
        FORMATS["onnx"].write(network, deployed, False, file)


def test_what_onnxruntime_cannot_read_is_a_sentence(trained_run: Run, tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"onnxruntime cannot compute .* Use format=torch_export or"):
        FORMATS["onnx"].read(tmp_path / "network.onnx", Deployed(load_network(trained_run.folder), True), ())


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i1e(x)


def test_the_command_writes_the_file_and_its_card(trained_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _script(EXPORT, [f"run={trained_run.folder}", "format=safetensors", "test_images=100"])
    folder = trained_run.folder / "exports" / "safetensors"
    assert "on 8 random and 100 test images" in " ".join(capsys.readouterr().out.split())
    card = json.loads((folder / "network.json").read_text())
    assert card["genotype"] == trained_run.summary["genotype"]
    assert card["costs"]["params"] == trained_run.summary["params"]
    assert card["provenance"]["versions"]["torch"] == torch.__version__
    network, images = load_network(folder / card["file"]), torch.rand(2, 3, 8, 8)
    assert network(images).equal(load_network(trained_run.folder)(images))
    assert network.classes == tuple(trained_run.summary["class_names"])


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("format", "tflite", "format must be one of torch_export, onnx, safetensors"),
        ("normalization", "both", "normalization must be one of inside, outside"),
        ("tolerance", 0, "tolerance must be a finite number above 0"),
        ("test_images", -1, "test_images must be a whole number, 0 or more"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(option: str, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Export(**{"format": "onnx", **ASKED, option: value})
