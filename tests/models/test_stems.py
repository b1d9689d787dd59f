"""What stands before and after the cells: the choices of the package, and a user's own."""

from typing import Any

import pytest
import torch
from tests.models.own_parts import Dropped, Fussy, MeanAndMaximum, Narrow, Pair, Patches, PerPixel
from torch import nn

from archselect.costs.count import count
from archselect.genotype import PUBLISHED, Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.models.ops import FactorizedReduce
from archselect.models.stems import Choice, Head, ImageNetStem, check_head
from archselect.models.supernet.darts import DartsSupernet
from archselect.search_spaces import DartsSpace, NASBench201Space

DARTS_OPERATIONS = (
    "max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5".split()  # noqa: SIM905
)
SIDE_4: dict[str, Any] = {"_target_": "tests.models.own_parts.Patches", "side": 4}


def part(base: type[nn.Module], forward: Any) -> type[nn.Module]:
    """Return a class that is `base` but for its forward."""
    return type("Bad", (base,), {"forward": forward})


class Randomly(Patches):
    """Has weights that no file holds."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels)
        self.register_buffer("scale", torch.rand(channels, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.scale


class Counting(MeanAndMaximum):
    """Gives something else at every call."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class Normalised(MeanAndMaximum):
    """Has a normalisation whose statistics nothing gathers."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        self.layers.append(nn.BatchNorm1d(outputs))


class FromZero(MeanAndMaximum):
    """Begins with outputs of zero, so that its input has a gradient of zero at first."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        nn.init.zeros_(self.layers[-1].weight)


def darts(stem: Choice = "conv3x3", head: Choice = "linear", layers: int = 3) -> DartsSpace:
    return DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=layers, stem=stem, head=head)


def nasbench201(stem: Choice = "conv3x3", head: Choice = "linear") -> NASBench201Space:
    return NASBench201Space("two", ["skip_connect", "nor_conv_3x3"], 4, 1, stem=stem, head=head)


# Networks of other papers on ImageNet, as their authors' code has them.
P_DARTS = (
    "normal:2:skip_connect@0+dil_conv_3x3@1/skip_connect@0+sep_conv_3x3@1/sep_conv_3x3@1+sep_conv_3x3@3/"
    "sep_conv_3x3@0+dil_conv_5x5@4//reduction:2:avg_pool_3x3@0+sep_conv_5x5@1/sep_conv_3x3@0+dil_conv_5x5@2/"
    "max_pool_3x3@0+dil_conv_3x3@1/dil_conv_3x3@1+dil_conv_5x5@3"
)
PC_DARTS = (
    "normal:2:sep_conv_3x3@0+skip_connect@1/sep_conv_3x3@0+skip_connect@1/sep_conv_3x3@1+sep_conv_3x3@3/"
    "sep_conv_3x3@1+dil_conv_5x5@4//reduction:2:sep_conv_3x3@0+skip_connect@1/max_pool_3x3@1+dil_conv_5x5@2/"
    "sep_conv_3x3@1+sep_conv_3x3@2/sep_conv_5x5@0+sep_conv_3x3@3"
)


def elementwise(network: DiscreteNetwork) -> int:
    """Return what `thop`, by which later papers count, adds to MACs: two per normalised value, one per rectified."""
    total = 0

    def add(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += {nn.ReLU: 1}.get(type(module), 2 * isinstance(module, nn.BatchNorm2d)) * output.numel()

    hooks = [module.register_forward_hook(add) for module in network.modules() if not [*module.children()]]
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, 224, 224, device="meta"))
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize(
    ("genotype", "params", "millions", "macs", "with_elementwise"),
    [
        (PUBLISHED["DARTS_V2"], 4_718_752, 4.7, 529_911_552, None),  # published: 574 million, counted in another way
        (Genotype.parse(P_DARTS), 4_944_352, 4.9, 542_819_328, 557),
        (Genotype.parse(PC_DARTS), 5_342_464, 5.3, 581_627_328, 597),
    ],
    ids=["DARTS_V2", "P-DARTS", "PC-DARTS"],
)
def test_networks_on_imagenet_have_the_published_sizes(genotype, params, millions, macs, with_elementwise):
    space = DartsSpace("darts", DARTS_OPERATIONS, channels=16, layers=8)
    with torch.device("meta"):
        network = space.network(genotype, 224, 1000, channels=48, layers=14, stem="imagenet", auxiliary=True)
    costs = count(network, 224)
    assert (costs.params, costs.macs) == (params, macs)
    assert round(params / 1e6, 1) == millions
    if with_elementwise is not None:
        assert round((macs + elementwise(network)) / 1e6) == with_elementwise


