"""How the weights move: distances, size of the steps, turns, and the final subspaces.

Table `movement`: (a) distance of all parameters from the initialisation and to the last checkpoint, (b)
distance from the previous save over the updates between them, (c) cosine of consecutive steps, (d) overlap
of the leading singular subspaces of each matrix with those of the last checkpoint.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import phases
import style
from svd import short
from tables import Tables


def draw(tables: Tables) -> Figure:
    rows = tables.read("movement", ["distance_from_init", "distance_from_previous",
                                    "distance_to_final", "cosine_of_steps",
                                    "subspace_overlap_final"])
    whole = rows.filter(pl.col("tensor") == "all")
    step = whole["step"].to_numpy()
    fig, axes = style.figure(4, height=15.0, sharex=True, height_ratios=[1, 1, 1, 1.3])
    axes = axes[:, 0]
    distances = {"from the initialisation": style.values(whole, "distance_from_init"),
                 "to the last checkpoint": style.values(whole, "distance_to_final")}
    if style.lines(axes[0], step, distances, [style.COLOUR["train"], style.COLOUR["test"]]):
        axes[0].legend(loc="best", labelspacing=0.25)
    axes[0].set_ylim(bottom=0)

    updates = np.diff(step, prepend=np.nan)
    pace = style.values(whole, "distance_from_previous") / updates
    style.log_axis(axes[1], pace)
    style.lines(axes[1], step, {"": pace}, [style.COLOUR["weights"]])
    style.lines(axes[2], step, {"": style.values(whole, "cosine_of_steps")},
                [style.COLOUR["weights"]])
    axes[2].set_ylim(-1.05, 1.05)
    axes[2].axhline(0, color="#888888", lw=0.4, zorder=1)

    matrices = rows.filter((pl.col("tensor") != "all"))
    names = [name for name in matrices["tensor"].unique(maintain_order=True)
             if matrices.filter(pl.col("tensor") == name)["subspace_overlap_final"].is_not_null()
             .any()]
    curves = {short(name): style.values(matrices.filter(pl.col("tensor") == name),
                                        "subspace_overlap_final") for name in names}
    colours = [style.HUES[i % len(style.HUES)] for i in range(len(names))]
    if style.lines(axes[3], step, curves, colours) and names:
        for line in axes[3].get_lines()[len(style.HUES):]:
            line.set_linestyle((0, (4, 1.5)))  # the hues have come round
        axes[3].legend(loc="best", labelspacing=0.25, ncols=2)
    axes[3].set_ylim(0, 1.02)
    labels = ["distance", "distance per update", "cosine", "overlap"]
    titles = ["all parameters", "pace", "consecutive steps", "with the final leading subspaces"]
    for ax, letter, label, title in zip(axes, "abcd", labels, titles):
        ax.set_title(f"({letter}) {title}", loc="left", pad=11 if letter == "a" else 3)
        ax.set_ylabel(label)
        style.step_axis(ax, step, log=True, label=letter == "d")
    fig.align_ylabels()
    legend = style.phase_marks(axes, phases.of_run(tables))
    style.caption(fig, tables.run, tables.seed("movement"), step, legend)
    return fig
