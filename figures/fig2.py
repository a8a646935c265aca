"""Train and test loss and accuracy of several runs that differ in their seed; one is highlighted.

Table `progress`, losses in nats over the p real classes; the highlighted run is the first by name, or
`--run`. Paper: Figure 2 (v1 and v3).
"""

from matplotlib.figure import Figure

import style
from many import natural
from tables import Tables


def draw(tables: Tables) -> Figure:
    columns = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    runs = sorted(tables.runs("progress"), key=natural)
    chosen = tables.run or runs[0]
    fig, ((top,), (bottom,)) = style.figure(2, height=9.0, sharex=True)
    every = {run: Tables(tables.folder, run).read("progress", columns) for run in runs}
    losses = []
    for run in [*(run for run in runs if run != chosen), chosen]:
        rows = every[run]
        step = rows["step"].to_numpy()
        width, alpha = (1.1, 1.0) if run == chosen else (0.5, 0.45)
        for name in ("train", "test"):
            look = {"color": style.COLOUR[name], "lw": width, "alpha": alpha,
                    "label": name if run == chosen else None}
            losses.append(style.values(rows, f"{name}_loss"))
            top.plot(step, losses[-1], **look)
            bottom.plot(step, 100 * style.values(rows, f"{name}_accuracy"), **look)
    style.log_axis(top, *losses)
    top.legend(loc="lower left")
    top.set_ylabel("loss (nats)")
    bottom.set_ylabel("accuracy (%)")
    bottom.set_ylim(-3, 103)
    longest = max((rows["step"].to_numpy() for rows in every.values()), key=len)
    style.step_axis(top, longest, log=True, label=False)
    style.step_axis(bottom, longest, log=True)
    others = f"thin: {len(runs) - 1} other runs" if len(runs) > 1 else ""
    tables.run = chosen
    style.caption(fig, chosen, tables.seed("progress"), longest, others)
    return fig
