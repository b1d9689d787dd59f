"""How far skip connections lead in `softmax(alpha)` as the supernet gets better (DARTS-PT, Fig. 3)."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import Analysis, Measurer, Prepared, Tables, metric_of
from archselect.analysis.stats import SKIP, convolutions, mean, mean_defined, spearman
from archselect.figures.style import BLUE, VERMILLION, Rows, add_title, new_figure, styled, whole_numbers
from archselect.pipeline.finished_run import FinishedRun
from archselect.results.metric import ACCURACY, Metric


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
        key = measurer.metric.key("val")
        for record in measurer.run.history("search"):
            alpha = record["alpha"]
            leads = {name: skip_lead(alpha[name], cell["operations"], learning) for name, cell in cells.items()}
            if any(leads.values()):
                own = {f"lead_{cell}": mean_defined(lead) for cell, lead in leads.items() if len(leads) > 1}
                lead = mean(one for lead in leads.values() for one in lead)
                rows.append({"epoch": record["epoch"] + 1, key: record["metrics"][key], "lead": lead, **own})
        return {"epochs": rows}

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw the lead against the metric, as in Fig. 3 of DARTS-PT, and both over the epochs."""
        metric, names = metric_of(tables), ("epoch", "lead", metric_of(tables).key("val"))
        epochs, lead, values = ([row[name] for row in tables["epochs"]] for name in names)
        shown, label = [metric.factor * value for value in values], f"validation {metric.label}"
        title = f"Lead of skip_connect over the convolutions, and {metric.words} of the supernet"
        figure, body = new_figure(title, 2.9)
        add_title(body, "lead: mean of softmax(α) of skip_connect less that of convolutions", 8, "normal")
        against, over = body.subplots(1, 2, width_ratios=[1.15, 1])

        against.plot(shown, lead, color="0.75", linewidth=1.0, zorder=1)
        ends = {"vmin": epochs[0] - 0.5, "vmax": epochs[-1] + 0.5}
        dots = against.scatter(shown, lead, c=epochs, cmap="cividis", s=18, **ends)
        against.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        against.set(xlabel=label, ylabel="lead of skip_connect")
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
        beside.plot(epochs, shown, "s--" if marked else "--", color=BLUE)
        beside.set_ylabel(label, color=BLUE)
        beside.grid(visible=False)
        beside.spines[:].set_visible(False)
        return figure

    def summary(self, tables: Tables) -> str:
        rows, metric = tables["epochs"], metric_of(tables)
        first, last, key = rows[0], rows[-1], metric.key("val")
        values = [row[key] for row in rows]
        begin, end, best = (metric.amount(one, 1) for one in (values[0], values[-1], metric.best(values) or 0.0))
        words = (
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation {metric.words} went from "
            f"{begin} to {end} (best {best}), and the mean lead of skip_connect over the convolutions in "
            f"softmax(alpha) from {first['lead']:+.4f} to {last['lead']:+.4f}."
        )
        if (rank := correlation(rows, metric)) is None:
            return words
        sign = "" if metric.mode == "max" else " (below 0 where the lead grows as the supernet gets better)"
        return (
            f"{words} Spearman's correlation of the two over the {len(rows)} epochs is {rank:+.2f}{sign}. The paper "
            "sees the lead grow as the supernet gets better. (Both also grow with time, so a correlation alone is no "
            "cause.)"
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


def correlation(rows: Rows, metric: Metric = ACCURACY) -> float | None:
    """Return Spearman's correlation of metric and lead."""
    return spearman([row[metric.key("val")] for row in rows], [row["lead"] for row in rows])


def _has_both(names: Sequence[str], learning: Container[str]) -> bool:
    return SKIP in names and any(name in learning for name in names)
