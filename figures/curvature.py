"""Spectra of Hessians over training: largest eigenvalues, traces, densities.

Top: the largest and the smallest of the computed eigenvalues of each loss. Middle: the trace, with its
standard error. Bottom: raw nodes of the quadrature and their weights, for the train loss, a colour for
each checkpoint. Tables `curvature`, `spectral_density`.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import style
from tables import Tables

COLOURS = ["train", "test", "excluded", "restricted"]


def draw(tables: Tables) -> Figure:
    rows = tables.read("curvature", ["eigenvalue", "residual", "trace", "trace_standard_error"])
    density = tables.read("spectral_density", ["node", "weight"])
    steps = rows["step"].unique().sort().to_numpy()
    fig, axes = style.figure(3, height=13.5)
    top, middle, bottom = axes[:, 0]
    heights = []
    for loss in [name for name in COLOURS if name in rows["loss"].unique().to_list()]:
        part = rows.filter((pl.col("loss") == loss) & pl.col("eigenvalue").is_not_null())
        if part.is_empty():
            continue
        ends = part.group_by("step").agg(
            high=pl.col("eigenvalue").max(), low=pl.col("eigenvalue").min(), count=pl.len(),
            trace=pl.col("trace").first(), error=pl.col("trace_standard_error").first(),
        ).sort("step")
        x = ends["step"].to_numpy()
        for column, dashes in (("high", "-"), ("low", ":")):
            y = style.values(ends, column)
            heights.append(y)
            label = loss if column == "high" else None
            top.plot(x, np.where(y > 0, y, np.nan), dashes, color=style.COLOUR[loss], marker="o", ms=2,
                     label=label)
        error = np.nan_to_num(style.values(ends, "error"))
        middle.errorbar(x, style.values(ends, "trace"), error, color=style.COLOUR[loss], marker="o",
                        ms=2, lw=1, elinewidth=0.6)
    if heights:
        style.log_axis(top, *heights)
        top.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        middle.set_yscale("symlog", linthresh=1e-4)
    else:
        style.undefined(top)
    count = rows["index"].max() + 1
    which = "largest eigenvalue" if count == 1 else f"eigenvalues 1 and {count}"
    top.set_ylabel(f"{which}\n(nats/weight²)")
    middle.set_ylabel("trace (nats/weight²)")
    for ax in (top, middle):
        style.step_axis(ax, steps, log=True, label=ax is middle)
    chosen = density["loss"].unique().to_list()
    loss = "train" if "train" in chosen else min(chosen)
    part = density.filter(pl.col("loss") == loss)
    at = part["step"].unique().sort().to_list()
    for step, hue in zip(at, style.HUES * (len(at) // len(style.HUES) + 1)):
        here = part.filter(pl.col("step") == step)
        bottom.plot(here["node"], np.maximum(here["weight"].to_numpy(), 1e-12), "o", ms=1.6, color=hue,
                    mew=0, label=f"step {style.thousands(step)}")
    bottom.set_xscale("symlog", linthresh=1e-6)
    bottom.set_yscale("log")
    bottom.xaxis.set_major_locator(style.SymlogTicks(lowest=-3))
    bottom.set_ylim(bottom=1e-12)
    bottom.legend(ncols=3, fontsize=5.5, loc="lower center", handletextpad=0)
    bottom.set_xlabel(f"node (nats/weight²), {loss} loss")
    bottom.set_ylabel("weight")
    style.caption(fig, tables.run, tables.seed("curvature"), steps.tolist(),
                  ("" if count == 1 else "solid: largest eigenvalue, dotted: the smallest of those computed; ")
                  + "bars: one s.e.")
    return fig
