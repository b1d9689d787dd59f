"""What the kernels give and its gradients, against those of plain PyTorch."""

import pytest
import torch

from archselect import kernels

# Relative to the largest of the numbers that are compared.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-5}

MEMORY_FORMATS = [torch.contiguous_format, torch.channels_last]
each_memory_format = pytest.mark.parametrize("memory_format", MEMORY_FORMATS, ids=["contiguous", "channels_last"])
each_mode = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
each_stride = pytest.mark.parametrize("stride", [1, 2], ids=["stride1", "stride2"])


def random(*shape, needed=True, dtype=torch.float64, memory_format=torch.channels_last):
    """Return standard normal values, images in a memory format, that need a gradient or not."""
    values = torch.randn(shape, dtype=dtype)
    if len(shape) == 4:
        values = values.contiguous(memory_format=memory_format)
    return values.requires_grad_(needed)


def statistics(channels, dtype=torch.float64):
    """Return running statistics as training leaves them."""
    return kernels.Running(torch.randn(channels, dtype=dtype), torch.rand(channels, dtype=dtype) + 0.5)


def batch(training=True, momentum=0.1):
    return kernels.NormMode(training, momentum, 1e-5)


def assert_close(actual, expected, **options):
    for one, other in zip(actual, expected, strict=True):
        largest = max(1.0, other.detach().abs().nan_to_num().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE[other.dtype] * largest, **options)


def assert_equals(kernel, plain, inputs, moved=()):
    """Compare what `kernel(*inputs)` and `plain(*inputs)` give, tensors or lists of them, and their gradients.

    Both move the running statistics `moved` from where these are; what they make of them is compared too. No input
    and no gradient that comes in may change.
    """
    given, start = _copies(inputs), _copies(moved)
    outputs, by_kernel = _listed(kernel(*inputs)), _copies(moved)
    _put_back(moved, start)
    expected = _listed(plain(*inputs))
    assert_close(outputs, expected)
    assert_close(by_kernel, moved)
    assert [out.requires_grad for out in outputs] == [any(x.requires_grad for x in inputs)] * len(outputs)
    _assert_gradients_equal(outputs, expected, [x for x in inputs if x.requires_grad])
    assert all(map(torch.equal, inputs, given)), "an input was changed"


def _assert_gradients_equal(outputs, expected, needed):
    depend = [number for number, out in enumerate(expected) if out.requires_grad]
    outputs, expected = [outputs[number] for number in depend], [expected[number] for number in depend]
    for upstream_like in (_contiguous, _channels_last, _expanded) if needed else ():
        upstream = [upstream_like(out) for out in expected]
        given = _copies(upstream)
        actual, wanted = (
            torch.autograd.grad(of, needed, upstream, retain_graph=True, materialize_grads=True)
            for of in (outputs, expected)
        )
        assert_close(actual, wanted)
        assert all(map(torch.equal, upstream, given)), "a gradient of others was changed"


def _contiguous(out):
    return torch.randn(out.shape, dtype=out.dtype)


def _channels_last(out):
    return _contiguous(out).contiguous(memory_format=torch.channels_last)


def _expanded(out):
    """One number for all channels of a pixel, without memory of its own."""
    return _contiguous(out[:, :1]).expand(out.shape)


def assert_the_same_at_every_call(kernel, inputs, moved=()):
    """Call three times, whatever stands in memory that was freed, and compare bits."""
    start, results = _copies(moved), []
    for _ in range(3):
        _put_back(moved, start)
        outputs = _listed(kernel(*inputs))
        gradients = torch.autograd.grad(sum(out.square().sum() for out in outputs), inputs)
        results.append([*(out.detach() for out in outputs), *gradients, *_copies(moved)])
        _leave_nan_in_memory(results[-1])
    for again in results[1:]:
        assert all(map(torch.equal, again, results[0]))


def _leave_nan_in_memory(like):
    rubbish = [torch.full_like(tensor, float("nan")) for tensor in like for _ in range(3)]
    del rubbish


def assert_raises_when_differentiated_twice(outputs, inputs):
    """Already the first pass says so, whether or not the gradient that comes in needs one itself."""
    outputs = _listed(outputs)
    for loss in (sum(out.sum() for out in outputs), sum(out.square().sum() for out in outputs)):
        with pytest.raises(RuntimeError, match=r"first derivatives only.*finite differences"):
            torch.autograd.grad(loss, inputs, create_graph=True, retain_graph=True)


def _listed(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def _copies(tensors):
    return [tensor.detach().clone() for tensor in tensors]


def _put_back(tensors, values):
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
