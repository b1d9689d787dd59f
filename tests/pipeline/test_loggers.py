"""Each kind of logger is told what it can show; TensorBoard's is read back from its event file."""

import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.command import Run, tiny, train

from archselect.figures.cells import draw_cells
from archselect.genotype import PUBLISHED
from archselect.pipeline.loggers import LoggerAdapter, RunLog, TensorBoardAdapter, WandbAdapter, adapter_for, flatten

# --- What every logger is told. ---

SPACE = {"cells": {"cell": {"edges": [[0, 1]], "operations": [["skip_connect", "nor_conv_1x1"]]}}}


def record(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": 2.0, "metrics": {"train_loss": 0.5}, **more}


def test_numbers_are_named_by_stage_cell_edge_and_operation() -> None:
    whole = record(3, alpha={"cell": [[0.25, 0.75]]}, entropy={"cell": 0.56}, skip_share=0.0, genotype="not a number")
    assert dict(flatten(whole, SPACE)) == {
        "epoch": 3,
        "seconds": 2.0,
        "train_loss": 0.5,
        "entropy/cell": 0.56,
        "skip_share": 0.0,
        "alpha/cell/0-1/skip_connect": 0.25,
        "alpha/cell/0-1/nor_conv_1x1": 0.75,
    }


def test_steps_count_on_over_the_stages_and_an_epoch_that_is_made_again_after_a_kill_is_logged_once() -> None:
    log, listener = RunLog(SPACE), mock.Mock(spec=DummyLogger)
    log.start([listener], {})
    for stage, epoch in (("search", 0), ("search", 0), ("search", 1), ("evaluation", 0)):
        log.record(stage, record(epoch))
    told = [(call.kwargs["step"], min(call.args[0])) for call in listener.log_metrics.call_args_list]
    assert told == [(0, "search/epoch"), (1, "search/epoch"), (2, "evaluation/epoch")]


# --- What TensorBoard has of a run. ---

EVERYTHING = {"images": 0, "scalars": 0, "tensors": 0}


@pytest.fixture(scope="module")
def run(logs: str) -> Run:
    """A run with a single picture: they take longer than it does."""
    cells = [("cells", draw_cells(PUBLISHED["DARTS_V1"]))]
    with mock.patch("archselect.pipeline.console._figures", return_value=cells):
        return train(*tiny("nasbench201", "darts", "perturb"), "logger=tensorboard", logs)


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    events = EventAccumulator(str(run.folder / "tensorboard"), size_guidance=EVERYTHING)
    return events.Reload()


def test_tensorboard_has_the_scalars_of_every_epoch(run: Run, events: EventAccumulator) -> None:
    for kind in ("search", "selection", "evaluation"):
        for metric in ("val_accuracy", "train_loss"):
            expected = [record["metrics"][metric] for record in run.history(kind)]
            assert [one.value for one in events.Scalars(f"{kind}/{metric}")] == pytest.approx(expected)
    steps = [one.step for kind in ("search", "selection") for one in events.Scalars(f"{kind}/epoch")]
    assert steps == list(range(len(run.history("search")) + len(run.history("selection"))))
    weights = [record["alpha"]["cell"][0][1] for record in run.history("search")]
    assert [one.value for one in events.Scalars("search/alpha/cell/0-1/skip_connect")] == pytest.approx(weights)


def test_tensorboard_has_the_pictures_of_the_run_folder_beside_the_csv_file(run: Run, events: EventAccumulator) -> None:
    assert (run.folder / "csv" / "metrics.csv").exists()
    files = {f"figures/{file.stem}": file for file in (run.folder / "figures").iterdir()}
    assert set(events.Tags()["images"]) == set(files)
    (shown,) = events.Images("figures/cells")
    pixels = Image.open(io.BytesIO(shown.encoded_image_string)).convert("RGB")
    assert pixels.tobytes() == Image.open(files["figures/cells"]).convert("RGB").tobytes()


def test_tensorboard_has_the_tables_and_the_result_as_text(run: Run, events: EventAccumulator) -> None:
    texts = {name.removesuffix("/text_summary"): text(events, name) for name in events.Tags()["tensors"]}
    assert set(texts) == {"tables/genotypes", "tables/decisions", "summary"}
    assert f"| genotype | {run.summary['genotype'].replace('|', '&#124;')} |" in texts["summary"]
    scores = sum(max(1, len(record["scores"])) for record in run.decisions())
    assert len(texts["tables/decisions"].splitlines()) == 2 + scores


def text(events: EventAccumulator, name: str) -> str:
    (event,) = events.Tensors(name)
    return event.tensor_proto.string_val[0].decode()


def test_tensorboard_has_the_options_with_the_results_as_their_metrics(run: Run, events: EventAccumulator) -> None:
    def data(name: str) -> HParamsPluginData:
        return HParamsPluginData.FromString(events.summary_metadata[f"_hparams_/{name}"].plugin_data.content)

    options = data("session_start_info").session_start_info.hparams
    assert options["search/name"].string_value == "darts" and options["seed"].number_value == 0
    metrics = {one.name.tag for one in data("experiment").experiment.metric_infos}
    assert {"evaluation.test_accuracy", "result/test_accuracy"} <= metrics
    (accuracy,) = events.Scalars("evaluation.test_accuracy")
    assert accuracy.value == pytest.approx(run.summary["evaluation.test_accuracy"])


def test_tensorboard_s_own_file_has_the_options_too(run: Run) -> None:
    written = yaml.safe_load((run.folder / "tensorboard" / "hparams.yaml").read_text())
    config = OmegaConf.masked_copy(run.config, [str(key) for key in run.config if key != "logger"])
    assert OmegaConf.to_container(config, resolve=True) == {key: written[key] for key in config}


def test_every_logger_finds_its_adapter(tmp_path: Path) -> None:
    kinds = {CSVLogger: LoggerAdapter, DummyLogger: LoggerAdapter, TensorBoardLogger: TensorBoardAdapter}
    made = [CSVLogger(tmp_path), DummyLogger(), TensorBoardLogger(tmp_path)]
    assert {type(logger): type(adapter_for(logger)) for logger in made} == kinds
    assert type(adapter_for(WandbLogger(offline=True, save_dir=tmp_path))) is WandbAdapter


def test_a_run_with_a_given_genotype_is_not_logged_under_a_search_and_a_selection(logs: str) -> None:
    with mock.patch.object(RunLog, "start") as start:
        train(*tiny("darts", "darts", "perturb", "genotype=DARTS_V2", logs), "evaluation.epochs=1")
    config = start.call_args.args[1]
    assert not {"search", "selection"} & set(config)
    assert config["search_space"]["name"] == "darts"
    json.dumps(config)
