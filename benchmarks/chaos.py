"""Runs killed at random moments, time and again, that must end as if nothing had happened.

A command is killed, typed again until it is done, and compared with an undisturbed run, to the last bit.
"""

import os
import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import NamedTuple

from tests.command import Apart, Run, tiny
from tests.distributed.command import PYTHON, Command
from tests.sameness import differences

from benchmarks.output import show, show_table

# Four steps an epoch: long enough that most moments are in the middle of work.
LONGER = ["data.train_subset=240", "search.epochs=6", "evaluation.epochs=8"]

COMMANDS: Mapping[str, list[str]] = {
    "quickstart": ["experiment=quickstart", "trainer=cpu"],
    "sgas": tiny("s2", "sgas", "perturb", *LONGER),
    "discretization": tiny("nasbench201", "darts", "discretization", *LONGER),
    "racing": tiny(
        "s4",
        "darts",
        "perturb",
        *LONGER,
        "selection/scoring=racing",
        "selection.scoring.first_check=2",
        "protocol.scoring_batches=null",
    ),
    "two devices": tiny("nasbench201", "darts", "perturb", *LONGER, "trainer.devices=2"),
    "second order": tiny("s2", "darts_second_order", "perturb", *LONGER),
}
"""What is run and killed: a command for each way in which stages keep what they have so far."""

STAGES = ("search", "selection", "evaluation")
SIGNALS = (SIGKILL, SIGTERM, SIGINT)
START = "start"
BETWEEN = "between stages"
MOMENTS = (START, *STAGES, BETWEEN)
PATIENCE = 1800.0
"""Seconds after which a session that neither ends nor reaches the moment of its kill counts as stuck."""


class Kill(NamedTuple):
    """At which moment a session was killed (a stage, before the first one, or between two), and by which signal."""

    moment: str
    signal: Signals


@dataclass
class Trial:
    """A command that is killed several times, and what came out differently from the undisturbed run; None: nothing."""

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
        return None if code == 0 else Kill(moment, number)

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


def show_trials(made: Sequence[Trial]) -> None:
    """Write how many kills there were, by moment and signal, and what became of the runs."""
    counted = Counter(kill for trial in made for kill in trial.kills)
    killed = [[moment, *(str(counted[Kill(moment, signal)]) for signal in SIGNALS)] for moment in MOMENTS]
    show_table(["killed at", *(signal.name for signal in SIGNALS)], killed)
    ended = []
    for name in dict.fromkeys(trial.name for trial in made):
        own = [trial for trial in made if trial.name == name]
        kills, lost = sum(len(trial.kills) for trial in own), sum(trial.lost is not None for trial in own)
        ended.append([name, *map(str, (len(own), kills, len(own) - lost, lost))])
    show_table(["command", "runs", "kills", "equal to the undisturbed run", "lost"], ended)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--kills", type=int, default=100, help="in all (%(default)s)")
    parser.add_argument("--per-trial", type=int, default=10, help="of one run before it may end (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; times differ from machine to machine")
    parser.add_argument("--only", choices=COMMANDS, action="append", help="of the commands (default: all)")


def run(options: Namespace) -> int:
    """Kill, compare and print; return 1 if anything was lost."""
    started, chance = time.monotonic(), random.Random(options.seed)
    made: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        harnesses = []
        for name in options.only or COMMANDS:
            harnesses.append(Harness(name, COMMANDS[name], Path(folder) / name.replace(" ", "-"), chance))
            show(f"{name}: undisturbed in {sum(harnesses[-1].seconds.values()):.0f} s")
        for trial in trials(harnesses, options.kills, options.per_trial):
            made.append(trial)
            show(f"{trial.name}: {len(trial.kills)} kills, {trial.lost or 'the same to the last bit'}")
    show_trials(made)
    show(f"{time.monotonic() - started:.0f} s in all.")
    return 1 if any(trial.lost for trial in made) else 0
