"""Progress measures over training, with the three phases.

(a) train, test and excluded loss, (b) restricted loss, (c) Gini of the Fourier norms of W_E and
W_L (an MLP has no W_E), (d) sum of squared weights. Paper: Figure 7 (v1 and v3); its excluded loss is over the train
split, its restricted loss over all inputs. Table `progress`; losses in nats over p classes.
"""

from matplotlib.figure import Figure

import phases
import style
from tables import Tables

# Panel: title, unit, logarithmic, {label: (column, colour)}.
PANELS = [
    ("train, test and excluded loss", "nats", True, {
        "train": ("train_loss", "train"),
        "test": ("test_loss", "test"),
        "excluded (train)": ("excluded_loss_train", "excluded"),
    }),
    ("restricted loss", "nats", True, {"all inputs": ("restricted_loss_all", "restricted")}),
    ("Gini coefficient of Fourier norms", "0 to 1", False, {
        "$W_E$": ("gini_w_e", "W_E"),
        "$W_L$": ("gini_w_l", "W_L"),
    }),
    ("sum of squared weights", "weight²", False, {"": ("sum_sq_weights", "weights")}),
]


def draw(tables: Tables) -> Figure:
    columns = [column for *_, curves in PANELS for column, _ in curves.values()]
    progress = tables.read("progress", [*columns, "train_accuracy", "test_accuracy"])
    step = progress["step"].to_numpy()
    fig, axes = style.figure(4, height=16.0, sharex=True, height_ratios=[1.35, 1, 1, 1])
    axes = axes[:, 0]
    for ax, letter, (title, unit, logarithmic, named) in zip(axes, "abcd", PANELS):
        curves = {label: style.values(progress, column) for label, (column, _) in named.items()}
        if logarithmic:
            style.log_axis(ax, *curves.values())
        drawn = style.lines(ax, step, curves, [style.COLOUR[c] for _, c in named.values()])
        if drawn and len(curves) > 1:
            ax.legend(loc="best", labelspacing=0.25)
        ax.set_title(f"({letter}) {title}", loc="left", pad=11 if letter == "a" else 3)
        ax.set_ylabel(unit)
        if not logarithmic:
            ax.set_ylim(bottom=0)
        style.step_axis(ax, step, log=False, label=letter == "d")
    legend = style.phase_marks(axes, phases.find(progress))
    fig.align_ylabels()
    style.caption(fig, tables.run, tables.seed("progress"), step, legend)
    return fig
