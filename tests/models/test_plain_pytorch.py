"""A network is plain PyTorch to whoever holds it, and to PyTorch's own tools also where the compiled loops are on."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from tests.models.small_networks import darts, discrete, nasbench201
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from archselect import kernels
from archselect.kernels.cpu.native import NativeLoops
from archselect.models.ops import ReLUConvBN, SepConv
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.stacked_parameters import StackedWeight

NETWORKS: dict[str, Callable[[], nn.Module]] = {"discrete": discrete, "darts": darts, "nasbench201": nasbench201}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A network in evaluation mode, in float64, with statistics as training leaves them."""
    torch.manual_seed(0)
    made = NETWORKS[request.param]().double()
    made(images(8))
    return made.eval()


@pytest.fixture(params=[False, True], ids=["by_default", "turned_on"])
def turned_on(request: pytest.FixtureRequest) -> Iterator[bool]:
    if not request.param:  # nothing turns them on
        yield False
        return
    with kernels.enabled():
        yield True


each_way = pytest.mark.usefixtures("turned_on")


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def calls_of(run: Callable[[], object]) -> int:
    """Return how often loops are called while `run` runs forward."""
    with mock.patch.object(NativeLoops, "call", autospec=True, side_effect=NativeLoops.call) as call:
        run()
    return call.call_count


# Off and on


def test_loops_run_where_they_are_turned_on_and_nowhere_else(network: nn.Module) -> None:
    assert calls_of(lambda: network(images(2))) == 0
    with kernels.enabled():
        assert calls_of(lambda: network(images(2))) > 0
        with kernels.disabled():
            assert calls_of(lambda: network(images(2))) == 0
        assert calls_of(lambda: network(images(2))) > 0
    assert calls_of(lambda: network(images(2))) == 0


# PyTorch's tools


@each_way
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_gives_what_the_network_gives_on_other_images(network: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network, images(2))
    torch.testing.assert_close(traced(images(3, seed=2)), network(images(3, seed=2)))


@pytest.mark.parametrize("make", [discrete, darts, pytest.param(nasbench201, marks=pytest.mark.slow)])
def test_the_compiler_takes_the_whole_network(make: Callable[[], nn.Module]) -> None:
    torch.compiler.reset()
    network = make().double().eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    with kernels.enabled():
        torch.testing.assert_close(compiled(images(2)), network(images(2)))


@each_way
def test_fake_tensors_have_the_shape_of_real_ones(network: nn.Module) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert network(mode.from_tensor(images(2))).shape == (2, 5)


@each_way
def test_functions_of_the_network_can_be_transformed(network: nn.Module) -> None:
    x, expected = images(3), network(images(3))
    each = torch.func.vmap(lambda image: network(image.unsqueeze(0)).squeeze(0))
    torch.testing.assert_close(each(x), expected)
    _, moved = torch.func.jvp(network, (x,), (x,))
    torch.testing.assert_close(moved, (network(x + 1e-6 * x) - network(x - 1e-6 * x)) / 2e-6, rtol=1e-3, atol=1e-5)
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def loss(given: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(network, given, (x,)).square().sum()

    found = torch.func.grad(loss)(parameters)
    actual = torch.autograd.grad(
        network(x).square().sum(), list(network.parameters()), materialize_grads=True, allow_unused=True
    )
    torch.testing.assert_close(list(found.values()), list(actual))


class Tracer(torch.fx.Tracer):
    """Looks into no normalisation: `nn.BatchNorm2d` asks for the dimensions, and a subclass is no leaf by itself."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.BatchNorm2d) or super().is_leaf_module(module, name)


@each_way
def test_operations_can_be_traced_symbolically() -> None:
    for module in (ReLUConvBN(4, 4, 3, 1, 1), SepConv(4, 3, 2)):
        called = [node.target for node in Tracer().trace(module.eval()).nodes if node.op == "call_module"]
        assert called == [str(number) for number in range(len(module))]


@each_way
def test_a_network_has_the_floating_point_operations_of_its_modules() -> None:
    network, expected = discrete().eval(), 0

    def count(module: nn.Module, arguments: object, out: Tensor) -> None:
        nonlocal expected
        assert isinstance(module, nn.Conv2d | nn.Linear)
        expected += 2 * out.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.randn(2, 3, 16, 16))
    for module in network.modules():
        module._forward_hooks.clear()
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(2, 3, 16, 16))
    assert counter.get_total_flops() == expected


# Hooks


def is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward  # containers have none


@each_way
def test_hooks_see_every_module(network: nn.Module) -> None:
    before, after = Counter[nn.Module](), Counter[nn.Module]()
    expected = network(images(2))
    modules = [module for module in network.modules() if is_called(module)]
    for module in modules:
        module.register_forward_pre_hook(lambda module, arguments: before.update([module]))
        module.register_forward_hook(lambda module, arguments, out: after.update([module]))
    torch.testing.assert_close(network(images(2)), expected)
    assert set(before) == set(after) == set(modules)
    seen: set[nn.Module] = set()
    with nn.modules.module.register_module_forward_hook(lambda module, arguments, out: seen.add(module)):
        network(images(2))
    assert seen == set(modules)


@each_way
def test_a_hook_on_a_part_changes_what_the_network_gives(network: nn.Module) -> None:
    expected = network(images(2))
    part = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)][-2]
    with part.register_forward_hook(lambda module, arguments, out: 2 * out):
        assert not torch.allclose(network(images(2)), expected)
    torch.testing.assert_close(network(images(2)), expected)


@each_way
def test_backward_hooks_see_the_gradient() -> None:
    network, seen = discrete(), list[torch.Size]()
    depthwise = next(module for module in network.modules() if isinstance(module, SepConv))[1]
    depthwise.register_full_backward_hook(lambda module, into, out_of: seen.append(out_of[0].shape))
    network(torch.randn(2, 3, 16, 16)).sum().backward()
    assert len(seen) == 1


def test_a_hook_leaves_the_other_cells_to_the_loops(caplog: pytest.LogCaptureFixture) -> None:
    kernels.modules._say_once.cache_clear()
    network = darts().double().eval()
    cell = next(module for module in network.modules() if isinstance(module, MixedCell))
    with kernels.enabled():
        every = calls_of(lambda: network(images(2)))
        next(part for part in cell.modules() if isinstance(part, StackedWeight)).register_forward_hook(lambda *_: None)
        assert 0 < calls_of(lambda: network(images(2))) < every
        network(images(2))
    (record,) = [record for record in caplog.records if record.name == "archselect.kernels.modules"]
    assert record.getMessage() == (
        "A StackedWeight has hooks or is not as the network was built with it: what it is a part of runs on PyTorch's "
        "operators, which is slower."
    )
