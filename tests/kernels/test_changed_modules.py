"""Where the loops are on, a changed module gives what PyTorch gives of it, with its gradients and statistics."""

from copy import deepcopy

import pytest
import torch
from tests.kernels.plain_comparison import assert_close, random
from tests.models.small_networks import darts
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from archselect import kernels
from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.ops import FactorizedReduce, ReLUConvBN, SepConv
from archselect.models.supernet.mixed_ops import DepthwiseSeparable, FactorizedReduction, Pool, SeparableConvolution
from archselect.models.supernet.stacked_parameters import StackedBatchNorm, StackedWeight


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Own(torch.Tensor):
    """A subclass as of quantised or distributed parameters."""


def first(network, kind):
    return next(module for module in network.modules() if type(module) is kind)


def set_to(**values):
    def change(module):
        for name, value in values.items():
            setattr(module, name, value)

    return change


def child(number, change):
    """Return what changes a child of a sequence: a module takes its place, anything else is called with it."""

    def change_child(module):
        if isinstance(change, nn.Module):
            module[number] = deepcopy(change)
        else:
            change(module[number])

    return change_child


def own_forward(module):
    module.forward = lambda x: x.sin()


def own_class(module):
    class Negated(type(module)):
        def forward(self, *arguments):
            return -super().forward(*arguments)

    module.__class__ = Negated


CHANGES = {
    "gelu": child(0, nn.GELU()),
    "bias": child(1, set_to(bias=nn.Parameter(torch.ones(4, dtype=torch.float64)))),
    "padding": child(1, nn.Conv2d(4, 4, 3, padding=2, bias=False, groups=1)),
    "padding_mode": child(1, nn.Conv2d(4, 4, 3, padding=1, bias=False, padding_mode="reflect")),
    "no_padding": child(1, set_to(padding=(0, 0))),
    "wider_stride": child(1, set_to(stride=(2, 1))),
    "stride_of_three": child(1, set_to(stride=(3, 3))),
    "dilation": child(1, set_to(dilation=(2, 2))),
    "own_forward": child(0, own_forward),
    "own_class": child(-1, own_class),
    "weight_norm": child(1, parametrizations.weight_norm),
    "parametrization": child(1, lambda conv: parametrize.register_parametrization(conv, "weight", Doubled())),
    "pruning": child(1, lambda conv: nn.utils.prune.l1_unstructured(conv, "weight", 0.5)),
    "tensor_subclass": child(1, lambda conv: set_to(weight=nn.Parameter(conv.weight.detach().as_subclass(Own)))(conv)),
    "group_norm": child(-1, nn.GroupNorm(2, 4)),
    "no_shift": child(-1, set_to(bias=None)),
    "no_statistics": child(-1, BatchNorm2d(4, track_running_stats=False)),
    "one_more": lambda module: module.append(nn.Sigmoid()),
    "average": child(-1, set_to(momentum=None)),
    "none": lambda module: None,
}


def results(make, x, on):
    """Return output, gradients and buffers after two batches."""
    torch.manual_seed(0)
    module = make()
    with kernels.enabled(on):
        out = [module(x), module(2 * x)]
    needed, loss = [x, *module.parameters()], sum(one.square().sum() for one in out)
    gradients = torch.autograd.grad(loss, needed, materialize_grads=True, allow_unused=True)
    return [value.double().as_subclass(torch.Tensor) for value in (*out, *gradients, *module.buffers())]


def assert_the_loops_change_nothing(make, x):
    assert_close(results(make, x, on=True), results(make, x, on=False))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("build", [lambda: ReLUConvBN(4, 4, 3, 1, 1), lambda: SepConv(4, 3, 1)], ids=["conv", "sep"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_changed_operation(build, change):
    def make():
        module = build().double().train()
        CHANGES[change](module)
        return module.double()

    assert_the_loops_change_nothing(make, random(2, 4, 9, 9))


@pytest.mark.parametrize("part", [3, 7])
@pytest.mark.parametrize("change", [{"training": False}, {"momentum": 0.9}, {"eps": 0.1}], ids=str)
def test_a_normalisation_that_differs_from_the_other(part, change):
    def make():
        module = SepConv(4, 3, 1).double().train()
        set_to(**change)(module[part])
        return module

    assert_the_loops_change_nothing(make, random(2, 4, 9, 9))


def supernet():
    return darts(("skip_connect", "sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3")).double()


def wider(network):
    operation = first(network, SeparableConvolution)
    operation.conv_2 = DepthwiseSeparable(operation.conv_2.depthwise.edges, 4, 5)


IN_SUPERNETS = {
    "parametrization": lambda it: parametrize.register_parametrization(first(it, StackedWeight), "weight", Doubled()),
    "own_class": lambda it: own_class(first(it, StackedBatchNorm)),
    "evaluation": lambda it: first(it, StackedBatchNorm).eval(),
    "momentum": lambda it: set_to(momentum=0.9)(first(it, StackedBatchNorm)),
    "average": lambda it: set_to(momentum=None)(first(it, StackedBatchNorm)),
    "average_of_an_input": lambda it: set_to(momentum=None)(first(it, ReLUConvBN)[2]),
    "average_of_a_reduction": lambda it: set_to(momentum=None)(first(it, FactorizedReduction).norm),
    "pooling": lambda it: set_to(maximum=True)(first(it, Pool)),
    "kernel": wider,
    "dilation": lambda it: set_to(dilation=2)(first(it, DepthwiseSeparable)),
    "gelu_before_a_cell": lambda it: child(0, nn.GELU())(first(it, ReLUConvBN)),
    "bias_before_a_cell": lambda it: set_to(bias=nn.Parameter(torch.ones(4)))(first(it, ReLUConvBN)[1]),
    "affine_before_a_cell": lambda it: child(2, BatchNorm2d(4))(first(it, ReLUConvBN)),
    "own_reduction_before_a_cell": lambda it: own_class(first(it, FactorizedReduce)),
    "bias_in_a_reduction": lambda it: set_to(bias=nn.Parameter(torch.ones(8)))(first(it, FactorizedReduce).second),
    "none": lambda it: None,
}


@pytest.mark.parametrize("change", IN_SUPERNETS)
def test_a_changed_supernet(change):
    def make():
        network = supernet().train()
        IN_SUPERNETS[change](network)
        return network.double()

    assert_the_loops_change_nothing(make, random(2, 3, 16, 16))


def test_a_part_of_another_class_is_called():
    network = supernet().train()

    class Called(nn.Module):
        def forward(self, *arguments):
            raise LookupError("called")

    first(network, DepthwiseSeparable).norm = Called()
    with pytest.raises(LookupError, match="called"):
        network(random(2, 3, 16, 16))


@pytest.mark.parametrize("device", ["meta", "fake"])
def test_mixture_weights_elsewhere_than_in_memory_are_refused(device):
    with torch._subclasses.FakeTensorMode():
        fake = torch.ones(1, dtype=torch.float64)
    weights = fake if device == "fake" else torch.ones(1, device="meta", dtype=torch.float64)
    with pytest.raises(ValueError, match="no tensor in the memory of the CPU"):
        kernels.edge_forward(
            random(2, 4, 5, 5), [kernels.Identities(weights, (0,))], 1, 1, kernels.NormMode(True, 0.1, 1e-5)
        )
