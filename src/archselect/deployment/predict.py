"""`python predict.py run=FOLDER images=FOLDER`: what the network of a run says of images, as a table."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from archselect import kernels
from archselect.data.image_data import ImageData
from archselect.data.pixels import PixelFormat
from archselect.data.stream import OnBroken
from archselect.deployment.answers import answer, answer_in_words, probabilities, target, true_answer
from archselect.deployment.images import Asked, by_folders, by_table, decoded, of_folder, test_split
from archselect.deployment.loading import load_network
from archselect.deployment.network import TrainedNetwork
from archselect.deployment.sheet import Mistake, sheet
from archselect.figures.style import save
from archselect.pipeline.config import as_user_error, to_plain_dict
from archselect.pipeline.finished_run import changes_of, open_run
from archselect.pipeline.run import log_exceptions, redact_hydra_files
from archselect.results.metric import Metric
from archselect.store import write_text
from archselect.store.redact_paths import expand, expanded
from archselect.tasks import Classification
from archselect.training.devices import check_trainer
from archselect.training.progress import warn
from archselect.utils.errors import stopping_on_signals
from archselect.utils.validation import FLAG, NonNegativeInt, PositiveInt, check_fields

TEST = "test"
"""In place of a folder: the run's own test images."""


@dataclass(frozen=True)
class Prediction:
    """What is asked and told; configs/predict.yaml says what each option means."""

    images: str
    labels: str | None
    resize: bool | None
    on_broken: OnBroken
    batch_size: PositiveInt
    probabilities: bool
    mistakes: NonNegativeInt

    def __post_init__(self) -> None:
        check_fields(self, "")
        if self.resize is not None:
            FLAG.check("resize", self.resize)

    def asked(self, data: ImageData, network: TrainedNetwork) -> Asked:
        """Return the images, with what is true of them where it is known."""
        if self.images == TEST:
            return test_split(data)
        asked, files = of_folder(Path(expand(self.images)))
        if self.labels is not None:
            path = Path(expand(self.labels))
            told = by_table(path, asked.names, lambda row: target(network.task, row, network.classes))
            return Asked(asked.encoded, asked.names, told)
        if isinstance(network.task, Classification):
            return Asked(asked.encoded, asked.names, by_folders(files, network.classes))
        return asked

    def form(self, data: ImageData, network: TrainedNetwork) -> PixelFormat:
        """Return what images are decoded into: what the run's were, and with `resize=true` from whatever they are."""
        form = data.format_for(network.image_size, network.channels)
        return form if self.resize is None else replace(form, resize=self.resize, to_grey=self.resize)


@dataclass(frozen=True)
class Told:
    """What was said of images.

    Attributes:
        rows: Which of those that were asked about.
        predictions: Of each, `(N, outputs)`: probabilities, or numbers in the user's unit.
        measures: Of each, whose mean is the metric, `(N,)`; None where nothing is known to be true.
        broken: What is wrong with the others, by name.
    """

    rows: list[int]
    predictions: Tensor
    measures: Tensor | None
    broken: Mapping[str, str]


def tell(network: TrainedNetwork, asked: Asked, form: PixelFormat, batch_size: int, on_broken: OnBroken) -> Told:
    """Return what a network says of images, on the device that it is on.

    Raises:
        ValueError: No image can be decoded, or one cannot and none is to be skipped; see `decoded`.
    """
    rows: list[int] = []
    predictions, measures, broken = [], [], dict[str, str]()
    with torch.inference_mode(), kernels.enabled():
        for some, pixels in decoded(asked, form, batch_size, on_broken, broken):
            outputs = network(network.normalize(pixels.to(network.scale.device)))
            rows += some
            predictions.append(network.task.predictions(outputs).reshape(len(some), -1).cpu())
            if asked.targets is not None:
                true = torch.stack([asked.targets[row] for row in some]).to(outputs.device)
                measures.append(network.task.measures(outputs, true).cpu())
    if not rows:
        raise ValueError(f"None of the {len(asked)} images can be decoded: {next(iter(broken.values()))}")
    return Told(rows, torch.cat(predictions), torch.cat(measures) if measures else None, broken)


