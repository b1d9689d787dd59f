"""What a kernel gives and its gradients, against those of plain PyTorch."""

import pytest
import torch

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
FORMATS = (torch.contiguous_format, torch.channels_last)


def random(*shape, needed=True):
    """Return float64 values, images in channels_last, that need a gradient or not."""
    values = torch.randn(shape, dtype=torch.float64)
    if len(shape) == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    return values.requires_grad_(needed)


def assert_equals(kernel, plain, inputs):
    """Compare `kernel(*inputs)` and `plain(*inputs)`, tensors or lists of them, and their gradients in the inputs."""
    outputs, expected = _listed(kernel(*inputs)), _listed(plain(*inputs))
    torch.testing.assert_close(outputs, expected, **TIGHT)
    needed = [x for x in inputs if x.requires_grad]
    assert [out.requires_grad for out in outputs] == [bool(needed)] * len(outputs)
    if not needed:
        return
    outputs, expected = zip(*((o, e) for o, e in zip(outputs, expected, strict=True) if e.requires_grad), strict=True)
    for memory_format in FORMATS:
        upstream = [torch.randn_like(out, memory_format=torch.contiguous_format) for out in expected]
        upstream = [u.contiguous(memory_format=memory_format) if u.dim() == 4 else u for u in upstream]
        before = [u.clone() for u in upstream]
        actual = torch.autograd.grad(outputs, needed, upstream, retain_graph=True)
        assert all(torch.equal(u, b) for u, b in zip(upstream, before, strict=True)), "a gradient of others was changed"
        wanted = torch.autograd.grad(expected, needed, upstream, retain_graph=True)
        torch.testing.assert_close(actual, wanted, **TIGHT)


def assert_raises_when_differentiated_twice(outputs, x):
    """Already the first pass says so, whether or not the gradient that comes in needs one itself."""
    outputs = _listed(outputs)
    for loss in (sum(out.sum() for out in outputs), sum(out.square().sum() for out in outputs)):
        with pytest.raises(RuntimeError, match=r"first derivatives only.*finite differences"):
            torch.autograd.grad(loss, x, create_graph=True, retain_graph=True)


def _listed(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
