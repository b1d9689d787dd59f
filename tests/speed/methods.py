"""What a step of every search method, and of every part, costs beside a step of first-order DARTS.

A step is the gradient in `alpha` and the gradient in the weights, half-way through the search; the optimizers' own work
is left out. The sides take turns. A method that leaves `alpha` alone for a share of the epochs, or decides edges on the
way, costs less in the mean.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from archselect.pipeline.command_line import register_resolvers
from archselect.search import SearchMethod, SearchModule

from .conditions import Conditions, add_arguments, conditions
from .setting import CLASSES, CONFIGS, IMAGE_SIZE, SUPERNETS, Setting
from .sides import Data, Fast, data_for
from .stopwatch import medians
from .table import aligned, show


def search_methods(supernet: str) -> dict[str, SearchMethod]:
    """Return every search method, and first-order DARTS with each part, by what one would type."""

    def made(*choices: str) -> SearchMethod:
        config = compose("train", [f"search_space={supernet}", *choices])
        method: SearchMethod = instantiate(config.search, _convert_="all")
        return method

    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        names = [file.stem for file in sorted((CONFIGS / "search").glob("*.yaml"))]
        parts = [file.stem for file in sorted((CONFIGS / "search" / "part").glob("*.yaml"))]
        methods = {name: made(f"search={name}") for name in ["darts", *(name for name in names if name != "darts")]}
        return methods | {f"darts + {name}": made(f"search/part=[{name}]") for name in parts}


class Search(Fast):
    """The supernet of the package under any search method, half-way through."""

    def __init__(self, setting: Setting, method: SearchMethod, limits: Conditions) -> None:
        super().__init__(setting, limits)
        torch.manual_seed(0)
        self.supernet = setting.space().supernet(IMAGE_SIZE, CLASSES, method.variant).to(limits.device).train()
        self.module = SearchModule(self.supernet, method, CLASSES, rng_key=())
        self.module.configure_optimizers()
        self.module.set_progress(0.5)

    def alpha(self, data: Data) -> None:
        """Compute the gradient in `alpha`, regularisers included."""
        with self.conditions.entered():
            self.module._alpha_gradients(data.weights, data.alpha)

    def step(self, data: Data) -> None:
        """See `Side`."""
        if self.module.method.architecture_gradient is not None:
            self.alpha(data)
        if self.module.method.freezing is not None:
            self.module._validation_gradients(*data.alpha)
        self.weights(data)


def ratios(setting: Setting, limits: Conditions, repeat: int) -> list[list[str]]:
    """Return rows of name, seconds per step and the ratio to the first one's."""
    sides = {name: Search(setting, method, limits) for name, method in search_methods(setting.supernet).items()}
    runs: list[Callable[[], None]] = [partial(side.step, data_for(side, limits)) for side in sides.values()]
    times = medians(runs, repeat, limits.device)
    return [[name, f"{1e3 * time:.0f}", f"{time / times[0]:.2f}"] for name, time in zip(sides, times, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(prog="python -m tests.speed.methods", description=__doc__)
    parser.add_argument("--supernet", choices=SUPERNETS, action="append", help="may be repeated; default: s2")
    parser.add_argument("--channels", type=int, help="default: as configured")
    parser.add_argument("--depth", type=int, help="default: as configured")
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    add_arguments(parser, batch=64)
    arguments = parser.parse_args()
    limits = conditions(arguments)
    limits.apply()
    show(f"{limits}\n")
    for supernet in arguments.supernet or ["s2"]:
        show(supernet)
        rows = ratios(Setting(supernet, arguments.channels, arguments.depth), limits, arguments.repeat)
        show(aligned([["search method", "step\nms", "x darts"], *rows]) + "\n")


if __name__ == "__main__":
    main()
