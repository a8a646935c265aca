"""Barriers of the train loss on the lines between checkpoints.

`barrier_linear`: how far the loss on the line rises above the straight line between its ends. Lines
within the run, as saved: as a matrix; and below, over training, those from each save to the next, if
there are such. Table `barriers`.
"""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

import style
from tables import Tables

MOST = 16  # checkpoints that a column can show


def split(rows: pl.DataFrame) -> tuple[list[int], pl.DataFrame]:
    """Checkpoints of the matrix, and lines of the chain from each checkpoint to the next.

    A checkpoint with lines to its two neighbours alone is a link of the chain. Where these are not the
    most, there is no chain: all lines are the matrix.
    """
    every = pl.concat([rows["from_step"], rows["to_step"].rename("from_step")]).unique().sort().to_list()
    place = {step: i for i, step in enumerate(every)}
    lines = list(rows.select("from_step", "to_step").iter_rows())
    is_far = [abs(place[start] - place[end]) > 1 for start, end in lines]
    far = {step for line, far in zip(lines, is_far) if far for step in line}
    if not far or 2 * len(far) >= len(every):
        return every, rows.clear()
    return sorted(far), rows.filter(~pl.Series(is_far, dtype=pl.Boolean)).sort("from_step")


def draw_matrix(fig: Figure, ax: Axes, rows: pl.DataFrame, steps: list[int]) -> None:
    place = {step: i for i, step in enumerate(steps)}
    matrix = np.full((len(steps), len(steps)), np.nan)
    for start, end, barrier in rows.select("from_step", "to_step", "barrier_linear").iter_rows():
        if start in place and end in place and barrier is not None:
            matrix[place[start], place[end]] = matrix[place[end], place[start]] = barrier
    np.fill_diagonal(matrix, 0.0)
    top = max(np.nanmax(matrix), 0.1)
    shown = ax.imshow(matrix, cmap="magma_r", norm=SymLogNorm(0.02, vmin=0, vmax=top))
    ticks = range(len(steps))
    labels = [style.thousands(step) for step in steps]
    ax.set_xticks(ticks, labels, rotation=90)
    ax.set_yticks(ticks, labels)
    if len(steps) <= 9:
        for (i, j), value in np.ndenumerate(matrix):
            if i != j and np.isfinite(value):
                text = f"{value:.2g}" if value >= 0.01 or value == 0 else "<0.01"
                dark = shown.norm(value) > 0.5
                ax.text(j, i, text, ha="center", va="center", fontsize=5.5,
                        color="white" if dark else "black")
    ax.set_xlabel("checkpoint (step)")
    ax.set_ylabel("checkpoint (step)")
    bar = fig.colorbar(shown, ax=ax, shrink=0.8, label="barrier of the train loss (nats)")
    decades = [0, *(10.0**e for e in range(-2, int(np.floor(np.log10(top))) + 1))]
    bar.set_ticks(decades, labels=[f"{v:g}" for v in decades])
    bar.ax.minorticks_off()


def draw_chain(ax: Axes, chain: pl.DataFrame) -> None:
    """Barriers over the step at which their line ends."""
    step, barrier = chain["to_step"].to_numpy(), style.values(chain, "barrier_linear")
    ax.plot(step, barrier, "o", ms=1.6, mew=0, color=style.COLOUR["train"], clip_on=False)
    ax.set_yscale("symlog", linthresh=1e-6)
    ax.yaxis.set_major_locator(FixedLocator([0, *(10.0**e for e in range(-6, 3))]))
    ax.set_ylim(0, max(np.nanmax(barrier, initial=0), 1e-6) * 3)
    ax.set_ylabel("to the next\nsave (nats)")
    style.step_axis(ax, step, log=True)


def draw(tables: Tables) -> Figure:
    rows = tables.read("barriers", ["barrier_linear"])
    rows = rows.filter((pl.col("to_run") == pl.col("run")) & (pl.col("alignment") == "none"))
    steps, chain = split(rows)
    steps = steps[:: -(-len(steps) // MOST)]
    if chain.is_empty():
        fig, axes = style.figure(1, height=8.2)
    else:
        fig, axes = style.figure(2, height=10.8, height_ratios=[3, 1])
        draw_chain(axes[1, 0], chain)
    draw_matrix(fig, axes[0, 0], rows, steps)
    every = [*rows["from_step"], *rows["to_step"]]
    style.caption(fig, tables.run, tables.seed("barriers"), every,
                  "above the straight line between the ends; blank: no line was computed")
    return fig
