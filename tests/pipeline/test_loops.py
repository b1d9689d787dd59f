"""What a run and its analyses compute on a CPU, they compute by the compiled loops; what is loaded from them is not."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.command import analyze, tiny, train

from archselect.evaluation import RetrainModule
from archselect.kernels.cpu.native import NativeLoops
from archselect.pipeline.finished_run import load_supernet
from archselect.search import SearchModule
from archselect.selection import Scorer

calls: Counter[str] = Counter()
"""Of the loops, by what was going on."""


@pytest.fixture
def _counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Count the calls of the loops during each kind of work."""
    current: list[str] = []

    def counting(owner: Any, name: str, kind: str | None) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            rng_key = getattr(arguments[0], "rng_key", ())
            label = kind and f"{kind} of a {rng_key[1]}" if kind == "step" else kind
            if label is None:
                calls[current[-1] if current else "elsewhere"] += 1
                return original(*arguments, **named)
            calls.setdefault(label, 0)
            current.append(label)
            try:
                return original(*arguments, **named)
            finally:
                current.pop()

        monkeypatch.setattr(owner, name, wrapped)

    for loop in ("convolutions_forward", "convolutions_backward"):
        counting(NativeLoops, loop, None)
    counting(SearchModule, "training_step", "step")
    counting(SearchModule, "validation_step", "validation")
    counting(Scorer, "_round", "scoring")
    counting(RetrainModule, "training_step", "retraining")
    counting(RetrainModule, "validation_step", "held-out images")
    counting(RetrainModule, "test_step", "test")
    yield
    calls.clear()


@pytest.mark.usefixtures("_counted", "no_figures")
def test_every_kind_of_work_runs_on_the_loops(own_logs: str) -> None:
    short = ("search.epochs=1", "evaluation.epochs=1", "evaluation.validation_share=0.2")
    run = train(*tiny("nasbench201", "darts", "perturb", *short, own_logs))
    assert set(calls) == {
        *("step of a search", "step of a selection", "validation", "scoring", "retraining", "held-out images", "test")
    }
    assert all(calls.values())
    calls.clear()
    for analysis, kind in (("operation_strength", "scoring"), ("optimal_alpha", "elsewhere")):
        analyze(f"analysis={analysis}", f"run={run.folder}")
        assert calls.keys() == {kind}
        assert calls[kind] > 0
        calls.clear()
    load_supernet(run.folder)(torch.randn(2, 3, 8, 8))
    assert not calls, "what a user loads is plain PyTorch"
