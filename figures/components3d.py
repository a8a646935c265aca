"""The train surface of a plane in three dimensions, with the trajectory at its true heights.

The thin line is where the surface is below (or above) the checkpoints: what a trajectory that is laid
on the contours would look like. The thick one has their own losses. Tables `surface`, `plane_points`.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

import style
from components import choose, square
from tables import Tables

SURFACES = [("train", "train_loss"), ("restricted (all)", "restricted_loss_all")]


def draw(tables: Tables) -> Figure:
    plane, grid, points = choose(tables)
    fig, axes = style.figure(2, height=13, subplot_kw={"projection": "3d"})
    x, y = (style.values(points, name) for name in "xy")
    for ax, (label, column) in zip(axes[:, 0], SURFACES):
        gx, gy, z = square(grid, column)
        height = np.log10(np.ma.filled(z, np.nan))
        if not np.isfinite(height).any():
            ax.set_axis_off()
            continue
        own = style.values(points, column)
        lowest = np.nanmin(np.log10(own[own > 0])) if (own > 0).any() else np.nanmin(height)
        height = np.maximum(height, lowest - 1)  # wells far below the path would flatten the rest
        ax.plot_surface(*np.meshgrid(gx, gy), height, cmap="viridis", rcount=60, ccount=60,
                        lw=0, alpha=0.75, antialiased=True)
        if column == "train_loss":
            lines = [("train_loss_at_projection", 0.6, "#666666"),
                     ("train_loss", 1.3, style.COLOUR["test"])]
        else:
            lines = [(column, 1.3, style.COLOUR["test"])]
        for name, width, colour in lines:
            if name in points.columns:
                values = style.values(points, name)
                ax.plot(x, y, np.log10(np.where(values > 0, values, np.nan)), color=colour, lw=width,
                        zorder=10)
        ax.set_title(f"{label} loss", loc="left")
        ax.set_xlabel("$x$", labelpad=-8)
        ax.set_ylabel("$y$", labelpad=-8)
        ax.zaxis.set_major_locator(MaxNLocator(5))
        ax.zaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{10**v:.2g}"))
        ax.tick_params(pad=-3, labelsize=5.5)
        ax.tick_params(axis="z", pad=0)
        ax.view_init(28, -58)
    residual = style.values(points, "residual_fraction")
    worst = np.nanmax(residual) if np.isfinite(residual).any() else float("nan")
    note = f"plane {plane}; thick: own losses, thin: on the plane; up to {worst:.0%} off it"
    style.caption(fig, tables.run, tables.seed("surface"), points["step"].to_list(), note)
    return fig
