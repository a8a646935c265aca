"""The run on its first principal components, and how much of it they leave out.

Table `trajectory`. Above, the first two components; below, the share of each checkpoint's distance from
the last one that lies outside of the first three: where it is large, the picture above is not where the
run is. A random walk in many dimensions has components that explain 0.608, 0.152 and 0.068 of its variance
(arXiv:1806.08805), so shares like these say nothing.
"""

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

import phases
import style
from tables import Tables

RANDOM_WALK = (0.608, 0.152, 0.068)


def draw(tables: Tables) -> Figure:
    rows = tables.read("trajectory", ["pc1", "pc2", "explained_1", "explained_2", "explained_3",
                                      "residual_fraction"])
    step = rows["step"].to_numpy()
    fig, ((upper,), (lower,)) = style.figure(2, height=11.5, height_ratios=[2, 1])
    x, y = style.values(rows, "pc1"), style.values(rows, "pc2")
    if np.isfinite(x).any():
        upper.plot(x, y, color=style.COLOUR["other"], lw=0.5, zorder=1)
        norm = SymLogNorm(1, linscale=0.35, vmin=0, vmax=max(step[-1], 1))
        points = upper.scatter(x, y, c=step, s=3, lw=0, cmap="viridis_r", norm=norm, zorder=2)
        bar = fig.colorbar(points, ax=upper, label="step", pad=0.02, aspect=30)
        bar.outline.set_linewidth(0.4)
        for at, name in [(0, "first"), (-1, "last")]:
            upper.annotate(name, (x[at], y[at]), (3, 3), textcoords="offset points", fontsize=6)
        found = phases.of_run(tables)
        for name in ("memorised", "peak", "generalised"):
            boundary = getattr(found, name)
            if boundary in step:
                at = int(np.flatnonzero(step == boundary)[0])
                upper.plot(x[at], y[at], "o", ms=4, mfc="none", mec="#333333", mew=0.7)
                upper.annotate(name, (x[at], y[at]), (4, -7), textcoords="offset points",
                               fontsize=6)
        upper.set_aspect("equal", "datalim")
    else:
        style.undefined(upper)
    shares = [rows[f"explained_{i}"].drop_nulls() for i in (1, 2, 3)]
    shown = ", ".join(f"{share[0]:.3f}" if len(share) else "–" for share in shares)
    walk = ", ".join(f"{share:.3f}" for share in RANDOM_WALK)
    upper.set_title(f"variance explained: {shown}\n(a random walk: {walk})", loc="left")
    upper.set_xlabel("first component")
    upper.set_ylabel("second component")
    style.lines(lower, step, {"": style.values(rows, "residual_fraction")},
                [style.COLOUR["weights"]])
    lower.set_ylim(0, 1.02)
    lower.set_ylabel("outside of three\ncomponents")
    style.step_axis(lower, step, log=True)
    style.caption(fig, tables.run, tables.seed("trajectory"), step,
                  "outside: share of the distance from the last checkpoint")
    return fig
