"""Sweeps: what jobs have in common is made once, what is their own stays apart, one that fails leaves the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.command import sweep, tiny


def test_jobs_share_a_supernet_per_seed_have_folders_of_their_own_and_are_there_when_typed_again(
    own_logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*tiny("nasbench201", "darts", "magnitude,random"), "evaluation=none", "seed=0,1", own_logs]
    jobs = sweep(*command)
    logs = Path(own_logs.removeprefix("logs="))
    (folder,) = {job.folder.parent for job in jobs}
    assert folder.parent == logs / "sweeps"
    assert [job.folder.name for job in jobs] == [
        "0-nasbench201-darts-magnitude-digits-seed0",
        "1-nasbench201-darts-magnitude-digits-seed1",
        "2-nasbench201-darts-random-digits-seed0",
        "3-nasbench201-darts-random-digits-seed1",
    ]
    for job in jobs:
        assert (job.config.seed, job.config.selection.name) == (job.summary["seed"], job.summary["selection"])
        assert (job.folder / "genotype.json").exists()
    finished = {kind: list(logs.glob(f"stages/{kind}/*/finished.json")) for kind in ("search", "selection")}
    assert {kind: len(stages) for kind, stages in finished.items()} == {"search": 2, "selection": 4}
    assert [job.reused() for job in jobs] == [{"search": there, "selection": False} for there in (0, 0, 1, 1)]
    assert jobs[0].stage("search") == jobs[2].stage("search") != jobs[1].stage("search") == jobs[3].stage("search")
    assert "next python -m archselect.reporting " in capsys.readouterr().out
    again = sweep(*command)
    assert all(all(job.reused().values()) for job in again)
    assert {job.folder for job in again}.isdisjoint(job.folder for job in jobs)
    assert [job.summary["genotype"] for job in again] == [job.summary["genotype"] for job in jobs]


def test_a_job_that_fails_or_cannot_run_leaves_its_reason_and_the_others_alone(
    own_logs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from archselect.selection import Random

    def broken(self: Any, *arguments: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Random, "decide", broken)
    batches = ["search.batch_size=6000,30", "evaluation=none", "logger=none"]
    with pytest.raises(SystemExit) as ended:
        sweep(*tiny("nasbench201", "darts", "random,magnitude"), *batches, own_logs)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "3 of the 4 jobs of the sweep failed; the other 1 is finished." in said
    assert "job 0 (selection=random search.batch_size=6000): search.batch_size is 6000" in said
    assert "job 1 (selection=random search.batch_size=30): RuntimeError: out of luck" in said
    logs = Path(own_logs.removeprefix("logs="))
    failed = {file.parent.name[0]: file for file in logs.rglob("failed.json")}
    assert failed.keys() == {"0", "1", "2"}
    assert json.loads(failed["1"].read_text())["reason"] == "RuntimeError: out of luck"
    assert "Traceback" in (failed["1"].parent / "train.log").read_text()
    (summary,) = logs.rglob("summary.json")
    assert summary.parent.name.startswith("3-")
