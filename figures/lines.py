"""Loss along straight lines between two checkpoints: total, excluded and restricted.

theta(alpha) = (1 - alpha) theta_from + alpha theta_to; every loss is computed from the logits at
theta(alpha), in nats over p classes, with the key frequencies of the final checkpoint. One panel
per line. Tables `interpolation`, `barriers`.
"""

import polars as pl
from matplotlib.figure import Figure

import style
from tables import Tables

CURVES = {
    "train": ("train_loss", "train"),
    "test": ("test_loss", "test"),
    "excluded (train)": ("excluded_loss_train", "excluded"),
    "restricted (all)": ("restricted_loss_all", "restricted"),
}


def draw(tables: Tables) -> Figure:
    rows = tables.read("interpolation", [column for column, _ in CURVES.values()])
    barriers = tables.read("barriers", ["barrier_linear"])
    within = (pl.col("to_run") == pl.col("run")) & (pl.col("alignment") == "none")
    rows, barriers = rows.filter(within), barriers.filter(within)
    ends = rows.select("from_step", "to_step").unique(maintain_order=True)
    # A column has room for three: the longest.
    length = pl.col("to_step") - pl.col("from_step")
    ends = ends.sort([length, "from_step"], descending=[True, False]).head(3).rows()
    fig, axes = style.figure(len(ends), height=1.6 + 5.2 * len(ends), sharex=True)
    for ax, (start, end) in zip(axes[:, 0], ends):
        here = (pl.col("from_step") == start) & (pl.col("to_step") == end)
        part = rows.filter(here)
        curves = {label: style.values(part, column) for label, (column, _) in CURVES.items()}
        style.log_axis(ax, *curves.values())
        style.lines(ax, part["alpha"].to_numpy(), curves,
                    [style.COLOUR[colour] for _, colour in CURVES.values()])
        ax.set_ylabel("loss (nats)")
        title = f"step {style.thousands(start)} to {style.thousands(end)}"
        barrier = barriers.filter(here)["barrier_linear"]
        if len(barrier) and barrier[0] is not None:
            title += f"; barrier of the train loss {barrier[0]:.2g} nats"
        ax.set_title(title, loc="left")
        ax.set_xlim(0, 1)
    axes[-1, 0].set_xlabel(r"$\alpha$ (0: first checkpoint, 1: second)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside upper center", ncols=4, columnspacing=1.0,
                   handletextpad=0.4)
    steps = [step for pair in ends for step in pair]
    style.caption(fig, tables.run, tables.seed("interpolation"), steps,
                  "excluded, restricted: key frequencies of the last checkpoint of the run")
    return fig
