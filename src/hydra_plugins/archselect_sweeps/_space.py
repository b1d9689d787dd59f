"""The options that a study searches over, from Hydra's syntax to Optuna's."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer

from archselect.utils.errors import RunError


def parsed(params: Mapping[str, Any], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the distribution of each option that is searched over, and the overrides that all trials share.

    Args:
        params: Of the sweeper: option: values.
        arguments: Those typed, which win.
    """
    parser = OverridesParser.create()
    space: dict[str, Any] = {}
    fixed: dict[str, str] = {}
    for override in parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *arguments]):
        key = override.get_key_element()
        for earlier in (space, fixed):
            earlier.pop(key, None)
        if override.is_sweep_override():
            space[key] = _distribution(override)
        else:
            assert override.input_line is not None
            fixed[key] = override.input_line
    return space, list(fixed.values())


def _distribution(override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(value.start, value.end, log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        numbers: list[Any] = list(override.sweep_iterator())
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(numbers[0], numbers[-1], step=int(value.step))
        return FloatDistribution(numbers[0], numbers[-1], step=value.step)
    if override.is_discrete_sweep() and "glob" not in str(override.input_line):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        return CategoricalDistribution(choices)
    raise RunError(
        f"{override.input_line} cannot be searched over. Give an interval(LOW,HIGH), tag(log,interval(LOW,HIGH)), "
        "range(FROM,TO,STEP), or choices with commas."
    )
