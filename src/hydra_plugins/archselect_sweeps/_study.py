"""A study of Optuna that outlives the process: what was cut off goes on, what was tried is not tried again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from archselect.utils.errors import RunError


@dataclass(frozen=True)
class Trial:
    """A set of options to try."""

    number: int
    params: Mapping[str, Any]


class Study:
    """Trials to run, and what came of them.

    Args:
        study: Optuna's.
        sampler: Makes a sampler from a seed.
        seed: Trial n is drawn by `seed` and n and what came of the earlier ones, so a study that was cut off draws what
            one that was left alone does.
        space: The distribution of each option.
    """

    def __init__(self, study: Any, sampler: Any, seed: int, space: Mapping[str, Any]) -> None:
        self.study = study
        self._sampler = sampler
        self._seed = seed
        self._space = dict(space)
        self._exhausted = False

    def trials(self, most: int, total: int) -> list[Trial]:
        """Return up to `most` trials to run: those that a killed process left, or new ones, up to `total` in all."""
        left = [trial for trial in self._of_state("RUNNING") if set(trial.params) == set(self._space)]
        if left:
            return [Trial(trial.number, trial.params) for trial in left[:most]]
        so_far = len(self.study.get_trials(deepcopy=False))
        if self._exhausted or so_far >= total:
            return []
        self.study.sampler = self._sampler(seed=(self._seed + 1_000_003 * so_far) % 2**32)
        made = [self.study.ask(self._space) for _ in range(min(most, total - so_far))]
        return [Trial(trial.number, trial.params) for trial in made]

    def tell(self, trial: Trial, value: float | None) -> None:
        """Write down what came of a trial; None, or no number: it failed."""
        from optuna.trial import TrialState

        failed = value is None or value != value
        try:
            self.study.tell(trial.number, None if failed else value, state=TrialState.FAIL if failed else None)
        except RuntimeError as error:
            if "Study.stop" not in str(error):
                raise
            self._exhausted = True  # so a sampler that has tried everything says; the trial is written down

    def drop_halves(self) -> None:
        """Give up trials that were killed before all their options were drawn."""
        for trial in self._of_state("RUNNING"):
            if set(trial.params) != set(self._space):
                self.tell(Trial(trial.number, trial.params), None)

    @property
    def best(self) -> Any:
        """The best trial; None before one has worked."""
        return self.study.best_trial if self._of_state("COMPLETE") else None

    def _of_state(self, name: str) -> list[Any]:
        from optuna.trial import TrialState

        return list(self.study.get_trials(deepcopy=False, states=(TrialState[name],)))


@contextmanager
def opened(url: str, name: str, lower_is_better: bool, identity: Mapping[str, Any]) -> Iterator[Any]:
    """Open a study of Optuna in its storage, or make it.

    Args:
        url: Of the storage; the folder of an SQLite file is made.
        name: Of the study.
        lower_is_better: Whether the score is a loss.
        identity: What all trials have in common.

    Raises:
        RunError: Another process is at it, or the study that has the name is another one.
    """
    import optuna
    from sqlalchemy.engine import make_url

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = make_url(url).database or name
    lock = FileLock(_made_folder(file) / f"{name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"Another process is at the study {name} in {url}. Wait for it, or name another study: "
            "hydra.sweeper.study_name=NAME. More trials at a time: hydra.sweeper.n_jobs, with a launcher."
        ) from error
    try:
        study = optuna.create_study(
            storage=url,
            study_name=name,
            direction="minimize" if lower_is_better else "maximize",
            load_if_exists=True,
        )
        text = json.dumps(identity, sort_keys=True)
        known = study.user_attrs.get("identity", text)
        if known != text:
            raise RunError(
                f"The study {name} in {url} was made with other options ({_differences(json.loads(known), identity)}); "
                "its trials cannot be compared with new ones. Name another study: hydra.sweeper.study_name=NAME."
            )
        study.set_user_attr("identity", text)
        yield study
    finally:
        lock.release()


def _made_folder(file: str) -> Path:
    from archselect.store import disk_errors_explained

    folder = Path(file).parent
    with disk_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _differences(known: Any, now: Any) -> str:
    """Return the first few options in which two nested configs differ."""
    found = list(_differing(known, json.loads(json.dumps(now))))
    return ", ".join(found[:3] + (["..."] if len(found) > 3 else []))


def _differing(known: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(known, dict) and isinstance(now, dict):
        for key in sorted(known.keys() | now.keys()):
            yield from _differing(known.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif known != now:
        yield f"{path}: {known}, now {now}"
