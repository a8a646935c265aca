"""Of which part of the logits the loss wants more, and how fast the key frequencies grow meanwhile.

Left on the training, right on the held-out pairs. Top: angle of (alpha*, beta*), the smallest
CE(mean + alpha L_K + beta L_R); 45 degrees is the switch. Middle: alpha* and beta* themselves; null where the
loss has no minimum. Bottom: d ln c_K/dt from save to save, c_K the mean logit coefficient of the keys,
over the key frequencies' share at the later save. Tables `shares`, `frequencies`; docs/claims.md.
"""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

import phases
import shares
import style
from tables import Tables

PARTS = {"alpha": (r"$\alpha$* of the keys", "restricted"), "beta": (r"$\beta$* of the rest", "excluded")}
# Colour and marker of the intervals that end in each phase, and after all of them.
WHEN = [("#332288", "o"), ("#CC6677", "^"), ("#DDAA33", "s"), ("#999999", "x")]


def growth(frequencies: pl.DataFrame) -> pl.DataFrame:
    """[step, rate]: ln(c_K(t)/c_K(s))/(t − s), s the save before t; null unless both are positive."""
    known = pl.col("logit_coefficient").null_count() == 0
    mean = frequencies.filter(pl.col("is_key")).group_by("step").agg(
        c=pl.when(known).then(pl.col("logit_coefficient").mean())).sort("step")
    before, c = pl.col("c").shift(1), pl.col("c")
    rate = (c / before).log() / (pl.col("step") - pl.col("step").shift(1))
    return mean.select("step", rate=pl.when((c > 0) & (before > 0)).then(rate))


def scatter(ax: Axes, share: np.ndarray, rate: np.ndarray, step: np.ndarray, found: phases.Phases) -> bool:
    """Growth over share, by the phase in which the interval ends. True if any point is cut off."""
    spans = found.spans()
    names = [*(name for name, _, _ in spans), "later" if spans else "all saves"]
    ends = np.array([end for _, _, end in spans])
    group = np.searchsorted(ends, step, side="left") if len(ends) else np.zeros(len(step), int)
    low, high = shares.SHOWN
    defined = np.isfinite(share) & np.isfinite(rate)
    inside = defined & (share >= low) & (share <= high)
    for number, name in enumerate(names):
        colour, marker = WHEN[number] if spans else WHEN[0]
        here = inside & (group == number)
        if here.any():
            ax.plot(share[here], rate[here], marker, color=colour, ms=2.2, mew=0.5 if marker == "x" else 0,
                    alpha=0.8, label=name, ls="none")
    if not inside.any():
        style.undefined(ax)
    ax.set_xlim(min(-0.05, *share[inside], 0) - 0.02, max(1.05, *share[inside], 0) + 0.02)
    return bool((defined & ~inside).any())


def draw(tables: Tables) -> Figure:
    columns = ["share_key", "switch_angle", *PARTS]
    rows = tables.read("shares", [f"{name}_{split}" for name in columns for split in shares.SPLITS])
    frequencies = tables.read("frequencies", ["is_key", "logit_coefficient"])
    found = phases.of_run(tables)
    rows = rows.join(growth(frequencies), on="step", how="left").sort("step")
    step, rate = rows["step"].to_numpy(), style.values(rows, "rate")
    fig, axes = style.figure(3, 2, height=12.5, sharey="row")
    cut = False
    for column, split in enumerate(shares.SPLITS):
        angle, weights, speed = axes[:, column]
        style.lines(angle, step, {split: style.values(rows, f"switch_angle_{split}")},
                    [style.COLOUR[split]])
        curves = {text: style.values(rows, f"{name}_{split}") for name, (text, _) in PARTS.items()}
        style.lines(weights, step, curves, [style.COLOUR[colour] for _, colour in PARTS.values()])
        cut |= scatter(speed, style.values(rows, f"share_key_{split}"), rate, step, found)
        angle.set_title("training pairs" if split == "train" else "held-out pairs", loc="left", pad=9)
        for ax in (angle, weights):
            style.step_axis(ax, step, log=True, label=False, sparse=True)
        weights.set_xlabel("training step (log)")
        speed.set_xlabel(f"share_key_{split}")
        speed.xaxis.set_major_locator(MaxNLocator(4))
        legend = style.phase_marks([angle, weights], found)

    angles = [a for s in shares.SPLITS if (a := rows[f"switch_angle_{s}"].drop_nulls()).len()]
    low, high = (min(a.min() for a in angles), max(a.max() for a in angles)) if angles else (0, 90)
    for ax in axes[0]:
        ax.set_ylim(min(low, 0) - 5, max(high, 90) + 5)
        ax.yaxis.set_major_locator(FixedLocator(range(-180, 181, 45)))
        if angles:
            ax.axhline(45, color="#888888", lw=0.5, ls=":", zorder=0)
    for ax in axes[1:].flat:
        ax.axhline(0, color="#888888", lw=0.4, zorder=0)
    every = [style.values(rows, f"{name}_{split}") for name in PARTS for split in shares.SPLITS]
    y = np.concatenate(every)
    style.symlog(axes[1, 0], y[np.isfinite(y)], 1.0)
    speeds = np.abs(rate[np.isfinite(rate)])
    typical = np.quantile(speeds[speeds > 0], 0.2) if (speeds > 0).any() else 1.0
    style.symlog(axes[2, 0], rate[np.isfinite(rate)], 10.0 ** np.floor(np.log10(typical)))
    for ax, label in zip(axes[:, 0], ["switch angle (degrees)", r"$\alpha$*, $\beta$* (where finite)",
                                      r"$\mathrm{d}\,\ln c_K/\mathrm{d}t$ (per step)"]):
        ax.set_ylabel(label)
    for row in axes[1:]:
        ax = max(row, key=lambda ax: len(ax.get_legend_handles_labels()[0]))  # the first of equals
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="best", labelspacing=0.2, fontsize=5.5, handletextpad=0.3)
    notes = [legend, f"{shares.outside()} left out" if cut else ""]
    style.caption(fig, tables.run, tables.seed("shares"), step, " · ".join(filter(None, notes)))
    return fig
