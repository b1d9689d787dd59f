"""A study of Optuna that outlives the process: what was cut off goes on, what was tried is not tried again.

`parse_space` turns options in Hydra's syntax of sweeps into the distributions that Optuna draws from.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer

from archselect.store import disk_errors_explained
from archselect.utils.errors import UserError


@dataclass
class Study:
    """Trials to run, and what came of them.

    Attributes:
        study: Optuna's.
        sampler: Makes a sampler from a seed.
        seed: Trial n is drawn by `seed` and n and what came of the earlier ones, so a study that was cut off draws what
            one that was left alone does.
        space: The distribution of each option.
        exhausted: Whether the sampler has tried everything.
    """

    study: Any
    sampler: Callable[..., Any]
    seed: int
    space: dict[str, Any]
    exhausted: bool = False

    def trials(self, most: int, total: int) -> list[Any]:
        """Return up to `most` trials to run: those that a killed process left, or new ones, up to `total` in all."""
        if left := [trial for trial in self._of_state("RUNNING") if set(trial.params) == set(self.space)]:
            return left[:most]
        if self.exhausted or self.count >= total:
            return []
        self.study.sampler = self.sampler(seed=(self.seed + 1_000_003 * self.count) % 2**32)
        return [self.study.ask(self.space) for _ in range(min(most, total - self.count))]

    def tell(self, number: int, value: float | None) -> None:
        """Write down what came of a trial; None, or no number: it failed."""
        from optuna.trial import TrialState

        failed = value is None or value != value
        try:
            self.study.tell(number, None if failed else value, state=TrialState.FAIL if failed else None)
        except RuntimeError as error:
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True  # so a sampler that has tried everything says; the trial is written down

    def drop_halves(self) -> None:
        """Give up trials that were killed before all their options were drawn."""
        for trial in self._of_state("RUNNING"):
            if set(trial.params) != set(self.space):
                self.tell(trial.number, None)

    @property
    def count(self) -> int:
        return len(self.study.get_trials(deepcopy=False))

    @property
    def best(self) -> Any:
        """The best trial; None before one has worked."""
        return self.study.best_trial if self._of_state("COMPLETE") else None

    def _of_state(self, name: str) -> list[Any]:
        from optuna.trial import TrialState

        return list(self.study.get_trials(deepcopy=False, states=(TrialState[name],)))


@contextmanager
def open_study(url: str, name: str, lower_is_better: bool, identity: Mapping[str, Any]) -> Iterator[Any]:
    """Open a study of Optuna in its storage, or make it.

    Args:
        url: Of the storage; the folder of an SQLite file is made.
        name: Of the study.
        lower_is_better: Whether the score is a loss.
        identity: What all trials have in common.

    Raises:
        UserError: Another process is at it, or the study that has the name is another one.
    """
    import optuna
    from sqlalchemy.engine import make_url

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(make_url(url).database or name).parent
    with disk_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(identity, sort_keys=True)
    try:
        locked = FileLock(folder / f"{name}.lock", blocking=False).acquire()
    except Timeout as error:
        raise UserError(
            f"Another process is at the study {name} in {url}. Wait for it, or name another study: "
            "hydra.sweeper.study_name=NAME. More trials at a time: hydra.sweeper.n_jobs, with a launcher."
        ) from error
    with locked:
        study = optuna.create_study(
            storage=url,
            study_name=name,
            direction="minimize" if lower_is_better else "maximize",
            load_if_exists=True,
        )
        if (known := study.user_attrs.get("identity", text)) != text:
            raise UserError(
                f"The study {name} in {url} was made with other options ({_differences(known, text)}); its trials "
                "cannot be compared with new ones. Name another study: hydra.sweeper.study_name=NAME."
            )
        study.set_user_attr("identity", text)
        yield study


def _differences(known: str, now: str) -> str:
    """Return the first few options in which two nested configs, as JSON, differ."""
    before, after = _flat(json.loads(known)), _flat(json.loads(now))
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    found = [f"{key}: {before.get(key)}, now {after.get(key)}" for key in keys]
    return ", ".join(found[:3] + (["..."] if len(found) > 3 else []))


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a nested config by their full names."""
    if not isinstance(node, dict):
        return {path: node}
    return {name: leaf for key in node for name, leaf in _flat(node[key], f"{path}.{key}".lstrip(".")).items()}


def parse_space(params: Mapping[str, Any], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
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
    raise UserError(
        f"{override.input_line} cannot be searched over. Give an interval(LOW,HIGH), tag(log,interval(LOW,HIGH)), "
        "range(FROM,TO,STEP), or choices with commas."
    )
