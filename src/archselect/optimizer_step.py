"""Steps of an optimizer with gradients that were computed by hand or replayed, and going on with another's state."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

OptimizerState = Mapping[int, Mapping[str, Any]]
"""What an optimizer remembers of each parameter, by its number: of Adam the two moments and the count of steps."""


def optimizer_step(
    optimizer: Any, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], clip: float | None = None
) -> None:
    """Step along gradients, one per parameter (None: it has none), clipped to a norm.

    Args:
        optimizer: Lightning's wrapper of an optimizer of these parameters.
        parameters: What the gradients belong to.
        gradients: Of the loss.
        clip: Largest norm of all gradients together; None: they are not clipped.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad()


def load_optimizer_state(optimizer: Optimizer, state: OptimizerState) -> None:
    """Let an optimizer go on with what another one remembers of the same parameters; its own settings stay.

    Args:
        optimizer: Changed in place.
        state: The entry "state" of the other one's `state_dict`; a parameter without an entry starts afresh.

    Raises:
        ValueError: It is the state of other parameters.
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
