"""`python export.py run=FOLDER format=onnx`: the network of a run as a file, checked, with a card beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from archselect.deployment.card import as_markdown, card_of
from archselect.deployment.check import Agreement, compared, random_images, test_images
from archselect.deployment.formats import FORMATS, Deployed
from archselect.deployment.loading import load_network
from archselect.deployment.network import TrainedNetwork
from archselect.genotype import Genotype
from archselect.pipeline.config import as_user_error, to_plain_dict
from archselect.pipeline.finished_run import FinishedRun, changes_of, open_run
from archselect.pipeline.run import log_exceptions, redact_hydra_files
from archselect.store import write_text
from archselect.store.redact_paths import expanded
from archselect.utils.errors import stopping_on_signals
from archselect.utils.validation import NonNegativeInt, PositiveFloat, check_fields

NAME = "network"
"""Of the file and of the two of its card, before the suffix."""


@dataclass(frozen=True)
class Export:
    """What is written and how it is checked; configs/export.yaml says what each option means."""

    format: Literal["torch_export", "onnx", "safetensors"]
    normalization: Literal["inside", "outside"]
    image_size: Literal["free", "fixed"]
    test_images: NonNegativeInt | None
    tolerance: PositiveFloat

    def __post_init__(self) -> None:
        check_fields(self, "")

    def write(self, run: FinishedRun, folder: Path, trusted: tuple[str, ...] = ()) -> dict[str, Any]:
        """Write the network of a run, and its card, into a folder; return what the card says.

        Raises:
            ValueError: The run trained no network, it cannot be written in this format, or the file computes something
                else; then no file is there, none of an earlier call either.
        """
        form, network = FORMATS[self.format], load_network(run)
        _check_computes_the_same_twice(network)
        path = folder / f"{NAME}{form.suffix}"
        for old in (path, *(path.with_suffix(suffix) for suffix in (".md", ".json"))):
            old.unlink(missing_ok=True)
        deployed = Deployed(network, self.normalization == "inside").eval()
        with TemporaryDirectory(dir=folder, prefix=".unchecked-") as unchecked:
            made = Path(unchecked) / path.name
            images = form.write(network, deployed, self.image_size == "free", made)
            compute = form.read(made, deployed, trusted)
            random, drawn = compared(compute, deployed, random_images(images), self.tolerance)
            real, tested = 0.0, 0
            if self.test_images != 0:
                batches = test_images(run, deployed.normalizes, self.test_images)
                real, tested = compared(compute, deployed, batches, self.tolerance)
            made.replace(path)
        agreement = Agreement(self.tolerance, max(random, real), drawn, tested)
        card = card_of(run, network, images, deployed.normalizes, path, agreement, trusted)
        write_text(path.with_suffix(".json"), json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        write_text(path.with_suffix(".md"), as_markdown(card))
        return card


def _check_computes_the_same_twice(network: TrainedNetwork) -> None:
    """Raise a ValueError for a network that draws noise: what a file of it computes could not be checked."""
    cells = Genotype.from_text(network.description.genotype)
    if any(operation == "noise" for cell in cells for _, _, operation in cell.edges):
        raise ValueError(
            "This network draws noise whenever it is asked (the operation noise of its genotype), so that no file can "
            "be compared with it. Choose another architecture."
        )


def export(config: DictConfig) -> dict[str, Any]:
    """Write the file that the config describes into Hydra's run folder, and return what its card says.

    Raises:
        UserError: An option or the run does not allow it, or the file computes something else than the network.
    """
    console, folder = Console(highlight=False), Path(HydraConfig.get().runtime.output_dir)
    with stopping_on_signals(console), log_exceptions(), as_user_error():
        redact_hydra_files(folder)
        config = expanded(config)
        options = to_plain_dict(config)
        export = Export(**{name: options[name] for name in Export.__dataclass_fields__})
        trusted = tuple(config.trusted)
        card = export.write(open_run(config.run, changes_of(config), trusted), folder, trusted)
    checked = card["checked"]
    console.print(
        f"{card['file']} computes what the network computes, on {checked['random_images']} random and "
        f"{checked['test_images']} test images: outputs differ by {checked['difference']:.1g} of the largest at most."
    )
    console.print(f"Written: {escape(str(folder))}/: {card['file']}, {NAME}.md, {NAME}.json", soft_wrap=True)
    return card
