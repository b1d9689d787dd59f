"""One bilevel step of every search method, against numbers that were written once and read by a person.

`python tests/search/test_golden_steps.py --write` writes `golden_steps.yaml` again; its difference is what changed.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from archselect.data.loader import BilevelBatch
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.pipeline.command_line import register_resolvers
from archselect.search import SearchMethod, SearchModule
from archselect.tasks import Classification
from archselect.training.step import optimizer_step

CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).with_name("golden_steps.yaml")
COMMAND = "python tests/search/test_golden_steps.py --write"
TOLERANCE = 1e-4
"""Relative: other processors and the compiled loops differ by less than 1e-5, mistakes by more than 1e-3."""

METHODS = sorted(file.stem for file in (CONFIGS / "search").glob("*.yaml"))
CLASSES = 4


def search_method(name: str) -> SearchMethod:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["search_space=s2", f"search={name}"])
    method = instantiate(config.search, _convert_="all")
    assert isinstance(method, SearchMethod)
    return method


def s2_supernet(method: SearchMethod) -> DartsSupernet:
    topology = CellTopology(2, 4, "concat", 2)
    cells = {
        name: CellSpace(name, topology, (("skip_connect", "sep_conv_3x3"),) * 14) for name in ("normal", "reduction")
    }
    return DartsSupernet(cells, channels=4, layers=3, classes=CLASSES, alpha_scale=0.5, variant=method.variant)


def a_batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(CLASSES, (8,), generator=generator)


def norm(gradients: object) -> float:
    assert isinstance(gradients, list | tuple)
    return float(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm())


def a_step(name: str) -> dict[str, float]:
    """Make a step in the middle of the search, from fixed parameters on fixed images."""
    torch.manual_seed(0)
    method = search_method(name)
    module = SearchModule(s2_supernet(method), method, Classification(), CLASSES, (0, "golden"))
    (_, *of_alpha), _ = module.configure_optimizers()
    module.set_progress(0.5)
    torch.manual_seed(1)
    batch, in_alpha = BilevelBatch(a_batch(0), a_batch(1)), 0.0
    if method.architecture_gradient is not None:
        gradients = module.alpha_gradients(batch)
        in_alpha = norm(gradients)
        optimizer_step(of_alpha[0], module.supernet.architecture_parameters(), gradients)
    losses, _, weight_gradients = module.weight_gradients(batch)
    return {"loss": float(losses.mean()), "alpha_gradient": in_alpha, "weight_gradient": norm(weight_gradients)}


def golden() -> dict[str, dict[str, float]]:
    return dict(yaml.safe_load(GOLDEN.read_text()))


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("name", METHODS)
def test_a_step_gives_the_numbers_that_were_written_down(name: str) -> None:
    assert name in golden(), f"configs/search/{name}.yaml is new: run `{COMMAND}` to add it, and read its numbers"
    assert a_step(name) == pytest.approx(golden()[name], rel=TOLERANCE)


def test_no_numbers_are_left_of_a_method_that_is_gone() -> None:
    assert sorted(golden()) == METHODS, f"run `{COMMAND}`"


def test_methods_that_differ_in_a_step_have_other_numbers() -> None:
    numbers = golden()
    alike = {"darts", "sgas", "sgas2"}  # these differ in what they decide after an epoch
    assert numbers["darts"] == numbers["sgas"] == numbers["sgas2"]
    others = [tuple(numbers[name].values()) for name in METHODS if name not in alike - {"darts"}]
    assert len(set(others)) == len(others)


def write() -> None:
    lines = [
        "# A bilevel step of each search method in the middle of its search: the loss of the weights' step and the",
        f"# norms of the two gradients. Written by `{COMMAND}`; {TOLERANCE} relative is allowed.",
    ]
    for name in METHODS:
        lines.append(f"{name}:")
        lines += [f"  {key}: {value:.7g}" for key, value in a_step(name).items()]
    GOLDEN.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(f"usage: {COMMAND}")
    write()
