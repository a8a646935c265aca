"""Accuracy of the restricted logits on the held-out pairs over training.

Table `progress`: the mean logits and the key frequencies of the final checkpoint alone, against the
accuracy of all of them. Paper: Figure 10 of v1, 13 of v3.
"""

from matplotlib.figure import Figure

import phases
import style
from tables import Tables

CURVES = {
    "train": ("train_accuracy", "train"),
    "test": ("test_accuracy", "test"),
    "restricted (test)": ("restricted_accuracy_test", "restricted"),
}


def draw(tables: Tables) -> Figure:
    progress = tables.read("progress", ["test_loss", *(column for column, _ in CURVES.values())])
    step = progress["step"].to_numpy()
    fig, ((ax,),) = style.figure(1, height=6.0)
    curves = {label: style.values(progress, column) for label, (column, _) in CURVES.items()}
    if style.lines(ax, step, curves, [style.COLOUR[colour] for _, colour in CURVES.values()]):
        ax.legend(loc="lower right", labelspacing=0.25)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("accuracy")
    style.step_axis(ax, step, log=False)
    legend = style.phase_marks([ax], phases.find(progress))
    style.caption(fig, tables.run, tables.seed("progress"), step, legend)
    return fig
