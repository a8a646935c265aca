"""Barriers of the train loss on the lines between checkpoints, as a matrix.

`barrier_linear`: how far the loss on the line rises above the straight line between its ends. Lines
within the run, as saved. Table `barriers`.
"""

import numpy as np
import polars as pl
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

import style
from tables import Tables

MOST = 16  # checkpoints that a column can show


def draw(tables: Tables) -> Figure:
    rows = tables.read("barriers", ["barrier_linear"])
    rows = rows.filter((pl.col("to_run") == pl.col("run")) & (pl.col("alignment") == "none"))
    # The checkpoints with the most lines first: those of a matrix, not of consecutive saves.
    ends = pl.concat([rows["from_step"], rows["to_step"]]).value_counts(name="lines").rename(
        {"from_step": "step"})
    ends = ends.sort(["lines", "step"], descending=[True, False]).head(MOST)
    steps = ends["step"].sort().to_list()
    place = {step: i for i, step in enumerate(steps)}
    matrix = np.full((len(steps), len(steps)), np.nan)
    for start, end, barrier in rows.select("from_step", "to_step", "barrier_linear").iter_rows():
        if start in place and end in place and barrier is not None:
            matrix[place[start], place[end]] = matrix[place[end], place[start]] = barrier
    np.fill_diagonal(matrix, 0.0)
    fig, ((ax,),) = style.figure(1, height=8.2)
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
    style.caption(fig, tables.run, tables.seed("barriers"), steps,
                  "above the straight line between the ends; blank: no line was computed")
    return fig
