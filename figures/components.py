"""Component landscapes: four losses on one plane, the trajectory where it is projected, and how far
from the plane it is.

Each panel has the same grid, contours and colours; only the loss differs. The line is the run's path
seen from the plane; the panel below says at which share of its distance from the origin it is off it.
Tables `surface`, `plane_points`.
"""

import numpy as np
import polars as pl
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator

import style
from tables import TableError, Tables

LOSSES = {
    "train": "train_loss",
    "test": "test_loss",
    "excluded (train)": "excluded_loss_train",
    "restricted (all)": "restricted_loss_all",
}


def choose(tables: Tables) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    """The plane to draw, its grid and its checkpoints: one through three checkpoints if there is one."""
    grid = tables.read("surface", ["x", "y", *LOSSES.values()])
    points = tables.read("plane_points", ["x", "y", "residual_fraction", "train_loss",
                                          "train_loss_at_projection", "restricted_loss_all"])
    planes = grid["plane"].unique().sort().to_list()
    plane = min(planes, key=lambda name: (not name.startswith("three:"), " radius " in name, name))
    here = pl.col("plane") == plane
    points = points.filter(here)
    if points.is_empty():
        raise TableError(f"table `plane_points` has no row for plane {plane!r}; run `groundswell "
                         "landscape ARCHIVE --out TABLES --plane three:first,memorised,last`")
    return plane, grid.filter(here), points


def square(grid: pl.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [n], y [m] and a column [m, n], as contours want them; null is masked."""
    n, m = grid["i"].max() + 1, grid["j"].max() + 1
    values = style.values(grid, column).reshape(n, m).T
    x = grid.filter(pl.col("j") == 0)["x"].to_numpy()
    y = grid.filter(pl.col("i") == 0)["y"].to_numpy()
    return x, y, np.ma.masked_invalid(np.where(values > 0, values, np.nan))


def levels(grid: pl.DataFrame) -> np.ndarray:
    """Common contour levels of all losses, four to a decade."""
    columns = [style.values(grid, column) for column in LOSSES.values()]
    all_values = np.concatenate([c[np.isfinite(c) & (c > 0)] for c in columns])
    if not len(all_values):
        return np.array([0.1, 1.0])
    low = np.floor(4 * np.log10(max(all_values.min(), 1e-9 * all_values.max()))) / 4
    high = np.ceil(4 * np.log10(all_values.max())) / 4
    return 10 ** np.arange(low, max(high, low + 0.5) + 0.01, 0.25)


def draw(tables: Tables) -> Figure:
    plane, grid, points = choose(tables)
    fig, axes = style.figure(3, 2, height=10.8, height_ratios=[1, 1, 0.5])
    shared = levels(grid)
    norm = LogNorm(shared[0], shared[-1])
    path = points.drop_nulls(["x", "y"])
    steps = points["step"].to_list()
    filled = None
    for ax, (label, column) in zip(axes[:2].flat, LOSSES.items()):
        x, y, z = square(grid, column)
        ax.set_title(label, loc="left")
        if z.mask.all():
            style.undefined(ax)
            continue
        filled = ax.contourf(x, y, z, levels=shared, norm=norm, cmap="viridis", extend="both")
        ax.contour(x, y, z, levels=shared[::2], colors="white", linewidths=0.25)
        ax.plot(path["x"], path["y"], color="black", lw=0.7)
        for row, marker in ((path.row(0, named=True), "o"), (path.row(-1, named=True), "s")):
            ax.plot(row["x"], row["y"], marker, ms=3, mfc="white", mec="black", mew=0.6)
        ax.set_aspect("equal")
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(4))
    for ax in axes[1]:
        ax.set_xlabel("$x$ (weights)" if not plane.startswith("random") else "$x$ (lengths of $d_1$)")
    for ax in axes[:2, 0]:
        ax.set_ylabel("$y$")
    if filled is not None:
        bar = fig.colorbar(filled, ax=axes[:2], shrink=0.8, pad=0.02, label="loss (nats)",
                           format=LogFormatterSciNotation())
        decades = [v for v in shared if abs(np.log10(v) - round(np.log10(v))) < 1e-6]
        bar.set_ticks(decades)
        bar.ax.minorticks_off()

    grid_spec = axes[2, 0].get_gridspec()
    for ax in axes[2]:
        ax.remove()
    ax = fig.add_subplot(grid_spec[2, :])
    fraction = style.values(points, "residual_fraction")
    ax.plot(steps, fraction, color="black")
    style.step_axis(ax, np.array(steps), log=True)
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("off the plane\n(fraction)")
    note = f"plane {plane}; circle: first checkpoint, square: last"
    style.caption(fig, tables.run, tables.seed("surface"), steps, note)
    return fig
