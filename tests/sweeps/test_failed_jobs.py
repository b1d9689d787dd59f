"""A job of a sweep that fails leaves its reason in its folder, and the other jobs alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.command import sweep, tiny


def test_a_job_that_fails_in_its_work_leaves_its_reason_and_the_others_alone(
    own_logs: str, no_figures: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from archselect.selection import Random

    def broken(self: Any, *arguments: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Random, "decide", broken)
    with pytest.raises(SystemExit) as ended:
        sweep(*tiny("s2", "darts", "random,magnitude"), "evaluation=none", "logger=none", own_logs)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "1 of the 2 jobs of the sweep failed; the other 1 is finished." in said
    assert "job 0 (selection=random): RuntimeError: out of luck" in said
    (failed,) = Path(own_logs.removeprefix("logs=")).rglob("failed.json")
    assert json.loads(failed.read_text())["reason"] == "RuntimeError: out of luck"
    assert "Traceback" in (failed.parent / "train.log").read_text()
    (summary,) = Path(own_logs.removeprefix("logs=")).rglob("summary.json")
    assert summary.parent.name.startswith("1-")
