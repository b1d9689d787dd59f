"""Zero-cost proxies: how promising a network is, told by its gradients on one batch, without training.

Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv 2101.08134, sec. 3; jacobian covariance:
Mellor et al., "Neural Architecture Search without Training", arXiv 2006.04647v1, sec. 3.

All are larger where the network is more promising. They differ from the authors' code in what is summed over: all
parameters but the architecture parameters, where that code takes the weights of convolutions and linear layers only.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.rng import derived_seed, seed_generators
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.stacked_parameters import StackedWeight
from archselect.models.supernet.supernet import Supernet
from archselect.tasks import Task
from archselect.training.step import gradients_of

Proxy = Callable[[Supernet, MixtureWeights, Tensor, Tensor, Task], float]
"""From a supernet, mixture weights, which count as constants, images `(B, 3, H, W)`, their targets and
the task that says what is lost on them.

Nothing is changed in the supernet, and what it draws (the noise of S4) is the same at every call.
"""


def snip(supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task) -> float:
    """Return `sum |w * dL/dw|` over all parameters w, L the mean loss, with the statistics of the batch."""
    return _sum((w * gradient).abs().sum() for w, gradient in _loss_gradients(supernet, weights, images, labels, task))


def grad_norm(supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task) -> float:
    """Return `sum ||dL/dw||_2` over all parameter tensors w, L the mean loss, with the statistics of the batch.

    A tensor that stacks the weights of several edges counts as one for each edge, as if every operation had its own.
    """
    gradients = _loss_gradients(supernet, weights, images, labels, task)
    edges = {id(stack.weight): stack.edges for stack in supernet.modules() if isinstance(stack, StackedWeight)}
    rows = (gradient.reshape(edges.get(id(w), 1), -1) for w, gradient in gradients)
    return _sum(row.norm(dim=1, dtype=torch.float64).sum() for row in rows)


def synflow(supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task) -> float:
    """Return `sum |w * dR/dw|` over all parameters w, R the sum of the logits for one image of ones (Tanaka et al.).

    All w are replaced by their absolute value, and batch normalisation is out of the way: it is evaluated with mean 0,
    variance `1 - eps`, scale 1 and shift 0, which changes nothing, and has no parameters that count. The compiled loops
    of a CPU have it built in, so it cannot be removed. All this is done to a copy in float64: the products of many
    layers leave the range of float32. Of the images the size is read, of the targets nothing.
    """
    # The copy draws noise from the random state that is put back here.
    with restored_state(supernet), torch.enable_grad():
        copy = deepcopy(supernet).double().eval()
        parameters = _made_linear(copy)
        exact = MixtureWeights(
            {name: row.double() for name, row in weights.detach().items()},
            weights.active,
            {name: row.detach().double() for name, row in weights.edges.items()},
            weights.drop_path,
        )
        _seed()
        total = copy(torch.ones_like(images[:1], dtype=torch.float64), exact).sum()
        gradients = gradients_of(total, parameters)
    return _sum((w * gradient).abs().sum() for w, gradient in zip(parameters, gradients, strict=True))


def jacobian_covariance(
    supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task
) -> float:
    """Return `-sum (log(v + k) + 1 / (v + k))` over the eigenvalues v of a correlation matrix `(B, B)`; k = 1e-5.

    Correlated are the gradients of an image's summed logits in the image: the less the network treats images alike, the
    larger. An image whose gradient is constant has no correlation; it has a row of zeros and adds an eigenvalue of 0.
    The targets are not read. A ValueError says that there is one image only.

    Normalisation uses the statistics of the batch as constants, as the paper's formula has it. The authors' code
    differentiates them too; where every path ends in a normalisation, as in the supernets of the DARTS family, the
    logits of a batch then sum to a constant, and what is correlated is rounding noise.
    """
    if len(images) < 2:
        raise ValueError(
            "selection.proxy=jacobian_covariance correlates the images of a batch, but there is one in it. Raise "
            "selection.scoring.batch_size."
        )
    with restored_state(supernet), torch.enable_grad():
        _hold_statistics(supernet, weights, images)
        _seed()
        inputs = images.detach().requires_grad_()
        (gradients,) = gradients_of(supernet(inputs, weights.detach()).sum(), [inputs])
    rows = gradients.flatten(1).double()
    rows = F.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1, eps=torch.finfo(rows.dtype).tiny)
    if not bool(rows.isfinite().all()):
        return torch.nan  # that of a supernet whose training diverged; it has no eigenvalues
    k = 1e-5
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + k  # rounding makes zeros negative
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


PROXIES: Mapping[str, Proxy] = {proxy.__name__: proxy for proxy in (snip, synflow, grad_norm, jacobian_covariance)}


def _loss_gradients(
    supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task
) -> list[tuple[nn.Parameter, Tensor]]:
    """Return all parameters that the loss depends on, each with its gradient."""
    parameters = supernet.weight_parameters()
    with restored_state(supernet), torch.enable_grad():
        _seed()
        loss = task.loss(supernet.train()(images, weights.detach()), labels)
        gradients = gradients_of(loss, parameters, allow_unused=True)
    return [(w, gradient) for w, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


@torch.no_grad()
def _made_linear(network: Supernet) -> list[nn.Parameter]:
    """Make parameters absolute and batch normalisation the identity; return the parameters but the latter's."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    of_norms = {id(parameter) for norm in norms for parameter in norm.parameters()}
    parameters = [parameter for parameter in network.weight_parameters() if id(parameter) not in of_norms]
    for parameter in parameters:
        parameter.abs_()
    for norm in norms:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        if norm.affine:
            norm.weight.fill_(1)
            norm.bias.zero_()
    return parameters


@torch.no_grad()
def _hold_statistics(network: Supernet, weights: MixtureWeights, images: Tensor) -> None:
    """Put a network into evaluation mode with the statistics that it has on these images."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    _seed()
    network.train()(images, weights)
    network.eval()


def _seed() -> None:
    seed_generators(derived_seed("selection", "proxy"))


def _sum(values: Iterable[Tensor]) -> float:
    """Return the sum; waits for the device once."""
    return float(torch.stack([value.detach().double() for value in values]).sum())
