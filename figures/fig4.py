"""What the network computes on every pair of inputs: attention, four neurons, and the logits.

Table `activations`, made on request of one checkpoint: above, the weight of each head on the first input a,
over (a, b); in the middle, the outputs of the clearest neurons of four frequencies; below, the norms of the
logits over their classes in the two-dimensional Fourier basis, logarithmic. Paper: Figure 4 (v1 and v3).
"""

import numpy as np
import polars as pl
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import style
from tables import TableError, Tables, command


def grids(rows: pl.DataFrame, object: str) -> dict[int, np.ndarray]:
    """The values of an object over (i, j), by its index."""
    found = {}
    for (index,), part in rows.filter(pl.col("object") == object).group_by(
            "index", maintain_order=True):
        size = part["i"].max() + 1
        found[index] = style.values(part.sort("i", "j"), "value").reshape(size, -1)
    return found


def draw(tables: Tables) -> Figure:
    rows = tables.read("activations", ["value"])
    step = rows["step"].max()
    rows = rows.filter(pl.col("step") == step)
    heads, neurons, logits = (grids(rows, name) for name in ("attention", "neuron", "logits"))
    if not logits:
        raise TableError(f"table `activations`, column `object`: no `logits` at step {step}; "
                         f"run `{command('activations')}`")
    height = 3.2 * (bool(heads) + bool(neurons)) + 6.6
    fig, _ = style.figure(1, height=height)
    fig.clear()
    parts = [part for part in (heads, neurons) if part]
    strips = fig.subfigures(len(parts) + 1, 1, squeeze=False,
                            height_ratios=[3.2] * len(parts) + [5.6])[:, 0]
    for strip, part in zip(strips, parts):
        axes = strip.subplots(1, max(len(part), 2), squeeze=False)[0]
        for ax in axes[len(part):]:
            ax.set_axis_off()
        for ax, (index, grid) in zip(axes, part.items()):
            image = ax.imshow(grid, origin="lower", cmap="viridis", interpolation="nearest",
                              vmin=0, vmax=1 if part is heads else None)
            ax.set_title(f"{'head' if part is heads else 'neuron'} {index}", loc="left")
            ax.set_xticks([])
            ax.set_yticks([])
        axes[0].set_xlabel("$b$")
        axes[0].set_ylabel("$a$")
        strip.colorbar(image, ax=list(axes), pad=0.01, aspect=14,
                       label="weight on $a$" if part is heads else "output of the last neuron")
    ax = strips[-1].subplots()
    grid = logits[min(logits)]
    positive = grid[np.isfinite(grid) & (grid > 0)]
    top = positive.max() if len(positive) else 1.0
    image = ax.imshow(np.fmax(grid, top * 1e-4), origin="lower", cmap="magma_r",
                      interpolation="nearest", norm=LogNorm(top * 1e-4, top))
    ax.set_title("norms of the logits, Fourier basis", loc="left")
    ax.set_xlabel("row over $b$ (0: constant; $2k-1$: cosine; $2k$: sine)")
    ax.set_ylabel("row over $a$")
    strips[-1].colorbar(image, ax=ax, pad=0.01, aspect=24, label="norm over classes")
    style.caption(fig, tables.run, tables.seed("activations"), [step],
                  "norms below 1e-4 of the largest are drawn as 1e-4")
    return fig
