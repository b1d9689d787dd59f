"""Draw the pictures of README and docs: `make docs` calls it with the folder of two runs of the quick start.

docs/pictures/cells.png               one supernet of NAS-Bench-201, read off twice: the first rows of RESULTS.md
docs/pictures/quickstart_*.png        what the demo selects by perturbation, and why
docs/pictures/report_page.png         the report's page on the demo's runs, where there is a Chromium to look at it
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from archselect import Genotype, NASBench201Table
from archselect.figures.cells import draw_cells_of
from archselect.figures.style import save
from archselect.pipeline.finished_run import find_runs

PICTURES = Path(__file__).parent / "pictures"
COLLAPSED = {
    "magnitude": "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
    "perturbation": "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_1x1~1|skip_connect~2|",
}
"""What the supernet of seed 0 comes to at the paper's protocol, with one cell per stage (RESULTS.md)."""


def headline() -> None:
    """Draw what two selections make of the same supernet, with the benchmark's accuracy of each cell."""
    table, shown = NASBench201Table(), []
    for selection, cell in COLLAPSED.items():
        genotype = Genotype.parse(cell)
        found = table.look_up(genotype)
        shown.append((f"by {selection}: {found.cifar10_test:.2f} %, rank {found.rank:,} of 15,625", genotype))
    save(draw_cells_of(shown, beside=2), PICTURES / "cells")


def page(runs: Path, folder: Path) -> None:
    """Take a picture of the report's page."""
    if (browser := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        sys.stderr.write("There is no Chromium: docs/pictures/report_page.png stays as it is.\n")
        return
    report = [sys.executable, "-m", "archselect.reporting", str(runs), "--output", str(folder)]
    at_home = {**os.environ, "HOME": str(PICTURES.parents[1])}  # so that the page names no folder of this machine
    subprocess.run([*report, "--html", str(folder / "report.html")], check=True, capture_output=True, env=at_home)
    shot = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,1000"]
    target = [f"--screenshot={PICTURES / 'report_page.png'}", (folder / "report.html").as_uri()]
    subprocess.run([browser, *shot, *target], check=True, capture_output=True, timeout=120)


def main(runs: Path) -> None:
    """Draw all of them."""
    headline()
    (demo,) = [run for run in find_runs(runs) if "-perturb-" in run.name]
    for name in ("cells", "operation_strengths"):
        shutil.copy(demo / "figures" / f"{name}.png", PICTURES / f"quickstart_{name.removeprefix('operation_')}.png")
    with TemporaryDirectory() as folder:
        page(runs, Path(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