def table(network: TrainedNetwork, asked: Asked, told: Told, with_probabilities: bool) -> list[dict[str, Any]]:
    """Return a row per image: its name, what is said, and what is true where it is known."""
    lines = []
    for row, prediction in zip(told.rows, told.predictions.tolist(), strict=True):
        line = {"file": asked.names[row], **answer(network.task, prediction, network.classes)}
        if asked.targets is not None:
            true = true_answer(network.task, asked.targets[row], network.classes)
            line |= {f"true_{name}": value for name, value in true.items()}
        line |= probabilities(network.task, prediction, network.classes) if with_probabilities else {}
        lines.append(line)
    return lines


def worst(network: TrainedNetwork, asked: Asked, told: Told, form: PixelFormat, most: int) -> list[Mistake]:
    """Return the images that the network is most wrong about, the most certain of its mistakes first."""
    assert told.measures is not None and asked.targets is not None
    wrongness = told.measures if network.task.mode == "min" else -told.measures
    order = sorted(
        range(len(told.rows)), key=lambda i: (wrongness[i].item(), told.predictions[i].max().item()), reverse=True
    )
    right = told.measures.new_tensor(0.0 if network.task.mode == "min" else 1.0)
    found = []
    for position in [i for i in order if told.measures[i] != right][:most]:
        row = told.rows[position]
        found.append(
            Mistake(
                asked.encoded.pixels(row, form),
                asked.names[row],
                answer_in_words(true_answer(network.task, asked.targets[row], network.classes)),
                answer_in_words(answer(network.task, told.predictions[position].tolist(), network.classes)),
            )
        )
    return found


def predict(config: DictConfig) -> None:
    """Make the predictions that the config describes; table and sheet go into Hydra's run folder.

    Raises:
        UserError: An option, the run or the images do not allow it.
    """
    console, folder = Console(highlight=False), Path(HydraConfig.get().runtime.output_dir)
    with stopping_on_signals(console), log_exceptions(), as_user_error():
        redact_hydra_files(folder)
        config = expanded(config)
        options = to_plain_dict(config)
        prediction = Prediction(**{name: options[name] for name in Prediction.__dataclass_fields__})
        run = open_run(config.run, changes_of(config), config.trusted)
        network = load_network(run).to(check_trainer(run.parts.trainer))
        asked, form = prediction.asked(run.parts.data, network), prediction.form(run.parts.data, network)
        told = tell(network, asked, form, prediction.batch_size, prediction.on_broken)
        _write(folder, prediction, network, asked, told)
        written = ["predictions.csv"]
        if told.measures is not None and prediction.mistakes:
            mistakes = worst(network, asked, told, form, prediction.mistakes)
            title = f"The worst {len(mistakes)} mistakes on {len(told.rows)} images"
            save(sheet(title, mistakes), folder / "mistakes")
            written.append("mistakes.png")
        _say(console, network, told)
        console.print(f"Written: {escape(str(folder))}/: {', '.join(written)}", soft_wrap=True)


def _write(folder: Path, prediction: Prediction, network: TrainedNetwork, asked: Asked, told: Told) -> None:
    lines = table(network, asked, told, prediction.probabilities)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(folder / "predictions.csv", text.getvalue())


def _say(console: Console, network: TrainedNetwork, told: Told) -> None:
    for sentence in told.broken.values():
        warn(console, "images", f"{sentence.rstrip('.')}. It is left out")
    if told.measures is None:
        console.print(f"{len(told.rows)} images; what is true of them is not known.")
        return
    metric, value = Metric(network.task.metric, network.task.mode).words, told.measures.mean().item()
    right = f" ({int(told.measures.sum())} of them)" if isinstance(network.task, Classification) else ""
    console.print(f"{len(told.rows)} images: {metric} {value:.4f}{right}")
