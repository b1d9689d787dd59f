"""What a run and its analyses compute on a CPU, they compute by the compiled loops; what is loaded from them is not."""

from collections import Counter
from typing import Any

import pytest
import torch
from tests.command import analyze, tiny, train

from archselect.evaluation import RetrainModule
from archselect.kernels.cpu.native import NativeLoops
from archselect.pipeline.finished_run import load_supernet
from archselect.search import SearchModule
from archselect.selection import Scorer

WORK: dict[str, tuple[type, str]] = {
    "step": (SearchModule, "training_step"),
    "validation": (SearchModule, "validation_step"),
    "scoring": (Scorer, "_round"),
    "retraining": (RetrainModule, "training_step"),
    "held-out images": (RetrainModule, "validation_step"),
    "test": (RetrainModule, "test_step"),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of the loops, by the kind of work during which they are called."""
    calls, current = Counter[str](), ["elsewhere"]

    def during(kind: str, original: Any) -> Any:
        def wrapped(owner: Any, *arguments: Any, **named: Any) -> Any:
            current.append(f"step of a {owner.rng_key[1]}" if kind == "step" else kind)
            calls[current[-1]] += 0
            try:
                return original(owner, *arguments, **named)
            finally:
                current.pop()

        return wrapped

    def counted(original: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            calls[current[-1]] += 1
            return original(*arguments, **named)

        return wrapped

    for kind, (owner, name) in WORK.items():
        monkeypatch.setattr(owner, name, during(kind, getattr(owner, name)))
    monkeypatch.setattr(NativeLoops, "call", counted(NativeLoops.call))
    return calls


def test_every_kind_of_work_runs_on_the_loops(calls: Counter[str], own_logs: str) -> None:
    short = ("search.epochs=1", "evaluation.epochs=1", "evaluation.validation_share=0.2")
    run = train(*tiny("nasbench201", "darts", "perturb", *short, own_logs))
    assert set(calls) == {"step of a search", "step of a selection", *set(WORK) - {"step"}}
    assert all(calls.values())
    for analysis, kind in (("operation_strength", "scoring"), ("optimal_alpha", "elsewhere")):
        calls.clear()
        analyze(f"analysis={analysis}", f"run={run.folder}")
        assert calls.keys() == {kind}
        assert calls[kind] > 0
    calls.clear()
    load_supernet(run.folder)(torch.randn(2, 3, 8, 8))
    assert not calls, "what a user loads is plain PyTorch"
