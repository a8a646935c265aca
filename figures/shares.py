"""To which part of the logits the loss owes its fall: the key frequencies or the rest.

From above: Shapley's share of the key frequencies on either split; how much the two parts interfere,
v(KR) − v(K) − v(R) + v(empty); and the absolute changes of the loss from save to save that each part made,
added up, on the training and on the held-out pairs. Table `shares`; docs/claims.md.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import phases
import style
from tables import Tables

SPLITS = ["train", "test"]
# A loss without K is called excluded, one without the rest restricted: the same colours here.
PARTS = {"key": ("key frequencies", "restricted"), "rest": ("the rest", "excluded"),
         "mean": ("mean logits", "weights")}
SHOWN = (-0.5, 2.0)  # of a share, which has no bounds where a part makes the loss larger


def outside() -> str:
    """What `SHOWN` leaves out, for a caption."""
    return f"shares outside {SHOWN[0]:g} to {SHOWN[1]:g}".replace("-", "−")


def beyond(ax: Axes, y: np.ndarray) -> bool:
    """Limit a y axis to `SHOWN` or what lies in it; true if something is outside."""
    y = y[np.isfinite(y)]
    low, high = SHOWN
    inside = y[(y >= low) & (y <= high)]
    bottom, top = min(0.0, *inside, 0.0), max(1.0, *inside, 1.0)
    ax.set_ylim(bottom - 0.06, top + 0.06)
    return len(inside) < len(y)


def cumulated(delta: np.ndarray) -> np.ndarray:
    """Running sum of |delta|; a null adds nothing, and there is a gap."""
    total = np.nancumsum(np.abs(delta))
    return np.where(np.isfinite(delta), total, np.nan)


def draw(tables: Tables) -> Figure:
    names = ["share_key", "interaction", *(f"delta_{part}" for part in PARTS)]
    rows = tables.read("shares", [f"{name}_{split}" for name in names for split in SPLITS])
    step = rows["step"].to_numpy()
    fig, axes = style.figure(4, height=15.0, sharex=True)
    share, interaction, *changes = axes[:, 0]
    colours = [style.COLOUR[split] for split in SPLITS]

    curves = {split: style.values(rows, f"share_key_{split}") for split in SPLITS}
    if style.lines(share, step, curves, colours):
        share.legend(loc="best", labelspacing=0.2)
        for level, dashes in ((0.0, "-"), (0.5, ":"), (1.0, "-")):
            share.axhline(level, color="#888888", lw=0.4, ls=dashes, zorder=0)
    cut = beyond(share, np.concatenate(list(curves.values())))
    share.set_ylabel("share_key")

    curves = {split: style.values(rows, f"interaction_{split}") for split in SPLITS}
    style.lines(interaction, step, curves, colours)
    interaction.axhline(0, color="#888888", lw=0.4, zorder=0)
    interaction.set_ylabel("interaction (nats)")

    missed = 0
    for ax, split in zip(changes, SPLITS):
        deltas = {text: style.values(rows, f"delta_{part}_{split}") for part, (text, _) in PARTS.items()}
        missed = max(missed, *(int(np.isnan(delta[1:]).sum()) for delta in deltas.values()))
        curves = {text: cumulated(delta) for text, delta in deltas.items()}
        if style.lines(ax, step, curves, [style.COLOUR[colour] for _, colour in PARTS.values()]):
            ax.set_ylim(bottom=0)
            if split == "train":
                ax.legend(loc="best", labelspacing=0.2)
        ax.set_ylabel(f"cumulated |delta|,\n{split} (nats)")
    for ax in axes[:, 0]:
        style.step_axis(ax, step, log=True, label=ax is changes[-1])
    legend = style.phase_marks(axes[:, 0], phases.of_run(tables))
    notes = [legend]
    if cut:
        notes.append(f"{outside()} are cut")
    if missed:
        notes.append(f"{missed} saves without deltas")
    style.caption(fig, tables.run, tables.seed("shares"), step, " · ".join(filter(None, notes)))
    return fig
