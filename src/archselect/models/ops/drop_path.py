"""Drop path: while training, a random choice of paths is left out, for each sample anew."""

from torch import Tensor


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Set each sample of `x` to zero with `probability` and scale the others so that the mean stays.

    Larsson et al., FractalNet (arXiv 1605.07648), as DARTS uses it. The mask comes from PyTorch's own generator.

    Args:
        x: `(B, C, H, W)`.
        probability: In `[0, 1)`.
    """
    keep = 1 - probability
    mask = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)
    return x * mask


def drop_paths(x: Tensor, probability: float, paths: int) -> Tensor:
    """Return `drop_path` of several paths that stand one after another in the channels of `x`, `(B, paths * C, H, W)`.

    Each path is left out of images of its own.
    """
    keep = 1 - probability
    mask = x.new_empty(x.shape[0], paths, 1, 1, 1).bernoulli_(keep).div_(keep)
    return (x.unflatten(1, (paths, -1)) * mask).flatten(1, 2)
