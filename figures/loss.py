"""Loss and accuracy of train and test over training, on a logarithmic step axis.

Table `progress`: cross-entropy in nats over the p real classes; phases as in fig7.
"""

from matplotlib.figure import Figure

import phases
import style
from tables import Tables


def draw(tables: Tables) -> Figure:
    curves = {"train": "train_{}", "test": "test_{}"}
    columns = [c.format(what) for what in ("loss", "accuracy") for c in curves.values()]
    progress = tables.read("progress", columns)
    step = progress["step"].to_numpy()
    fig, axes = style.figure(2, height=9.0, sharex=True)
    (top,), (bottom,) = axes
    colours = [style.COLOUR[name] for name in curves]

    losses = {name: style.values(progress, c.format("loss")) for name, c in curves.items()}
    style.log_axis(top, *losses.values())
    if style.lines(top, step, losses, colours):
        top.legend(loc="lower left")
    top.set_ylabel("loss (nats)")

    accuracies = {name: style.values(progress, c.format("accuracy")) for name, c in curves.items()}
    style.lines(bottom, step, {k: 100 * v for k, v in accuracies.items()}, colours)
    bottom.set_ylabel("accuracy (%)")
    bottom.set_ylim(-3, 103)

    style.step_axis(top, step, log=True, label=False)
    style.step_axis(bottom, step, log=True)
    legend = style.phase_marks([top, bottom], phases.find(progress))
    style.caption(fig, tables.run, tables.seed("progress"), step, legend)
    return fig
