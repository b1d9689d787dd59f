"""Networks of other tasks, and with operations of one's own: loaded, asked and exported like all others."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.command import tiny, train
from tests.deployment.test_export import written
from tests.deployment.test_predict import predicted

from archselect import load_network
from archselect.deployment.answers import answer, answer_in_words, probabilities, target, true_answer
from archselect.deployment.card import usage
from archselect.deployment.export import Export
from archselect.deployment.formats import FORMATS, Deployed
from archselect.deployment.weights_file import write_weights
from archselect.pipeline.finished_run import open_run
from archselect.tasks import Classification, Multilabel, Regression

ROOT = Path(__file__).parents[2]
ABC = ("a", "b", "c")


def test_answers_are_told_in_the_words_of_the_task() -> None:
    task: Any = Classification()
    assert answer(task, [0.2, 0.7, 0.1], ABC) == {"class": "b", "probability": 0.7}
    assert probabilities(task, [0.2, 0.7, 0.1], ABC) == {"p(a)": 0.2, "p(b)": 0.7, "p(c)": 0.1}
    assert true_answer(task, target(task, {"class": "c"}, ABC), ABC) == {"class": "c"}
    task = Multilabel(threshold=0.6)
    assert answer(task, [0.6, 0.59, 0.9], ABC) == {"labels": "a;c"}
    assert target(task, {"labels": "c;a"}, ABC).tolist() == [1, 0, 1]
    assert target(task, {"labels": ""}, ABC).tolist() == [0, 0, 0]
    assert true_answer(task, torch.tensor([0.0, 1.0, 0.0]), ABC) == {"labels": "b"}
    task = Regression(mean=[1.0], std=[2.0])
    assert answer(task, task.predictions(torch.tensor([[3.0]]))[0].tolist(), ["angle"]) == {"angle": 7.0}
    assert probabilities(task, [7.0], ["angle"]) == {}
    assert target(task, {"angle": "-3.5"}, ["angle"]).tolist() == [-3.5]
    assert answer_in_words({"angle": 7.0, "other": 0.12345}) == "7, 0.123"


def test_no_column_of_numbers_takes_the_place_of_another() -> None:
    task = Regression(mean=[0.0] * 3, std=[1.0] * 3)
    names = ("file", "a", "true_a")
    assert answer(task, [1.0, 2.0, 3.0], names) == {"target_file": 1.0, "a": 2.0, "target_true_a": 3.0}
    assert target(task, {"file": "1.png", "target_file": "1", "a": "2", "target_true_a": "3"}, names).tolist() == [
        1,
        2,
        3,
    ]
    assert answer(task, [1.0, 2.0], names) == {"prediction 0": 1.0, "prediction 1": 2.0}


@pytest.mark.parametrize(
    ("task", "data", "column"), [("regression", "digits_rotated", "angle"), ("multilabel", "digits_pairs", "labels")]
)
@pytest.mark.slow
def test_a_network_of_another_task_gives_the_runs_metric(
    task: str, data: str, column: str, logs: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    run = train(*tiny("s2", "darts", "magnitude", f"task={task}", f"data={data}", "data.train_subset=200", logs))
    rows, _ = predicted(run, "test")
    metric = run.summary["metric"]
    expected = run.summary[f"evaluation.test_{metric}"]
    assert f"{metric.replace('_', ' ')} {expected:.4f}" in capsys.readouterr().out
    assert {column, f"true_{column}"} <= set(rows[0])
    file, _ = written(run, "safetensors", tmp_path)
    network, images = load_network(file), run.parts.data.test.images
    with torch.no_grad():
        outputs = network(network.normalize(images))
    measures = network.task.measures(outputs, run.parts.data.test.labels)
    assert measures.mean().item() == pytest.approx(expected, rel=1e-5)
    Image.fromarray(images[3].permute(1, 2, 0).numpy().squeeze()).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    exec(file.with_suffix(".md").read_text().split("```python\n")[1].split("```")[0], {})
    said, told = (
        ast.literal_eval(capsys.readouterr().out),
        answer(network.task, network.task.predictions(outputs)[3].tolist(), network.classes),
    )
    assert ";".join(said) == told["labels"] if task == "multilabel" else said == pytest.approx(told, rel=1e-4)


def test_a_task_of_ones_own_keeps_what_it_was_fitted_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str, capsys: Any
) -> None:
    guide = (ROOT / "docs" / "guides" / "tasks.md").read_text().split("```python\n# my_task.py")[1].split("```")[0]
    more = "    turn: tuple = (0.0,)\n\n    def fitted(self, data):\n        return replace(self, turn=(90.0,))\n"
    guide = guide.replace("    metric =", f"{more}\n    metric =").replace(
        "import dataclass", "import dataclass, replace"
    )
    turned = guide.replace("return torch.rad2deg(", "return self.turn[0] + torch.rad2deg(")
    (tmp_path / "turned_task.py").write_text(turned)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "turned.yaml").write_text("_target_: turned_task.Direction\nname: turned\n")
    genotype = "genotype='|skip_connect~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|'"
    of_run = ("data=digits_rotated", "task=turned", "data.train_subset=100", f"hydra.searchpath=[{tmp_path}]")
    run = train(*tiny("nasbench201", "darts", "magnitude", *of_run, genotype, logs))
    rows, _ = predicted(run, "test", "trusted=[turned_task]", "mistakes=0")
    assert f"angular error {run.summary['evaluation.test_angular_error']:.4f}" in capsys.readouterr().out
    assert set(rows[0]) == {"file", "angle", "true_angle"}
    network = load_network(run.folder, trusted=["turned_task"])
    write_weights(network, tmp_path / "network.safetensors")
    again = load_network(tmp_path / "network.safetensors", trusted=["turned_task"])
    assert again.task == network.task and again.task.turn == (90.0,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["safetensors", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_network_with_an_operation_of_ones_own_is_exported(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str
) -> None:
    (tmp_path / "my_gates.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Gate(nn.Module):\n"
        "    def __init__(self, channels, stride, affine):\n"
        "        super().__init__()\n"
        "        self.gate = nn.Linear(channels, channels)\n"
        "        self.norm = nn.BatchNorm2d(channels, affine=affine)\n"
        "        self.pool = nn.AvgPool2d(stride)\n\n"
        "    def forward(self, x):\n"
        "        return self.norm(self.pool(x * self.gate(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    operations = "search_space.operations=[skip_connect,nor_conv_3x3,{name: gate, _target_: my_gates.Gate}]"
    genotype = "genotype='|gate~0|+|nor_conv_3x3~0|gate~1|+|skip_connect~0|gate~1|nor_conv_3x3~2|'"
    run = train(*tiny("nasbench201", "darts", "magnitude", operations, genotype, logs))
    with pytest.raises(ValueError, match="my_gates"):
        load_network(run.folder)
    network = load_network(run.folder, trusted=["my_gates"])
    asked = {"normalization": "inside", "image_size": "fixed", "test_images": None, "tolerance": 1e-5}
    images = torch.rand(3, 3, 8, 8)
    card = Export(form, **asked).write(open_run(run.folder, trusted=["my_gates"]), tmp_path, ("my_gates",))
    compute = FORMATS[form].read(tmp_path / card["file"], Deployed(network, True), ("my_gates",))
    torch.testing.assert_close(compute(images), network(network.normalize(images)), atol=1e-5, rtol=1e-5)
    if form == "safetensors":
        assert """load_network("network.safetensors", trusted=['my_gates'])""" in usage(card)
        with pytest.raises(ValueError, match="trusted"):
            load_network(tmp_path / card["file"])