def test_the_auxiliary_head_of_imagenet_reads_seven_pixels_and_has_one_normalisation():
    space = DartsSpace("darts", DARTS_OPERATIONS, channels=16, layers=8)
    with torch.device("meta"):
        network = space.network(PUBLISHED["DARTS_V2"], 224, 10, channels=8, layers=14, stem="imagenet", auxiliary=True)
        shapes = []
        assert network.auxiliary is not None
        network.auxiliary.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
        _, logits = network.forward_with_auxiliary(torch.empty(2, 3, 224, 224))
    assert logits is not None and logits.shape == (2, 10)
    assert shapes == [(2, 4 * 32, 7, 7)]
    assert sum(isinstance(part, nn.BatchNorm2d) for part in network.auxiliary.modules()) == 1


def test_the_stem_of_imagenet_gives_a_quarter_and_an_eighth_and_the_first_cell_reduces_the_former():
    supernet = darts("imagenet").supernet(64, 5)
    assert isinstance(supernet, DartsSupernet) and isinstance(supernet.stem, ImageNetStem)
    quarter, eighth = supernet.stem(torch.randn(2, 3, 64, 64))
    assert (quarter.shape, eighth.shape) == ((2, 4, 16, 16), (2, 4, 8, 8))
    first, second = supernet.preprocess[0], supernet.preprocess[1]  # type: ignore[misc]
    assert isinstance(first[0], FactorizedReduce) and not isinstance(second[0], FactorizedReduce)
    assert supernet(torch.randn(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("make", [darts, nasbench201])
@pytest.mark.parametrize(("stem", "size"), [(Patches, 16), (SIDE_4, 32), (Pair, 16), ("imagenet", 64)])
def test_supernet_and_network_have_the_stem_and_head_of_the_space(make, stem, size):
    torch.manual_seed(0)
    space = make(stem, MeanAndMaximum)
    supernet = space.supernet(size, 5, in_channels=2).eval()
    images = torch.randn(2, 2, size, size)
    network = supernet.network().eval()  # by magnitude, with its weights, which fit where the parts are the same
    assert type(network.stem) is type(supernet.stem) and isinstance(network.classifier, MeanAndMaximum)
    torch.testing.assert_close(network.classifier.state_dict(), supernet.classifier.state_dict())
    for built in (supernet, network):
        logits = built(images)
        assert logits.shape == (2, 5)
        logits.sum().backward()
        assert all(weight.grad is not None for weight in built.stem.parameters())


def test_a_network_may_have_another_stem_and_head_than_its_space():
    space = darts(Patches, MeanAndMaximum)
    network = space.network(space.example(), 8, 5, channels=4, layers=3, stem="conv3x3", head="linear")
    assert isinstance(network.classifier, nn.Linear) and network.stem[0].kernel_size == (3, 3)
    own = darts().network(space.example(), 32, 5, channels=4, layers=3, stem=SIDE_4)
    assert isinstance(own.stem, Patches) and own.reduction == 4


def test_ones_own_normalisations_take_the_statistics_of_all_processes():
    from archselect.distributed.batch_norm import BatchNorm2d

    assert isinstance(darts(Patches).supernet(16, 5).stem.layers[1], BatchNorm2d)


@pytest.mark.parametrize(
    ("options", "size", "told"),
    [
        ({"stem": "conv7x7"}, 8, r"The stem must be conv3x3 or imagenet, or one of your own.*got 'conv7x7'"),
        ({"head": "mlp"}, 8, r"The head must be linear, or one of your own.*got 'mlp'"),
        ({"stem": {"_target_": "no_such.Stem"}}, 8, r"said to be 'no_such\.Stem', which cannot be imported"),
        ({"stem": {**SIDE_4, "sides": 2}}, 8, r"stem cannot be built as tests\.models\.own_parts\.Patches\(3, 12\)"),
        ({"stem": nn.Identity}, 8, r"must map images \(2, 3, 8, 8\) to a feature map \(2, 12, 8/r, 8/r\)"),
        ({"stem": Narrow}, 8, r"got \(2, 6, 4, 4\)\. Correct its class"),
        ({"stem": lambda in_channels, channels: channels}, 8, r"must give a torch\.nn\.Module; got a int"),
        ({"stem": lambda in_channels, channels: nn.Linear(3, 3)}, 8, r"must take \(2, 3, 8, 8\).*RuntimeError"),
        ({"stem": Fussy}, 8, r"raises ValueError: Images are too small\. Correct its forward"),
        ({"stem": SIDE_4}, 24, r"after its stem has made it 4 times smaller.*a multiple of 16 and at least 32 pixels"),
        ({"stem": SIDE_4}, 30, r"\(2, 12, 30/r, 30/r\) with a whole r.*got \(2, 12, 7, 7\)"),
        ({"stem": "imagenet"}, 32, r"made it 8 times smaller.*a multiple of 32 and at least 64 pixels; got 32x32"),
        ({"stem": part(Patches, lambda self, x: [self.layers(x)])}, 8, r"got a list of 1: \(2, 12, 4, 4\)\. Correct"),
        (
            {"stem": part(Patches, lambda self, x: self.layers(x).double())},
            8,
            r"must give torch\.float32.*float64",
        ),
        ({"stem": part(Patches, lambda self, x: self.layers(x).detach())}, 8, r"its output has no gradient"),
        ({"stem": Randomly}, 8, r"stem must compute what another computes whose state_dict it loads"),
        ({"head": part(MeanAndMaximum, lambda self, x: MeanAndMaximum.forward(self, x.detach()))}, 8, r"it is none"),
        ({"head": part(MeanAndMaximum, lambda self, x: MeanAndMaximum.forward(self, x.round()))}, 8, r"it is zero"),
        ({"head": Counting}, 8, r"head must give the same for the same images in training mode"),
        ({"head": Normalised}, 8, r"take batch normalisation from nn\.BatchNorm2d.*layers\.3 is BatchNorm1d"),
        (
            {"head": PerPixel},
            8,
            r"last feature map \(2, 64, 2, 2\) to outputs \(2, 5\); got \(2, 5, 2, 2\)",
        ),
    ],
)
def test_a_stem_or_head_that_does_not_do_what_it_must_is_refused(options, size, told):
    with pytest.raises(ValueError, match=told):
        darts(**options).supernet(size, 5)


def test_a_head_may_begin_with_weights_of_zero_and_trying_it_draws_nothing_from_the_generator():
    supernet = darts("conv3x3", FromZero).supernet(8, 5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert not check_head(Head(FromZero, pooled=False), supernet.features, 5, 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "stem", "head", "draws"),
    [
        (darts, Patches, MeanAndMaximum, False),
        (darts, "conv3x3", Dropped, True),
        (nasbench201, part(Patches, lambda self, x: self.layers(x) + torch.randn(()) * self.training), "linear", True),
    ],
)
def test_a_supernet_knows_whether_its_stem_or_head_draws_random_numbers(make, stem, head, draws):
    assert make(stem, head).supernet(16, 5).draws is draws


def test_a_network_refuses_images_that_its_stem_makes_too_small():
    network = darts(SIDE_4).network(darts().example(), 32, 5, channels=4, layers=3)
    with pytest.raises(ValueError, match=r"makes images 4 times smaller, halves .* scale them up to 16x16"):
        network(torch.zeros(1, 3, 12, 12))
