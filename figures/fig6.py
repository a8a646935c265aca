"""The loss without each frequency alone, and the loss of each frequency alone.

Table `frequencies` at the last checkpoint, in nats: above, the train loss of the logits less their part
in frequency k; below, the loss over all inputs of the mean and that part alone. Paper: Figure 6 of v3.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import style
from fig3 import label_keys
from tables import Tables

PANELS = [("without frequency $k$ alone (train)", "excluded_loss_train"),
          ("frequency $k$ alone (all inputs)", "restricted_loss_all")]


def draw(tables: Tables) -> Figure:
    rows = tables.read("frequencies", ["is_key", *(column for _, column in PANELS)])
    progress = tables.read("progress", ["train_loss"])
    step = rows["step"].max()
    rows = rows.filter(pl.col("step") == step)
    keys = rows.filter(pl.col("is_key"))["frequency"].sort().to_list()
    hues = style.hues(keys)
    fig, axes = style.figure(2, height=8.0, sharex=True)
    k = rows["frequency"].to_numpy()
    chance = np.log(2 * k.max() + 1)
    plain = progress.filter(pl.col("step") == step)["train_loss"]
    levels = [(plain[0] if len(plain) else None, "train loss"), (chance, r"$\ln p$")]
    for ax, (title, column), (level, name) in zip(axes[:, 0], PANELS, levels):
        loss = style.values(rows, column)
        style.log_axis(ax, loss, np.array([level if level else np.nan]))
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.08)  # room for the labels of the keys
        colours = [hues.get(frequency, style.COLOUR["other"]) for frequency in k]
        ax.bar(k, loss - low, 0.8, bottom=low, color=colours)
        label_keys(ax, k, loss, keys)
        if level:
            ax.axhline(level, color="#555555", lw=0.6, ls=(0, (4, 2)))
            ax.annotate(name, (1, level), (-1, 1), xycoords=("axes fraction", "data"), ha="right",
                        textcoords="offset points", va="bottom", fontsize=6, color="#555555")
        if not np.isfinite(loss).any():
            style.undefined(ax)
        ax.set_title(title, loc="left")
        ax.set_ylabel("loss (nats)")
        ax.margins(x=0.01)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes[1, 0].set_xlabel("frequency $k$")
    note = f"key frequencies in colour: {', '.join(map(str, keys)) or 'none'}"
    style.caption(fig, tables.run, tables.seed("frequencies"), [step], note)
    return fig
