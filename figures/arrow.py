"""Where each update points: the key frequencies against the others, early and over the whole run.

Top: `rate_total`, how fast the update moves c_k per unit of learning rate; the band is the range of the
frequencies that `z_nonkey` compares with, those that are no key, no harmonic of keys (2k, 3k, k ± k') and
not above a quarter of the largest in the final W_E; the line in it is their median. Middle: `z_nonkey` of
every key. Bottom: z of the mean rate over all frequencies, of `rate_total` over the mirrored directions
(`z_mirror_mean`), of `rate_ce` among permuted labels (`z_label_mean`): what C4a is judged by. Tables `arrow`,
`fourier`; docs/claims.md.
"""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import phases
import style
from tables import Tables

EARLY = 50  # last step of the left column, as in the rules of C4
BAND = 3.0  # z beyond which those rules call it an arrow
MEANS = {"z_mirror_mean": ("mirror", "mirror"), "z_label_mean": ("labels", "labels")}
IN_W_E = 0.25  # of the largest norm in W_E: from there on a frequency is none to compare with


def order(tables: Tables, count: int) -> int:
    """Order of the group whose frequencies are 1 to `count`: p, of a product p - 1."""
    config = tables.configs("arrow").get(tables.run, {})
    return 2 * count if config.get("task") in ("mul", "div") else 2 * count + 1


def in_w_e(tables: Tables) -> set[int]:
    """Frequencies that stand out in W_E at the last checkpoint."""
    rows = tables.read("fourier", ["norm"])
    rows = rows.filter((pl.col("object") == "W_E") & (pl.col("frequency") > 0)
                       & (pl.col("step") == rows["step"].max()))
    return set(rows.filter(pl.col("norm") > IN_W_E * pl.col("norm").max())["frequency"])


def plain(keys: list[int], embedded: set[int], n: int) -> list[int]:
    """Frequencies 1 to n/2 of a group of order n that are no key k, none of 2k, 3k, k ± k' (mod n), and
    not in `embedded`."""
    taken = {m * k for k in keys for m in (1, 2, 3)}
    taken |= {k + sign * other for k in keys for other in keys for sign in (1, -1)}
    folded = {min(k % n, -k % n) for k in taken} | embedded
    return [k for k in range(1, n // 2 + 1) if k not in folded]


def rates(ax: Axes, rows: pl.DataFrame, hues: dict[int, str], others: list[int]) -> None:
    """`rate_total` of the keys over the band of the others."""
    band = rows.filter(pl.col("frequency").is_in(others)).group_by("step").agg(
        low=pl.col("rate_total").min(), high=pl.col("rate_total").max(),
        middle=pl.col("rate_total").median(),
    ).sort("step")
    step, grey = band["step"].to_numpy(), style.COLOUR["other"]
    low, high = style.values(band, "low"), style.values(band, "high")
    label = f"{len(others)} others" if others else None
    ax.fill_between(step, low, high, lw=0, color=grey, alpha=0.6, label=label)
    for edge in (low, high):
        ax.plot(step, edge, color=grey, lw=0.3, **style.lone(edge))
    ax.plot(step, style.values(band, "middle"), color="#777777", lw=0.6)
    of_keys(ax, rows, "rate_total", hues)


def of_keys(ax: Axes, rows: pl.DataFrame, column: str, hues: dict[int, str]) -> None:
    """A line for each key frequency."""
    for k, hue in hues.items():
        part = rows.filter(pl.col("frequency") == k)
        y = style.values(part, column)
        ax.plot(part["step"].to_numpy(), y, color=hue, lw=0.8, **style.lone(y),
                label=f"$k$ = {k}" if k == min(hues) else str(k))


def means(ax: Axes, rows: pl.DataFrame) -> None:
    """z of the mean over all frequencies, which is the same in all rows of a step."""
    of_step = rows.unique(subset="step", keep="first", maintain_order=True)
    for column, (label, colour) in MEANS.items():
        y = style.values(of_step, column)
        if np.isfinite(y).any():
            ax.plot(of_step["step"].to_numpy(), y, color=style.COLOUR[colour], lw=0.9, label=label,
                    **style.lone(y))


def finish(ax: Axes, linear: float) -> bool:
    """Scale y by the lines that are there; say so if there are none. True if any."""
    lines = [np.asarray(line.get_ydata(), float) for line in ax.get_lines()]
    y = np.concatenate(lines) if lines else np.array([])
    y = y[np.isfinite(y)]
    if not len(y):
        style.undefined(ax)
        ax.set_yticks([])
        return False
    style.symlog(ax, y, linear)
    return True


def draw(tables: Tables) -> Figure:
    rows = tables.read("arrow", ["is_key", "rate_total", *MEANS, "z_nonkey"])
    marks = phases.of_run(tables)
    keys = rows.filter(pl.col("is_key"))["frequency"].unique().sort().to_list()
    hues, others = style.hues(keys), plain(keys, in_w_e(tables), order(tables, rows["frequency"].max()))
    steps = rows["step"].unique().sort().to_numpy()
    early = steps[steps <= max(EARLY, steps[:3].max())]
    typical = rows.filter(pl.col("frequency").is_in(others))["rate_total"].abs().median()
    linear = 10 ** np.ceil(np.log10(typical)) if typical else 1.0

    fig, axes = style.figure(3, 2, height=12.5)
    legend = ""
    for column, chosen in ((0, early), (1, steps)):
        part = rows.filter(pl.col("step").is_in(chosen.tolist()))
        top, middle, bottom = axes[:, column]
        rates(top, part, hues, others)
        of_keys(middle, part, "z_nonkey", hues)
        means(bottom, part)
        for ax, scale in ((top, linear), (middle, 10.0), (bottom, 10.0)):
            if finish(ax, scale if column else np.inf):
                ax.axhline(0, color="#888888", lw=0.4, zorder=1)
                if ax is not top:
                    ax.axhline(BAND, color="#888888", lw=0.5, ls=":", zorder=1)
            style.step_axis(ax, chosen, log=False, label=ax is bottom)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
        top.set_title("first updates" if column == 0 else "whole run", loc="left", pad=9)
        if column:
            legend = style.phase_marks([top, middle, bottom], marks)
    for ax, label in zip(axes[:, 0], ["rate_total (logits)", "z_nonkey", "z of the mean, all $k$"]):
        ax.set_ylabel(label)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=8, columnspacing=0.9,
               handlelength=1.0, handletextpad=0.4)
    handles, labels = axes[2, 0].get_legend_handles_labels()
    if handles:
        axes[2, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=0.9,
                          handlelength=1.0, handletextpad=0.4)
    note = f"dotted: z = {BAND:g}"
    style.caption(fig, tables.run, tables.seed("arrow"), steps,
                  " · ".join(part for part in (note, legend) if part))
    return fig
