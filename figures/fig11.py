"""Logit coefficient of every frequency over training, key frequencies in colour.

Table `frequencies`: c_k = <L, e_k>, with e_k = sqrt(2/p^3) cos(w_k (a+b-c)) of unit norm, so c_k
has the unit of a logit times sqrt(p^3). Paper: Figure 11 of v1, 14 of v3.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import phases
import style
from tables import Tables


def draw(tables: Tables) -> Figure:
    rows = tables.read("frequencies", ["is_key", "logit_coefficient"])
    keys = rows.filter(pl.col("is_key"))["frequency"].unique().sort().to_list()
    step = rows["step"].unique().sort().to_numpy()
    fig, ((ax,),) = style.figure(1, height=7.5)
    hues = style.hues(keys)
    ends = {}
    drawn = False
    for (k,), part in rows.group_by("frequency", maintain_order=True):
        x, y = part["step"].to_numpy(), style.values(part, "logit_coefficient")
        if not np.isfinite(y).any():
            continue
        drawn = True
        if k in hues:
            ax.plot(x, y, color=hues[k], lw=1.1, zorder=3)
            ends[k] = y[np.isfinite(y)][-1]
        else:
            ax.plot(x, y, color=style.COLOUR["other"], lw=0.35, zorder=2)
    if not drawn:
        style.undefined(ax)
    style.step_axis(ax, step, log=False)
    ax.set_ylabel(r"logit coefficient $\langle L, e_k\rangle$")
    ax.axhline(0, color="#888888", lw=0.4, zorder=1)
    ax.yaxis.set_major_formatter(lambda y, _: style.thousands(y) if abs(y) >= 1e4 else f"{y:g}")
    low, high = ax.get_ylim()
    for k, y in zip(ends, style.spread(list(ends.values()), 0.05 * (high - low))):
        ax.annotate(f"$k$ = {k}", (1, y), (3, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="center", fontsize=6.5, color=hues[k])
    legend = style.phase_marks([ax], phases.of_run(tables))
    others = rows["frequency"].n_unique() - len(keys)
    note = " · ".join(part for part in (legend, f"grey: the other {others} frequencies") if part)
    style.caption(fig, tables.run, tables.seed("frequencies"), step, note)
    return fig
