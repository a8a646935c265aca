"""Train loss without each key frequency alone, over training.

Table `frequencies`: the loss of the logits less their part in frequency k. Paper: Figure 12 of v1, 15 of
v3.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import phases
import style
from tables import Tables


def draw(tables: Tables) -> Figure:
    rows = tables.read("frequencies", ["is_key", "excluded_loss_train"])
    progress = tables.read("progress", ["train_loss"])
    step = rows["step"].unique().sort().to_numpy()
    keys = rows.filter(pl.col("is_key"))["frequency"].unique().sort().to_list()
    hues = style.hues(keys)
    curves = {f"without $k$ = {k}": style.values(rows.filter(pl.col("frequency") == k),
                                                 "excluded_loss_train") for k in keys}
    colours = [hues[k] for k in keys]
    fig, ((ax,),) = style.figure(1, height=6.5)
    plain = style.values(progress, "train_loss")
    style.log_axis(ax, plain, *curves.values())
    if style.lines(ax, step, curves, colours):
        ax.plot(progress["step"].to_numpy(), plain, color=style.COLOUR["train"], lw=0.7,
                label="nothing left out", zorder=1)
        ax.legend(loc="best", labelspacing=0.25, ncols=1 + (len(keys) > 4))
    ax.set_ylabel("train loss (nats)")
    style.step_axis(ax, np.asarray(step), log=False)
    legend = style.phase_marks([ax], phases.of_run(tables))
    style.caption(fig, tables.run, tables.seed("frequencies"), step, legend)
    return fig
