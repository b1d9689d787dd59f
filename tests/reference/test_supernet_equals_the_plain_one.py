"""The supernet shares, stacks and folds; it must equal one module per operation, weighted and summed."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.reference.correspondence import plain_counterpart
from tests.reference.plain_supernet import plain_mixture, replay_noise

from archselect.models.supernet.mixture import MixtureWeights
from archselect.search_spaces import DartsSpace

CONFIGS = Path(__file__).parents[2] / "configs" / "search_space"
SPACES = [*sorted(path.stem for path in CONFIGS.glob("*.yaml")), "ragged"]
CLASSES = 5

# Relative to the norm of what is compared. Measured: 1e-13 in float64; in float32 6e-6 for logits and statistics.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
# A gradient jumps where rounding carries an activation over the kink of a ReLU. In float32 that moves the plain
# supernet by up to 7e-3 from itself in float64; without such a jump 1e-5 was measured.
GRADIENT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-2}


def configured(name):
    if name == "ragged":
        return ragged()
    tiny = {"cells_per_stage": 1} if name == "nasbench201" else {"layers": 3 if name == "darts" else 4}
    return instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), channels=4, **tiny)


def ragged():
    """A space whose edges have one, two or three candidates."""
    one, two, three = ["sep_conv_3x3"], ["skip_connect", "dil_conv_5x5"], ["none", "max_pool_3x3", "sep_conv_3x3"]
    return DartsSpace(
        "ragged",
        {"normal": [one, two, three, two, one, *[three] * 4, *[two] * 5], "reduction": [three, one, *[two] * 12]},
        channels=4,
        layers=4,
    )


def make(space, dtype=torch.float64):
    """Return a supernet with statistics and alpha as training leaves them, its plain counterpart and their pairs."""
    torch.manual_seed(0)
    supernet = space.supernet(8, CLASSES).to(dtype)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.normal_()
        for name, statistic in supernet.named_buffers():
            if name.endswith("running_mean"):
                statistic.normal_()
            elif name.endswith("running_var"):
                statistic.uniform_(0.5, 1.5)
    return supernet, *plain_counterpart(space, supernet)


def images(size, dtype=torch.float64, memory_format=torch.contiguous_format):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 if size < 32 else 2, 3, size, size, generator=generator, dtype=torch.float64)
    return x.to(dtype).contiguous(memory_format=memory_format)


def loss(logits):
    factors = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    return (logits * factors).sum()


def assert_equal(actual, expected, what, tolerance=TOLERANCE):
    scale = expected.norm().item()
    error = (actual - expected).norm().item()
    assert error <= tolerance[expected.dtype] * scale, f"{what}: {error:.3g} of {scale:.3g}"


def assert_equal_gradients(actual, expected, what):
    assert_equal(gradient(actual), torch.cat([gradient(part) for part in expected]), what, GRADIENT_TOLERANCE)


def assert_the_same(supernet, plain, pairs, x, mixture, monkeypatch):
    """Compare logits, then, after a backward pass, the gradients of weights and alpha and the running statistics."""
    leaves = {name: alpha.detach().clone().requires_grad_() for name, alpha in supernet.alphas.items()}
    weights, plain_weights = mixture(supernet, leaves)
    drawn, draw = [], torch.randn_like
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda like: drawn.append(draw(like)) or drawn[-1])
        logits = supernet(x, weights)
    replay_noise(plain, plain_weights, drawn)
    expected = plain(x.contiguous(), plain_weights)
    assert_equal(logits, expected, "logits")
    loss(logits).backward()
    loss(expected).backward()
    for name, alpha in supernet.alphas.items():
        assert_equal_gradients(alpha, [leaves[name]], f"gradient of the {name} alpha")
    for pair in pairs:
        if pair.stacked.requires_grad:
            assert_equal_gradients(pair.stacked, pair.parts, f"gradient of {pair.name}")
        else:
            assert_equal(pair.stacked, pair.plain_value(), pair.name)


def gradient(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def own(supernet, alphas):
    """No weights are given: the relaxed alpha."""
    return None, {name: plain_mixture(alpha, operations(supernet, name)) for name, alpha in alphas.items()}


def partly_decided(supernet, alphas):
    """No weights are given: edge 0 keeps its last candidate, edge 1 its first, edge 2 is dropped."""
    plain, decisions = {}, {}
    for name, space in supernet.cell_spaces.items():
        node = space.topology.edges[2][1]
        last = len(space.operations[0]) - 1
        decided = supernet.decisions[name].keep_operation(0, last).keep_operation(1, 0)
        decisions[name] = decided.keep_inputs(space, node, [e for e in space.topology.edges_into(node) if e != 2])
        plain[name] = plain_mixture(alphas[name], space.operations, {0: last, 1: 0}, [2])
    supernet.decisions = decisions
    return None, plain


def masked(supernet, alphas):
    """The relaxed alpha without the last candidate of edge 3, edge 4, and the first of edge 5, renormalized."""
    weights = supernet.mixture_weights()
    _, plain = own(supernet, alphas)
    for name, space in supernet.cell_spaces.items():
        last = len(space.operations[3]) - 1
        weights = weights.masked(name, 3, last).masked(name, 4).masked(name, 5, 0, renormalize=True)
        factors = torch.ones_like(plain[name])
        factors[3, last] = factors[4] = factors[5, 0] = 0
        rest = plain[name] * factors
        plain[name] = torch.cat([rest[:5], rest[5:6] / rest[5].sum(), rest[6:]])
    return weights, plain


def random(supernet, alphas, zeros):
    """A dict of tensors, of which a share is 0; they depend on alpha, so that their gradients can be compared."""
    generator = torch.Generator().manual_seed(2)
    weights, plain = {}, {}
    for name, alpha in alphas.items():
        factors = torch.rand(alpha.shape, generator=generator).to(alpha.dtype)
        factors[torch.rand(alpha.shape, generator=generator) < zeros] = 0
        weights[name], plain[name] = supernet.alphas[name] * factors, alpha * factors
    return weights, plain


def random_with_zeros(supernet, alphas):
    """A dict of tensors, most of them zero, so that some edges and some nodes are fed by nothing."""
    return random(supernet, alphas, zeros=0.7)


def one_hot(supernet, alphas):
    """A dict of tensors with one operation on each edge."""
    weights = {}
    for name, alpha in alphas.items():
        weights[name] = torch.zeros_like(alpha)
        for edge, candidates in enumerate(operations(supernet, name)):
            weights[name][edge, edge % len(candidates)] = 1
    return weights, weights


def with_known_zeros(supernet, alphas):
    """`MixtureWeights`, half of them zero and said to be."""
    weights, plain = random(supernet, alphas, zeros=0.5)
    active = {name: tuple(tuple(row) for row in (tensor != 0).tolist()) for name, tensor in weights.items()}
    return MixtureWeights(weights, active), plain


def operations(supernet, cell):
    return supernet.cell_spaces[cell].operations


MIXTURES = [own, partly_decided, masked, random_with_zeros, one_hot, with_known_zeros]


def compare(name, mixture, monkeypatch, training=True, dtype=torch.float64, size=8, channels_last=False):
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    supernet, plain, pairs = make(configured(name), dtype)
    supernet.to(memory_format=memory_format).train(training)
    plain.train(training)
    assert_the_same(supernet, plain, pairs, images(size, dtype, memory_format), mixture, monkeypatch)


each_space = pytest.mark.parametrize("name", SPACES)


@each_space
@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda mixture: mixture.__name__)
@pytest.mark.usefixtures("evaluation")
def test_in_training_mode(name, mixture, monkeypatch):
    compare(name, mixture, monkeypatch)


@each_space
@pytest.mark.parametrize("mixture", [own, random_with_zeros], ids=lambda mixture: mixture.__name__)
@pytest.mark.usefixtures("evaluation")
def test_in_evaluation_mode(name, mixture, monkeypatch):
    compare(name, mixture, monkeypatch, training=False)


@each_space
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.usefixtures("evaluation")
def test_in_channels_last(name, training, monkeypatch):
    compare(name, random_with_zeros if training else own, monkeypatch, training, channels_last=True)


@each_space
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_in_float32_on_images_of_32_pixels(name, channels_last, monkeypatch):
    mixture = random_with_zeros if channels_last else own
    compare(name, mixture, monkeypatch, dtype=torch.float32, size=32, channels_last=channels_last)


@pytest.mark.parametrize("name", ["nasbench201", "s3", "ragged"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_leaving_out_operations_without_weight_changes_no_logit(name, training):
    supernet, plain, _ = make(configured(name))
    supernet.train(training)
    plain.train(training)
    weights, plain_weights = random_with_zeros(supernet, supernet.alphas)
    for cell in plain.cells:
        cell.call_all = True
    assert_equal(supernet(images(8), weights), plain(images(8), plain_weights), "logits")
