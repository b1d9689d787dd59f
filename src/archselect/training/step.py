"""A training step: the loss of a batch and its gradients, the optimizer's step.

A loss is the mean over the whole batch. Each of several processes holds the part of that mean which its own images
make, whatever their number, so the sum over the processes is the loss, and the sum of their gradients is its gradient.

Where every path from the images to the logits leads through `none` (a draw of GDAS, a decided cell), the loss of a step
does not depend on `alpha` at all. PyTorch refuses to differentiate it; its gradient is zero. In training this is the
one place that calls `torch.autograd.grad`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from archselect.distributed.process_group import all_reduce, is_sharded
from archselect.tasks import Task


def mean(values: Tensor) -> Tensor:
    """Return the mean over the whole batch of `values`, `(B,)`, or this process's part of it."""
    return values.sum() / _images(values) if is_sharded() else values.mean()


def mean_loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a task's mean loss of outputs `(B, outputs)` over the whole batch, or this process's part of it."""
    if not is_sharded():
        return task.loss(outputs, targets)
    return task.loss(outputs, targets, "sum") / _images(outputs)


def _images(own: Tensor) -> Tensor:
    """Return how many images the whole batch has."""
    return all_reduce(torch.tensor(float(len(own)), device=own.device))


def gradients_of(
    loss: Tensor,
    inputs: Sequence[Tensor],
    *,
    allow_unused: bool = False,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Any]:
    """Return the gradient of a scalar loss in every input: zeros in those that it does not depend on.

    Where batches are sharded, every process calls this with its part of the loss: it depends on the same inputs in all.
    With `allow_unused` there is None in place of the zeros, so that an optimizer leaves such a parameter alone. For the
    other options see `torch.autograd.grad`.
    """
    if not loss.requires_grad:
        assert torch.is_grad_enabled(), "a loss without gradients would look like one that depends on nothing"
        return [None if allow_unused else torch.zeros_like(tensor) for tensor in inputs]
    graph: dict[str, Any] = {"create_graph": create_graph, "retain_graph": retain_graph}
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=not allow_unused, **graph)
    if not is_sharded():
        return list(gradients)
    assert not create_graph, "the sum over the processes is taken of numbers"
    found = [gradient for gradient in gradients if gradient is not None]
    sums = iter(all_reduce(torch.cat([one.flatten() for one in found])).split([one.numel() for one in found]))
    return [None if one is None else next(sums).view(one.shape) for one in gradients]


OptimizerState = Mapping[int, Mapping[str, Any]]
"""What an optimizer remembers of each parameter, by its number: of Adam the two moments and the count of steps."""


def optimizer_step(
    optimizer: Any, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], clip: float | None = None
) -> None:
    """Step along gradients, one per parameter (None: it has none), clipped to a norm of all of them together.

    `optimizer` is Lightning's wrapper of an optimizer of these parameters.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad()


def load_optimizer_state(optimizer: Optimizer, state: OptimizerState) -> None:
    """Let an optimizer go on with what another one remembers of the same parameters; its own settings stay.

    `state` is the entry "state" of the other one's `state_dict`: a parameter without an entry starts afresh, and a
    ValueError says that it is of other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state.items():
        if number not in range(len(parameters)):
            raise ValueError(f"The state knows a parameter {number}, but the optimizer has {len(parameters)}.")
        shape = parameters[number].shape
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != shape:
                raise ValueError(
                    f"{name} of parameter {number} has the shape {tuple(value.shape)}, the parameter {tuple(shape)}."
                )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
