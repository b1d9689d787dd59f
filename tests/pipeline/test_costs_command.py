"""`python -m archselect.costs`."""

import json
from pathlib import Path

import pytest
from tests.command import CONFIGS, Run

from archselect.pipeline import measure_command
from archselect.pipeline.costs_command import main

CELL_6111 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
QUICK = ["--configs", str(CONFIGS), "costs.latency=false"]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json", *QUICK]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_genotype_of_any_form_is_counted_at_the_size_at_which_papers_retrain_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    darts = told(capsys, "DARTS_V2")
    assert (darts["params"], darts["macs"], darts["image_size"]) == (3_349_342, 528_359_040, 32)
    cell = told(capsys, CELL_6111)  # its space is known by its cell
    assert (cell["params"], cell["macs"]) == (1_073_466, 153_272_960)


def test_the_network_is_that_of_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["evaluation.network.channels=4", "evaluation.network.layers=3"]
    found = told(capsys, "DARTS_V2", *sizes, "image_size=8", "classes=2", "in_channels=1")
    other = told(capsys, "DARTS_V2", *sizes, "image_size=8", "classes=10", "in_channels=3")
    # The stem has a kernel of 3x3 per input channel and each of 12 outputs; 64 features go to each class.
    assert int(str(other["macs"])) - int(str(found["macs"])) == 2 * 9 * 12 * 8 * 8 + 8 * 64


def test_the_table_says_counts_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["evaluation.network.channels=4", "evaluation.network.layers=3", "image_size=8"]
    assert main(["DARTS_V2", *sizes, "--configs", str(CONFIGS), "costs.seconds=0.01", "device=cpu"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "DARTS_V2 in darts (channels 4, layers 3)" in said
    assert "M MACs" in said and "ms for a batch of 64" in said


def test_the_network_of_a_run_is_that_of_its_summary(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, str(tiny_run.folder))
    for name in ("params", "macs", "peak_activation_bytes", "image_size"):
        assert found[name] == tiny_run.summary[f"costs.{name}"]


def test_an_operation_of_ones_own_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "twice_ops.py").write_text(
        "from torch import nn\n\n\nclass Twice(nn.Conv2d):\n    def __init__(self, channels, stride, affine):\n"
        "        super().__init__(channels, channels, 1, stride, bias=False)\n"
    )
    (tmp_path / "configs" / "search_space").mkdir(parents=True)
    (tmp_path / "configs" / "search_space" / "mine.yaml").write_text(
        "defaults: [nasbench201]\nname: mine\noperations: [none, {name: twice, _target_: twice_ops.Twice}]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["search_space=mine", "evaluation=retrain_nasbench201", "evaluation.network.channels=4"]
    own += ["evaluation.network.cells_per_stage=1", "image_size=8", "--config-dir", str(tmp_path / "configs")]
    some = told(capsys, "|twice~0|+|none~0|twice~1|+|none~0|none~1|twice~2|", *own)
    none = told(capsys, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", *own)
    # Three convolutions in each of three cells: 4, 8 and 16 channels at 8x8, 4x4 and 2x2 pixels.
    assert int(str(some["macs"])) - int(str(none["macs"])) == 3 * (16 * 64 + 64 * 16 + 256 * 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["DARTS_V3"], "'DARTS_V3' is no genotype. Did you mean DARTS_V2?"),
        (["DARTS_V2", "search_space=s2"], "It was made for another search space"),
        (["DARTS_V2", "image_size=x"], "image_size must be a whole number above 0; got 'x'."),
        (["DARTS_V2", "image_size=33"], "so images must measure a multiple of 4"),
        (["DARTS_V2", "device=gpus"], "device=gpus is no device of this machine"),
        (["DARTS_V2", "darts"], "darts must be an option, NAME=VALUE"),
        (["DARTS_V2", "evaluation=retrain_nasbench201"], "not all of which networks of darts have"),
        (["DARTS_V2", "evaluation.network.depth=3"], "There is no option evaluation.network.depth."),
        (["DARTS_V2", "costs.seconds=0"], "costs.seconds must be a finite number above 0"),
        (["DARTS_V2", "--config-dir", "nowhere"], "no folder nowhere here. --config-dir names one with choices"),
        (["DARTS_V2", "--configs", "nowhere"], "Run this in the folder of train.py, or add --configs FOLDER/configs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_a_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--configs", str(CONFIGS), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and words in said and "Traceback" not in said


def test_what_is_measured_is_named_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_command.main(["foo", "--configs", str(CONFIGS)]) == 1
    assert capsys.readouterr().err == "Error: foo must be an option, NAME=VALUE, such as batch=64.\n"


def test_the_network_of_a_run_is_what_it_is(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_run.folder), "search_space=s3"]) == 1
    assert "search_space=s3 is no option for the network of a run" in capsys.readouterr().err
