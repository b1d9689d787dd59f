"""`python -m archselect.costs GENOTYPE`: what an architecture costs, without a run; or the network of a run, now."""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from archselect.costs.cache import costs_of
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.pipeline.command_line import arranged, register_resolvers
from archselect.pipeline.config import instantiate_part, to_plain_dict
from archselect.pipeline.console import costs_in_words
from archselect.pipeline.finished_run import open_run
from archselect.pipeline.run_costs import cost_options
from archselect.store.redact_paths import SUMMARY
from archselect.utils.errors import in_a_sentence
from archselect.utils.validation import POSITIVE_INT

IMAGES = {"image_size": 32, "classes": 10, "in_channels": 3}
"""What the images are of which a genotype is asked; those of a run are known."""

EXAMPLES = """
examples:
  python -m archselect.costs DARTS_V2
  python -m archselect.costs genotype.json search_space=s2 evaluation.network.channels=16 image_size=64 device=cpu
  python -m archselect.costs logs/runs/NAME/DATE --json
  python -m archselect.costs measure --help   # a table of latencies, for searches and selections under a limit
"""


@dataclass(frozen=True)
class CostedNetwork:
    """A network whose costs are asked for."""

    title: str
    network: DiscreteNetwork
    image_size: int
    config: DictConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.costs",
        description="Count and measure what the network of an architecture costs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", help="a genotype in any form (a published name, a .json file, a text), or a run's folder"
    )
    overrides = "as of train.py, and image_size=32 classes=10 in_channels=3 device=cpu; of a run: device, costs.seconds"
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help=overrides)
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument(
        "--trusted", action="append", default=[], metavar="PACKAGE", help="whose classes a run may name"
    )
    return carry_out(print_costs, parser, arguments)


def carry_out(
    work: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> int:
    """Do what is typed, with the configs that it names; return the exit code, 1 where an error is a sentence."""
    parser.add_argument("--configs", default="configs", metavar="FOLDER", help="the configs (default: configs)")
    parser.add_argument("--config-dir", metavar="FOLDER", help="choices of your own, such as a search space")
    options = parser.parse_intermixed_args(arguments)
    try:
        work(options)
    except Exception as error:
        if (sentence := in_a_sentence(error, composing=True)) is None:
            raise
        sys.stderr.write(f"Error: {sentence}\n")
        return 1
    return 0


def print_costs(options: argparse.Namespace) -> None:
    """Print the costs of the network that the options describe."""
    own, overrides = split(options.overrides, [*IMAGES, "device"], "image_size=32; the genotype comes first")
    for key in IMAGES.keys() & own.keys():
        POSITIVE_INT.check(key, int(own[key]) if own[key].isdecimal() else own[key])
    device = device_named(own.pop("device", None))
    if (Path(options.what) / SUMMARY).is_file():
        asked = of_run(options.what, own, overrides, options.trusted)
    else:
        asked = of_genotype(options.what, own, overrides, options.configs, options.config_dir)
    found = costs_of(asked.network, asked.image_size, asked.network.in_channels, device, cost_options(asked.config))
    if options.json:
        sys.stdout.write(json.dumps({"architecture": asked.title, **found}, indent=2) + "\n")
        return
    table = Table(show_header=False, title=asked.title, title_justify="left")
    table.add_row("parameters", f"{found['params']:,}")
    table.add_row("costs", costs_in_words({f"costs.{name}": value for name, value in found.items()}))
    Console(highlight=False).print(table)


def of_genotype(text: str, own: dict[str, str], overrides: list[str], configs: str, more: str | None) -> CostedNetwork:
    """Return the network of a genotype, as deep and wide as the evaluation of the composed config has it."""
    genotype = Genotype.parse(text)
    if genotype.names == ("cell",) and not any(one.startswith("search_space=") for one in overrides):
        overrides = ["search_space=nasbench201", *overrides]
    images = {name: int(own.get(name, default)) for name, default in IMAGES.items()}
    config = composed(overrides, configs, more)
    space, skeleton = instantiate_part(config, "search_space"), config.evaluation.get("network")
    sizes = space.supernet_sizes if skeleton is None else to_plain_dict(skeleton)
    size, classes, channels = images.values()
    try:
        network = space.network(genotype, size, classes, channels, **sizes)
    except TypeError as error:
        raise ValueError(
            f"evaluation={config.evaluation.name} has the network of {', '.join(map(str, sizes))}, not all of which "
            f"networks of {space.name} have. Leave evaluation=... out for the one that suits the space."
        ) from error
    said = ", ".join(f"{name} {value}" for name, value in sizes.items() if value is not None)
    title = f"{genotype.label} in {space.name} ({said})"
    return CostedNetwork(title, network, size, config)


def of_run(folder: str, own: dict[str, str], overrides: list[str], trusted: Sequence[str]) -> CostedNetwork:
    """Return the network of a run, as its summary has it."""
    if wrong := [*own, *(one for one in overrides if not one.startswith("costs."))]:
        raise ValueError(
            f"{wrong[0]} is no option for the network of a run, which is what it is. Give its genotype, "
            f"{folder}/genotype.json, with the options that you want."
        )
    run = open_run(folder, {"costs": {"latency": True, "seconds": 1.0}}, trusted)
    run.config.merge_with_dotlist(overrides)
    parts = run.parts
    network = parts.evaluation.judged_network(parts.space, run.genotype, parts.data, parts.task.outputs(parts.data))
    return CostedNetwork(f"{run.folder}", network, parts.evaluation.judged_image_size(parts.data), run.config)


def split(given: Sequence[str], names: Collection[str], example: str) -> tuple[dict[str, str], list[str]]:
    """Return the options of a command, which have these names, and those of train.py."""
    own = dict[str, str]()
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise ValueError(f"{one} must be an option, NAME=VALUE, such as {example}.")
        if key in names:
            own[key] = value
    return own, [one for one in given if one.partition("=")[0] not in own]


def composed(overrides: list[str], configs: str, more: str | None) -> DictConfig:
    """Return the config that `train.py` would compose; `more`: a folder with further choices."""
    for folder in (configs, more):
        if folder is not None and not Path(folder).is_dir():
            train_py = "Run this in the folder of train.py, or add --configs FOLDER/configs with its name for FOLDER."
            mend = train_py if folder == configs else "--config-dir names one with choices of your own."
            raise ValueError(f"There is no folder {folder} here. {mend}")
    register_resolvers()
    searched = [] if more is None else [f"hydra.searchpath=[file://{Path(more).resolve()}]"]
    with initialize_config_dir(str(Path(configs).resolve()), version_base="1.3"):
        return compose("train", [*searched, *arranged(overrides)])


def device_named(name: str | None) -> torch.device:
    """Return a device of this machine, by default the GPU if there is one; a ValueError for a name that none has."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={name} is no device of this machine: device=cpu, or cuda where there is one."
        ) from error
