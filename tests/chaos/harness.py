"""Kills a command at random moments, types it again until it is done, and compares it with an undisturbed run."""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

from tests.command import Apart, Run
from tests.distributed.command import PYTHON, Command
from tests.sameness import differences

STAGES = ("search", "selection", "evaluation")
SIGNALS = (SIGKILL, SIGTERM, SIGINT)
START = "start"
BETWEEN = "between stages"
MOMENTS = (START, *STAGES, BETWEEN)
PATIENCE = 1800.0
"""Seconds after which a session that neither ends nor reaches the moment of its kill counts as stuck."""


@dataclass(frozen=True)
class Kill:
    """A session that was killed.

    Attributes:
        moment: The stage that it was at, `start` before the first one, or `between stages`.
        signal: What it was sent.
        code: How it ended, negative if by the signal itself.
    """

    moment: str
    signal: Signals
    code: int | None


@dataclass
class Trial:
    """One command, killed several times.

    Attributes:
        name: Of the command.
        kills: In order.
        lost: What came out differently from the undisturbed run; None: nothing.
    """

    name: str
    kills: list[Kill] = field(default_factory=list)
    lost: str | None = None


class Harness:
    """Kills one command.

    Args:
        name: Of the command.
        command: Overrides of `train.py`.
        folder: Empty; everything is written there.
        chance: Draws moments and signals.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, chance: random.Random) -> None:
        self.name, self.command, self.folder, self.chance = name, list(command), folder, chance
        self._sessions = 0
        self.undisturbed = self._undisturbed()
        self.seconds = {kind: max(stage["seconds"], 0.2) for kind, stage in self.undisturbed.summary["stages"].items()}

    def trial(self, kills: int) -> Trial:
        """Kill the command so many times, or until it ends before it could be killed; then let it end and compare."""
        trial = Trial(self.name)
        logs = self.folder / f"trial-{self._sessions}"
        while len(trial.kills) < kills:
            kill = self._killed_session(logs)
            if kill is None:
                break
            trial.kills.append(kill)
        else:
            code = self._session(logs).end(PATIENCE).code
            if code != 0:
                trial.lost = f"the last session ended with code {code}"
                return trial
        try:
            trial.lost = "; ".join(differences(self.undisturbed, only_run(logs))) or None
        except ValueError as error:
            trial.lost = str(error)
        return trial

    def _killed_session(self, logs: Path) -> Kill | None:
        """Run the command and kill it at a random moment; None: it ended before."""
        left = [kind for kind in STAGES if not _stage(logs, kind, "finished.json")]
        # Most often at the next stage: aimed at a later one, a kill lets the stages before it end undisturbed.
        aim = self.chance.choice([*left[:1] * 3, *left, *([BETWEEN] if left else []), START])
        number = self.chance.choice(SIGNALS)
        session = self._session(logs)
        if aim == START:
            time.sleep(self.chance.uniform(0, 1))
        elif aim == BETWEEN:
            _wait(session, lambda: bool(left) and _stage(logs, left[0], "finished.json"), pause=0.0005)
        else:
            _wait(session, lambda: _stage(logs, aim, "identity.json"))
            _wait(session, lambda: False, seconds=self.chance.uniform(0, self.seconds[aim]))
        moment = self._moment(logs) if aim != BETWEEN else BETWEEN
        self._strike(session, number)
        code = session.end(PATIENCE).code
        if isinstance(session, Command):
            session.wait_until_gone()
        return None if code == 0 else Kill(moment, number, code)

    def _strike(self, session: Apart | Command, number: Signals) -> None:
        """Send a signal to a session's process, or to one of its processes, which the others have to notice."""
        if isinstance(session, Apart):
            session.send(number)
        elif victims := session.at_work():
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(victims), number)

    def _moment(self, logs: Path) -> str:
        begun = [kind for kind in STAGES if _stage(logs, kind, "identity.json")]
        if not begun:
            return START
        return BETWEEN if _stage(logs, begun[-1], "finished.json") else begun[-1]

    def _undisturbed(self) -> Run:
        logs = self.folder / "undisturbed"
        code = self._session(logs).end(PATIENCE).code
        assert code == 0, f"{self.name}: the undisturbed run ended with code {code}; see {self.folder}"
        return only_run(logs)

    def _session(self, logs: Path) -> Apart | Command:
        self._sessions += 1
        folder, arguments = self.folder / "sessions" / str(self._sessions), [*self.command, f"logs={logs}"]
        return Command(folder, PYTHON, arguments) if "trainer.devices=2" in arguments else Apart(folder, arguments)


def only_run(logs: Path) -> Run:
    """Return the only run that was finished in a folder."""
    found = [path.parent for path in logs.glob("runs/*/*/summary.json")]
    if len(found) != 1:
        raise ValueError(f"{len(found)} runs were finished in {logs}, not 1")
    return Run(found[0])


def trials(harnesses: Sequence[Harness], kills: int, per_trial: int) -> Iterator[Trial]:
    """Yield trials of one command after the other until there were so many kills in all."""
    made = number = 0
    while made < kills:
        trial = harnesses[number % len(harnesses)].trial(min(per_trial, kills - made))
        made += len(trial.kills)
        number += 1
        yield trial


def _stage(logs: Path, kind: str, file: str) -> bool:
    return any(logs.glob(f"stages/{kind}/*/{file}"))


def _wait(session: Apart | Command, true: Callable[[], bool], seconds: float = PATIENCE, pause: float = 0.01) -> None:
    """Wait until something is true, the session has ended, or some seconds have passed."""
    deadline = time.monotonic() + seconds
    while not session.ended and not true() and time.monotonic() < deadline:
        time.sleep(pause)
