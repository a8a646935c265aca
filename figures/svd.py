"""Singular values of every matrix over training, and the final ones beside a random matrix.

Tables `singular_values`, `spectra`. Top: W_E (of an MLP W_in) over training (each line is one rank i) and its final
values against those expected of a matrix of the same shape and Frobenius norm with independent
entries. Below: the other tensors over training; the slices (heads) of a 3-D tensor share a panel.
"""

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

import style
from tables import TableError, Tables, command, printable

FIRST = ("embed.W_E", "mlp.W_in")  # the tensor that reads the inputs


def marchenko_pastur(rows: int, cols: int, frobenius_sq: float) -> np.ndarray:
    """Singular values expected of a random rows x cols matrix, descending, [min(rows, cols)].

    Entries independent with variance s^2 = frobenius_sq / (rows cols). The squared singular values
    over N s^2, N the longer side, follow the Marchenko-Pastur law on [(1-r)^2, (1+r)^2], r =
    sqrt(M/N); the i-th of M is put at its quantile (i + 1/2)/M. With x = 1 + r^2 + 2 r cos t, the
    density is 2 sin^2 t / (pi x) dt for t in [0, pi], largest x first.
    """
    longer, shorter = max(rows, cols), min(rows, cols)
    r = np.sqrt(shorter / longer)
    t = (np.arange(20_000) + 0.5) * np.pi / 20_000
    x = 1 + r**2 + 2 * r * np.cos(t)
    mass = np.cumsum(np.sin(t) ** 2 / x)
    quantile = (np.arange(shorter) + 0.5) / shorter
    squared = np.interp(quantile, mass / mass[-1], x)
    return np.sqrt(squared * frobenius_sq / shorter)


def short(tensor: str) -> str:
    """'blocks.0.attn.W_Q' as 'W_Q', in mathtext if it has that form."""
    name = tensor.rsplit(".", 1)[-1]
    letter, _, index = name.partition("_")
    if len(letter) == 1 and letter.isalpha() and index.isalnum():
        return rf"${letter}_{{\mathrm{{{index}}}}}$"
    return printable(name, 20).replace("$", r"\$")


def over_training(ax, rows: pl.DataFrame, width: float) -> None:
    """One thin line per singular value, light for the largest to dark for the smallest."""
    colours = matplotlib.colormaps["viridis_r"]
    for (_, index), part in rows.group_by("batch_index", "index", maintain_order=True):
        count = max(rows["index"].max(), 1)
        colour = colours(0.12 + 0.88 * index / count)
        ax.plot(part["step"].to_numpy(), style.values(part, "sigma"), color=colour, lw=width,
                rasterized=True)


def draw(tables: Tables) -> Figure:
    sigma = tables.read("singular_values", ["sigma"])
    spectra = tables.read("spectra", ["rows", "cols", "frobenius_sq"])
    step = sigma["step"].unique().sort().to_numpy()
    names = sigma["tensor"].unique(maintain_order=True).to_list()
    first = next((name for name in FIRST if name in names), None)
    if first is None:
        raise TableError(f"table `singular_values`, column `tensor`: no `{FIRST[0]}`; "
                         f"run `{command('singular_values')}`")
    others = [name for name in names if name != first]
    columns = 3
    lower = -(-len(others) // columns)
    fig, _ = style.figure(1, height=6.3 + 3.1 * lower)
    fig.clear()
    upper, *grid = fig.subfigures(2 if others else 1, 1, squeeze=False,
                                  height_ratios=[5.5, 3.1 * lower] if others else None)[:, 0]

    left, right = upper.subplots(1, 2, width_ratios=[1.55, 1], sharey=True)
    embed = sigma.filter(pl.col("tensor") == first)
    last = embed["step"].max()
    over_training(left, embed, 0.4)
    style.log_axis(left, floored(embed))
    style.step_axis(left, step, log=True)
    left.set_ylabel("singular value")
    left.set_title(f"{short(first)} over training", loc="left")

    final = embed.filter(pl.col("step") == last)
    shape = spectra.filter((pl.col("tensor") == first) & (pl.col("step") == last))
    index = final["index"].to_numpy() + 1
    right.plot(index, style.values(final, "sigma"), "o", color=style.COLOUR["W_E"], ms=1.4, mew=0,
               label="final")
    if not shape.is_empty() and shape["frobenius_sq"][0]:
        rows, cols, energy = (shape[c][0] for c in ("rows", "cols", "frobenius_sq"))
        random = marchenko_pastur(rows, cols, energy)
        right.plot(np.arange(len(random)) + 1, random, color=style.COLOUR["null"], lw=0.9,
                   label="random")
    right.set_xlabel("rank")
    right.set_title(f"at step {style.thousands(last)}", loc="left")
    right.legend(loc="best", handletextpad=0.5)

    if others:
        panels = grid[0].subplots(lower, columns, squeeze=False, sharex=True)
        for ax in panels.flat[len(others):]:
            ax.set_axis_off()
        for ax, name in zip(panels.flat, others):
            part = sigma.filter(pl.col("tensor") == name)
            over_training(ax, part, 0.25)
            style.log_axis(ax, floored(part))
            slices = part["batch_index"].n_unique()
            ax.set_title(short(name) + (f" ({slices} heads)" if slices > 1 else ""), loc="left",
                         pad=2)
            style.step_axis(ax, step, log=True, label=False, sparse=True)
            ax.tick_params(which="both", labelsize=5.5)
        grid[0].supxlabel("training step (log; linear from 0 to 1)", fontsize=7)
    style.caption(fig, tables.run, tables.seed("singular_values"), step,
                  "lines: largest light, smallest dark · random: same shape and Frobenius norm")
    return fig


def floored(rows: pl.DataFrame) -> np.ndarray:
    """Singular values that fix the y range: what lies below 1e-6 of the largest is rounding."""
    sigma = style.values(rows, "sigma")
    return sigma[sigma >= 1e-6 * np.nanmax(sigma)] if np.isfinite(sigma).any() else sigma
