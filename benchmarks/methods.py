"""A step of every search method, and of every part, beside one of first-order DARTS.

A step is the gradient in `alpha` and the gradient in the weights, half-way through the search; the optimizers' own work
is left out. The methods take turns. A method that leaves `alpha` alone for a share of the epochs, or decides edges on
the way, costs less in the mean.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from archselect.pipeline.command_line import register_resolvers
from archselect.search import SearchMethod
from benchmarks.measuring import medians
from benchmarks.output import show, show_table
from benchmarks.settings import CONFIGS, add_conditions, add_supernets, conditions, settings
from benchmarks.sides import Package, data_for

METHODS = {one.stem: f"search={one.stem}" for one in sorted((CONFIGS / "search").glob("*.yaml"))}
PARTS = {f"darts+{one.stem}": f"search/part=[{one.stem}]" for one in sorted((CONFIGS / "search/part").glob("*.yaml"))}
CHOICES = METHODS | PARTS
"""What one would type for every search method, and for first-order DARTS with each part."""


def search_methods(supernet: str, names: Sequence[str]) -> dict[str, SearchMethod]:
    """Return search methods as `train.py` composes them."""
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        configs = {name: compose("train", [f"search_space={supernet}", CHOICES[name]]) for name in names}
    return {name: instantiate(config.search, _convert_="all") for name, config in configs.items()}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    add_supernets(parser, ("s2",))
    add_conditions(parser, batch=64, repeat=5)
    parser.add_argument(
        "--method", nargs="+", choices=CHOICES, default=list(CHOICES), help="beside darts; default: all"
    )


def run(options: Namespace) -> None:
    """Measure and print."""
    under = conditions(options)
    show(f"{under}\n")
    names = ["darts", *(name for name in options.method if name != "darts")]
    for setting in settings(options):
        methods = search_methods(setting.supernet, names)
        sides = {name: Package(setting, under, method, progress=0.5) for name, method in methods.items()}
        runs = [partial(side.step, data_for(side, under)) for side in sides.values()]
        times = medians(runs, options.repeat, under.device)
        show(setting.supernet)
        rows = [[name, f"{1e3 * time:.0f}", f"{time / times[0]:.2f}"] for name, time in zip(sides, times, strict=True)]
        show_table(["search method", "step\nms", "x darts"], rows)
