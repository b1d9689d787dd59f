"""Sweeps: what jobs have in common is made once, what is their own stays apart, and each is a run of its own in W&B."""

import csv
from pathlib import Path

import pytest
from tests.command import Run, sweep, tiny
from tests.wandb_file import Told

NO_TUNING = "protocol.epochs_between=0"


def test_a_sweep_over_selections_and_seeds_trains_one_supernet_per_seed(own_logs: str, no_figures: None) -> None:
    jobs = sweep(*tiny("nasbench201", "darts", "magnitude,perturb"), NO_TUNING, "seed=0,1", own_logs)
    made = [(job.summary["selection"], job.summary["seed"]) for job in jobs]
    assert sorted(made) == [("magnitude", 0), ("magnitude", 1), ("perturb", 0), ("perturb", 1)]
    logs = Path(own_logs.removeprefix("logs="))
    finished = {
        kind: [file.parent for file in logs.glob(f"stages/{kind}/*/finished.json")] for kind in ("search", "selection")
    }
    assert {kind: len(folders) for kind, folders in finished.items()} == {"search": 2, "selection": 4}
    first, second = (
        {job.summary["seed"]: job for job in jobs if job.summary["selection"] == selection}
        for selection in ("magnitude", "perturb")
    )
    for seed in (0, 1):
        assert first[seed].stage("search") == second[seed].stage("search")
        assert sorted(job.reused()["search"] for job in (first[seed], second[seed])) == [False, True]
        assert not first[seed].reused()["selection"] and not second[seed].reused()["selection"]
    assert first[0].stage("search") != first[1].stage("search")


def test_the_jobs_of_a_sweep_have_folders_of_their_own_in_one_folder(logs: str, no_figures: None) -> None:
    jobs = sweep(*tiny("s2", "darts", "magnitude,random"), "evaluation=none", "seed=0,1", logs)
    assert len({job.folder for job in jobs}) == 4
    (folder,) = {job.folder.parent for job in jobs}
    assert folder.parent == Path(logs.removeprefix("logs=")) / "sweeps"
    assert sorted(job.folder.name for job in jobs) == [
        "0-s2-darts-magnitude-digits-seed0",
        "1-s2-darts-magnitude-digits-seed1",
        "2-s2-darts-random-digits-seed0",
        "3-s2-darts-random-digits-seed1",
    ]
    for job in jobs:
        assert job.config.seed == job.summary["seed"]
        assert job.config.selection.name == job.summary["selection"]
        assert (job.folder / "genotype.json").exists()
    again = sweep(*tiny("s2", "darts", "magnitude,random"), "evaluation=none", "seed=0,1", logs)
    assert all(all(job.reused().values()) for job in again)
    assert {job.folder for job in again}.isdisjoint(job.folder for job in jobs)
    assert [job.summary["genotype"] for job in again] == [job.summary["genotype"] for job in jobs]


def test_a_job_that_cannot_run_does_not_take_the_others_with_it(
    own_logs: str, no_figures: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sweep(*tiny("s2", "darts", "random"), "evaluation=none", "search.batch_size=6000,30", own_logs)
    assert ended.value.code == 1
    assert "search.batch_size is 6000" in capsys.readouterr().err
    (summary,) = Path(own_logs.removeprefix("logs=")).glob("sweeps/*/*/summary.json")
    assert summary.parent.name.startswith("1-")


# --- Weights & Biases. ---


@pytest.fixture
def wandb_jobs(logs: str, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return sweep(
        *tiny("nasbench201", "darts", "perturb"),
        "seed=0,1",
        "logger=wandb",
        "logger.wandb.offline=true",
        logs,
        "evaluation.epochs=1",
    )


def test_every_job_is_a_run_of_its_own_in_wandb_with_the_numbers_of_metrics_csv(wandb_jobs: list[Run]) -> None:
    told = [Told(job) for job in wandb_jobs]
    assert len({one.run.run_id for one in told}) == 2
    assert [one.run.display_name for one in told] == [f"nasbench201-darts-perturb-digits-seed{seed}" for seed in (0, 1)]
    assert {(one.run.run_group, one.run.project) for one in told} == {
        ("nasbench201-darts-perturb-digits", "archselect")
    }
    for one, job in zip(told, wandb_jobs, strict=True):
        assert one.exit_code == 0
        with (job.folder / "csv" / "metrics.csv").open() as file:
            table = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        epochs = [numbers for numbers in one.history if any(key.endswith("/train_loss") for key in numbers)]
        assert len(table) == len(epochs) == 2 + 6 + 1
        for row, numbers in zip(table, epochs, strict=True):
            assert {key for key in numbers if not key.startswith("_")} == {*row} - {"step"} | {"trainer/global_step"}
            assert numbers["trainer/global_step"] == row["step"]
            assert all(numbers[key] == pytest.approx(value) for key, value in row.items() if key != "step")
        seen = {key.split(".")[0] for numbers in one.history for key in numbers}  # a picture is several values
        pictures = ("cells", "search_curves", "search_alpha", "selection_curves", "operation_strengths")
        assert {f"figures/{name}" for name in pictures} <= seen
        assert {"tables/genotypes", "tables/decisions"} <= seen
        assert one.config["search"]["epochs"] == 2
        assert one.config["seed"] == job.summary["seed"]
        assert one.summary["genotype"] == job.summary["genotype"]
        assert one.summary["evaluation.test_accuracy"] == job.summary["evaluation.test_accuracy"]
        assert one.summary["search.val_accuracy"] == job.summary["search.val_accuracy"]
