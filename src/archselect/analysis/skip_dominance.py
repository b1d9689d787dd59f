"""How far skip connections lead in `softmax(alpha)` as the supernet gets better (DARTS-PT, Fig. 3)."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import Analysis, Measurer, Prepared, Tables
from archselect.analysis.stats import SKIP, convolutions, mean, mean_defined, percent, spearman
from archselect.figures.style import BLUE, VERMILLION, Rows, add_title, new_figure, styled, whole_numbers
from archselect.pipeline.finished_run import FinishedRun


@dataclass(frozen=True)
class SkipDominance(Analysis):
    """After every epoch, the mean of `softmax(alpha)_skip - softmax(alpha)_conv` over the edges that have both.

    Where an edge has several convolutions, the mean of theirs is taken. Edges that the search decided are left out from
    then on.
    """

    name: str

    def check(self, runs: Sequence[FinishedRun]) -> None:
        run = runs[0]
        learning, cells = convolutions(run.parts.space.primitives), run.space["cells"].values()
        if not any(_has_both(edge, learning) for cell in cells for edge in cell["operations"]):
            raise ValueError(
                "analysis=skip_dominance compares skip_connect with the convolutions of an edge, but search space "
                f"{run.parts.space.name!r} has no edge with both. Name a run in another space."
            )

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per epoch."""
        rows = []
        cells, learning = measurer.run.space["cells"], convolutions(measurer.run.parts.space.primitives)
        for record in measurer.run.history("search"):
            alpha = record["alpha"]
            leads = {name: skip_lead(alpha[name], cell["operations"], learning) for name, cell in cells.items()}
            if any(leads.values()):
                own = {f"lead_{cell}": mean_defined(lead) for cell, lead in leads.items() if len(leads) > 1}
                accuracy, lead = record["metrics"]["val_accuracy"], mean(one for lead in leads.values() for one in lead)
                rows.append({"epoch": record["epoch"] + 1, "val_accuracy": accuracy, "lead": lead, **own})
        return {"epochs": rows}

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw the lead against the accuracy, as in Fig. 3 of DARTS-PT, and both over the epochs."""
        epochs, lead, accuracy = ([row[name] for row in tables["epochs"]] for name in ("epoch", "lead", "val_accuracy"))
        percents = [100 * share for share in accuracy]
        figure, body = new_figure("Lead of skip_connect over the convolutions, and accuracy of the supernet", 2.9)
        add_title(body, "lead: mean of softmax(α) of skip_connect less that of convolutions", 8, "normal")
        against, over = body.subplots(1, 2, width_ratios=[1.15, 1])

        against.plot(percents, lead, color="0.75", linewidth=1.0, zorder=1)
        ends = {"vmin": epochs[0] - 0.5, "vmax": epochs[-1] + 0.5}
        dots = against.scatter(percents, lead, c=epochs, cmap="cividis", s=18, **ends)
        against.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        against.set(xlabel="validation accuracy (%)", ylabel="lead of skip_connect")
        ticks = MaxNLocator(nbins=5, integer=True, min_n_ticks=1)
        bar = body.colorbar(dots, ax=against, pad=0.02, aspect=25, ticks=ticks)
        bar.ax.set_title("epoch", loc="center", pad=7)
        bar.outline.set_visible(False)

        marked = len(epochs) < 4  # a line of one point would not be seen
        over.plot(epochs, lead, "o-" if marked else "-", color=VERMILLION)
        over.set_xlabel("epoch")
        over.set_ylabel("lead of skip_connect", color=VERMILLION)
        whole_numbers(over)
        beside = over.twinx()
        beside.plot(epochs, percents, "s--" if marked else "--", color=BLUE)
        beside.set_ylabel("validation accuracy (%)", color=BLUE)
        beside.grid(visible=False)
        beside.spines[:].set_visible(False)
        return figure

    def summary(self, tables: Tables) -> str:
        rows = tables["epochs"]
        first, last = rows[0], rows[-1]
        best = max(row["val_accuracy"] for row in rows)
        words = (
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation accuracy went from "
            f"{percent(first['val_accuracy'])} to {percent(last['val_accuracy'])} (best {percent(best)}), and the mean "
            f"lead of skip_connect over the convolutions in softmax(alpha) from {first['lead']:+.4f} to "
            f"{last['lead']:+.4f}."
        )
        if (rank := correlation(rows)) is None:
            return words
        return (
            f"{words} Spearman's correlation of the two over the {len(rows)} epochs is {rank:+.2f}. The paper sees the "
            "lead grow as the supernet gets better. (Both also grow with time, so a correlation alone is no cause.)"
        )


def skip_lead(
    weights: Sequence[Sequence[float]], operations: Sequence[Sequence[str]], learning: Container[str]
) -> list[float]:
    """Return, of each undecided edge that has both, the weight of `skip_connect` less the mean of its convolutions.

    `learning` are the names of the convolutions, and of operations that count as such.
    """
    leads = []
    for row, names in zip(weights, operations, strict=True):
        if _has_both(names, learning) and sum(weight > 0 for weight in row) > 1:
            others = [weight for name, weight in zip(names, row, strict=False) if name in learning]
            leads.append(row[names.index(SKIP)] - mean(others))
    return leads


def correlation(rows: Rows) -> float | None:
    """Return Spearman's correlation of accuracy and lead."""
    return spearman([row["val_accuracy"] for row in rows], [row["lead"] for row in rows])


def _has_both(names: Sequence[str], learning: Container[str]) -> bool:
    return SKIP in names and any(name in learning for name in names)
