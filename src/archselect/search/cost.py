"""A price on what the architecture costs: a term of the loss of the `alpha` step, for any search method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from archselect.costs.expected import CostModel, Skeleton
from archselect.costs.latency_table import cost_in_words, cost_models, option_of, unit_of
from archselect.distributed.process_group import whole_batches
from archselect.models.supernet.supernet import Supernet, argmax_genotype
from archselect.training.step import gradients_of
from archselect.utils.validation import PositiveFloat, check_fields


@dataclass(frozen=True)
class CostTerm:
    """A price on the mean cost of the mixture, or a target for the architecture that magnitude chooses.

    Without a target the loss is that of DARTS and `weight * E[cost] / highest`, where `highest` is what the most
    expensive architecture costs (ProxylessNAS, Cai et al., ICLR 2019, arXiv 1812.00332, sec. 3.3.1; FBNet, Wu et al.,
    CVPR 2019, arXiv 1812.03443, multiplies instead: eq. 2).

    With a target it is a penalty that grows until it is met (Nocedal & Wright, Numerical Optimization, sec. 17.2): the
    term is `multiplier * E[cost] / target` at steps at which the architecture that magnitude chooses costs more than
    the target, and 0 at others. The multiplier begins at 0 and at each such step grows by
    `weight * (cost / target - 1)`. The cost of that architecture decides, since a mixture may cost less than what is
    chosen of it; the gradient is that of the mixture, as in a straight-through estimator (Bengio et al., arXiv
    1308.3432).

    Attributes:
        measure: What is priced.
        weight: See above.
        target: MACs, parameters, or milliseconds of a batch of the table; None: there is no target.
        latency_table: The file with the latency of each operation.
        model: What architectures cost, of the networks of a run.
    """

    measure: Literal["macs", "params", "latency"]
    weight: PositiveFloat
    target: PositiveFloat | None = None
    latency_table: str | None = None
    model: CostModel | None = None

    def __post_init__(self) -> None:
        check_fields(self, "search.cost")
        if self.measure == "latency" and self.latency_table is None:
            raise ValueError(
                "search.cost.measure=latency needs search.cost.latency_table=FILE, the latency of each operation. "
                "python -m archselect.costs measure writes one."
            )
        if self.latency_table is not None and self.measure != "latency":
            raise ValueError(
                f"search.cost.latency_table is for search.cost.measure=latency, not for {self.measure}. Set that, or "
                "leave the table out."
            )

    def of(self, skeleton: Skeleton) -> "CostTerm":
        """Return the term for the networks of a skeleton; a ValueError where none of them meets the target."""
        model = cost_models([self.measure], skeleton, self.latency_table)[self.measure]
        if self.target is not None and model.lowest > self.target * self.unit:
            target, least = (cost_in_words(self.measure, cost) for cost in (self.target, model.lowest / self.unit))
            raise ValueError(
                f"search.cost.target ({target}) cannot be met: the cheapest network of search space "
                f"{skeleton.space.name!r} has {least}. Raise the target, or take a smaller evaluation.network."
            )
        return replace(self, model=model)

    @property
    def unit(self) -> int:
        """How many of the model's units are one of the target's."""
        return unit_of(self.measure)

    def charge(self, supernet: Supernet, multiplier: float) -> tuple[float, float]:
        """Return what a unit of cost is charged at the next step of `alpha`, and the multiplier then."""
        if self.target is None:
            return self.weight / max(1, self._model.highest), multiplier
        excess = self.chosen(supernet) / (self.target * self.unit) - 1
        if excess <= 0:
            return 0.0, multiplier
        multiplier += self.weight * excess
        return multiplier / (self.target * self.unit), multiplier

    def expected(self, supernet: Supernet) -> Tensor:
        """Return the mean cost of the mixture, a scalar."""
        return self._model.expected(supernet.mixture_weights(), supernet.decisions)

    def gradients(self, supernet: Supernet, price: float) -> Sequence[Tensor]:
        """Return the gradient of `price * E[cost]` in every architecture parameter, zero for decided edges."""
        with whole_batches():  # of no batch: it is the same in every process
            return gradients_of(price * self.expected(supernet), supernet.architecture_parameters())

    def chosen(self, supernet: Supernet) -> int:
        """Return what the architecture that magnitude chooses costs."""
        return self._model.cost(argmax_genotype(supernet))

    def history(self, supernet: Supernet) -> dict[str, float]:
        """Return what the history says after an epoch: the mean cost, and that of what magnitude would choose."""
        mean, chosen = float(self.expected(supernet).detach()), self.chosen(supernet)
        name = option_of(self.measure)
        return {f"expected_{name}": mean / self.unit, f"chosen_{name}": chosen / self.unit}

    @property
    def _model(self) -> CostModel:
        assert self.model is not None, "the plan of a run says what networks it is about"
        return self.model
