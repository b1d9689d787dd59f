"""A run that failed is in the report, until the same command has worked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.command import sweep, tiny

from archselect.reporting.report import main

CHOICES = {"search_space": "s2", "search": "darts", "selection": "random", "evaluation": "none", "data": "digits"}


def write_failure(folder: Path, overrides: str, name: str = "failed.json", seed: int = 3) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(overrides)
    (folder / name).write_text(json.dumps({**CHOICES, "seed": seed, "reason": "the disk <b>burnt</b>"}))


def test_a_failed_run_is_named_with_its_reason_everywhere(
    make_run: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    logs = tmp_path / "logs"
    write_failure(logs / "sweeps" / "0-mine", "- seed=3\n")
    write_failure(logs / "sweeps" / "1-mine", "- seed=4\n", "refused.json", seed=4)
    assert main([str(logs), "--html", str(tmp_path / "report.html")]) == 0
    line = f"s2, darts + random, none, digits, seed 3: the disk <b>burnt</b> ({logs}/sweeps/0-mine)"
    markdown = (logs / "report.md").read_text()
    assert f"## Failed runs\n\n- {line}\n" in markdown
    assert "seed 4: the disk" in markdown
    assert line in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "the disk &lt;b&gt;burnt&lt;/b&gt;" in page and "<b>burnt" not in page


def test_a_run_whose_overrides_worked_another_time_has_not_failed(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run()
    logs = tmp_path / "logs"
    again = (made.folder / ".hydra" / "overrides.yaml").read_text()
    write_failure(logs / "sweeps" / "0-mine", again)
    main([str(logs)])
    assert "Failed runs" not in (logs / "report.md").read_text()


def test_where_every_run_failed_it_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_failure(tmp_path / "sweeps" / "0-mine", "- seed=3\n")
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "No finished run" in said and "seed 3: the disk" in said


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
