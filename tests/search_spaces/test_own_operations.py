"""Operations of a user's own, defined where a space lists its candidates."""

from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from archselect.models.ops import primitive
from archselect.models.ops.own import Operation
from archselect.models.supernet.relaxation import SupernetOptions
from archselect.search_spaces import DartsSpace, NASBench201Space, instantiate_space

HERE = __name__


class Doubled(nn.Module):
    """A convolution whose output is multiplied, so that numbers can be foreseen."""

    def __init__(self, channels: int, stride: int, affine: bool, factor: float = 2.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.norm(self.conv(x))


DARTS = partial(DartsSpace, "own", channels=4, layers=3)
DEFINED = {"name": "doubled", "_target_": f"{HERE}.Doubled", "factor": 3.0}


def test_a_definition_stands_beside_names_in_every_form_that_operations_have() -> None:
    names = ("skip_connect", "doubled")
    entries = ["skip_connect", DEFINED]
    forms: list[Any] = [
        entries,
        [entries] * 14,
        {"normal": entries, "reduction": [entries] * 14},
        ["skip_connect", Operation("doubled", Doubled, factor=3.0)],
        [entries, *[["skip_connect", "doubled"]] * 13],  # defined once, named elsewhere
    ]
    for form in forms:
        space = DARTS(form)
        assert all(cell.operations == (names,) * 14 for cell in space.cells.values())
        made = space.primitives["doubled"].build(4, 2, True)
        assert isinstance(made, Doubled)
        assert (made.factor, made.conv.stride, made.norm.affine) == (3.0, (2, 2), True)


def test_the_config_of_a_space_keeps_definitions_for_the_space_to_build() -> None:
    config = OmegaConf.create(
        {
            "_target_": "archselect.search_spaces.NASBench201Space",
            "name": "own",
            "operations": ["skip_connect", {**DEFINED, "factor": "${channels}"}],
            "channels": 4,
            "cells_per_stage": 1,
        }
    )
    space = instantiate_space(config)
    assert isinstance(space, NASBench201Space)
    assert space.primitives["doubled"].definition == {"_target_": f"{HERE}.Doubled", "factor": 4}


def test_a_name_is_known_in_the_space_that_defines_it_and_nowhere_else() -> None:
    space = DARTS([DEFINED])
    genotype = space.example()
    assert {operation for cell in genotype for _, _, operation in cell.edges} == {"doubled"}
    network = space.network(genotype, 8, 10, channels=4, layers=3)
    assert sum(isinstance(module, Doubled) for module in network.modules()) == 3 * 8
    with pytest.raises(ValueError, match=r"'doubled' does not exist.*known where search_space.operations defines it"):
        primitive("doubled")
    with pytest.raises(ValueError, match="'doubled' does not exist"):
        DARTS(["skip_connect"]).network(genotype, 8, 10, channels=4, layers=3)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{**DEFINED, "name": "sep_conv_3x3"}], "'sep_conv_3x3' is one of the package's"),
        ([DEFINED, {**DEFINED, "factor": 4.0}], "'doubled' is defined twice, as .*'factor': 3.0.* 'factor': 4.0"),
        ([{**DEFINED, "name": "7x1"}], "letters, digits and '_', no digit first; got '7x1'"),
        ([{**DEFINED, "name": "pop"}], "cannot be called 'pop'"),
        ([{"_target_": f"{HERE}.Doubled"}], "has no name"),
        ([{"name": "doubled"}], "has no _target_"),
        ([{**DEFINED, "_target_": "my_missing_ops.Doubled"}], "'my_missing_ops.Doubled', which cannot be imported"),
        ([{**DEFINED, "_target_": f"{HERE}.HERE"}], "must be a class of modules; it is"),
        ([{**DEFINED, "stride": 2}], "must not set stride"),
        ([{**DEFINED, "_partial_": True}], "must not set _partial_"),
        ([{**DEFINED, "act": {"_target_": "torch.nn.ReLU"}}], "must be plain values; got a _target_"),
        ([DEFINED, ["skip_connect"]], "mix names and lists"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_in_a_sentence(entries: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DARTS(entries)


@pytest.mark.parametrize("stride", [1, 2])
def test_on_all_edges_out_of_a_state_it_is_a_module_each_weighted_and_summed(stride: int) -> None:
    """The plain sum, on PyTorch's operators and on the compiled loops."""
    from archselect import kernels
    from archselect.models.supernet.mixed_cell import MixedCell
    from archselect.models.supernet.mixture import Mixture

    space = DARTS(["skip_connect", DEFINED]).cells["normal"]
    cell = MixedCell(space, 4, stride)
    inputs = [torch.randn(3, 4, 8, 8) for _ in range(2)]
    weights = torch.rand(14, 2)
    states: list[Tensor] = list(inputs)
    for node in space.topology.node_states:
        total = torch.zeros(())
        for edge in space.topology.edges_into(node):
            source, _ = space.topology.edges[edge]
            of_state = cell.operations[source]
            skip = of_state["skip_connect"]  # type: ignore[index]
            position = space.topology.edges_from(source).index(edge)
            own = of_state["doubled"].edges[position]  # type: ignore[index]
            one_hot = torch.zeros(14, 2)
            one_hot[edge, 0] = weights[edge, 0]
            state = cell.read(source, states[source])
            total = total + weights[edge, 1] * own(states[source]) + skip(state, weights[edge, :1], [position])
        states.append(total)
    expected = torch.cat(states[2:], dim=1)
    torch.testing.assert_close(cell(inputs, Mixture(space, weights)).value, expected)
    with kernels.enabled():
        torch.testing.assert_close(cell(inputs, Mixture(space, weights)).value, expected)


class Grouped(Doubled):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, affine)
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=4)


def test_one_that_does_not_take_the_few_channels_of_partial_channels_is_refused_in_a_sentence() -> None:
    space = DARTS(["skip_connect", Operation("grouped", Grouped)])
    space.check_variant(SupernetOptions())
    with pytest.raises(ValueError, match=r"'grouped' cannot be built as .*Grouped\(2, 1, affine=False\).*divisible"):
        space.check_variant(SupernetOptions(partial_channels=2))
