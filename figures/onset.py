"""From when on the key frequencies are beyond the others, for every run, beside its phases.

A line for each run in each statistic. Black: onset of all keys together (their mean); grey ticks: onset of
single keys. Coloured marks: t_mem, t_peak, t_drop, t_gen. At the right edge a cross where the keys never stand
out (`status` is `not_reached`), and a grey question mark where that was not measured or cannot be. More than
`FEW` runs are in the order of t_gen, and without single keys. Tables `onset` and `progress`; docs/claims.md.
"""

import polars as pl
from matplotlib.figure import Figure

import many
import style
from tables import Tables

STATISTICS = {"logit_coefficient": "logit\ncoefficient", "w_e_norm": "norm in\n$W_E$",
              "w_l_norm": "norm in\n$W_L$", "neuron_share": "neuron\nshare",
              "rate_total": "total\nrate"}
FEW = 12  # runs of which single keys can be told apart
PHASES = {"t_mem": ("train", "s"), "t_peak": ("W_L", "D"), "t_drop": ("excluded", "v"),
          "t_gen": ("test", "^")}


def draw(tables: Tables) -> Figure:
    rows = tables.every("onset", ["step_onset", "status", *PHASES])
    steps = tables.every("progress", [])["step"]
    runs = sorted(rows["run"].unique().to_list(), key=many.natural)
    few = len(runs) <= FEW
    if not few:
        generalised = dict(rows.select("run", "t_gen").drop_nulls().rows())
        runs.sort(key=lambda run: generalised.get(run, float("inf")))
        rows = rows.filter(pl.col("target") == "keys")
    place = {run: i for i, run in enumerate(runs)}
    block = len(runs) + 1.2
    height = min(max(5.0, 2.6 + 0.26 * len(STATISTICS) * block), 21.0)
    size = min(3.2, 2.2 * (height - 2.6) / (0.26 * len(STATISTICS) * block) + 1)
    fig, ((ax,),) = style.figure(1, height=height)

    without = unmeasured = 0
    for number, statistic in enumerate(STATISTICS):
        part = rows.filter(pl.col("statistic") == statistic)
        for run, *times in part.select("run", *PHASES).unique(subset="run", maintain_order=True).rows():
            y = number * block + place[run]
            ax.axhline(y, color="#E4E4E4", lw=0.5 if few else 0.2, zorder=0)
            for time, (colour, marker) in zip(times, PHASES.values()):
                if time is not None:
                    ax.plot(time, y, marker, color=style.COLOUR[colour], ms=size * 0.85, mew=0, zorder=2)
        for run, target, step, status in part.select("run", "target", "step_onset", "status").rows():
            y = number * block + place[run]
            if step is not None and target == "keys":
                ax.plot(step, y, "o", color="black", ms=size, mew=0, zorder=4, clip_on=False)
            elif step is not None:
                ax.plot(step, y, "|", color="#777777", ms=size * 1.3, mew=0.7, zorder=3, clip_on=False)
            elif target == "keys" and status == "not_reached":
                without += 1
                ax.plot(1.025, y, "x", color="black", ms=size, mew=0.7, clip_on=False,
                        transform=ax.get_yaxis_transform())
            elif target == "keys":
                unmeasured += 1
                ax.plot(1.025, y, marker="$?$", color="#888888", ms=size * 1.4, mew=0, clip_on=False,
                        transform=ax.get_yaxis_transform())

    style.step_axis(ax, steps.to_numpy(), log=True)
    ax.set_ylim(len(STATISTICS) * block - 0.6, -1.0)  # the first run on top
    ax.set_yticks([number * block + (len(runs) - 1) / 2 for number in range(len(STATISTICS))],
                  STATISTICS.values(), linespacing=1.0)
    ax.tick_params(axis="y", length=0)
    for number in range(1, len(STATISTICS)):
        ax.axhline(number * block - 1.1, color="#888888", lw=0.4)
    ax.plot([], [], "o", color="black", ms=3, mew=0, label="all keys")
    if few:
        ax.plot([], [], "|", color="#777777", ms=4, mew=0.7, label="one key")
    for name, (colour, marker) in PHASES.items():
        ax.plot([], [], marker, color=style.COLOUR[colour], ms=3, mew=0,
                label=f"$t_{{\\mathrm{{{name[2:]}}}}}$")
    fig.legend(loc="outside upper center", ncols=6, handlelength=0.8, handletextpad=0.3,
               columnspacing=1.2)
    note = f"a line for each run, by {'name' if few else 't_gen'} from top to bottom"
    if without:
        note += f"; ×: no onset ({without})"
    if unmeasured:
        note += f"; ?: not measured, or undefined ({unmeasured})"
    many.caption(fig, sorted(runs, key=many.natural), steps.to_list(), note)
    return fig
