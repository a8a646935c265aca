"""How well one frequency describes each neuron, and how many neurons each frequency has.

Table `neurons` at the last checkpoint: fve is the share of a neuron's variance over all inputs in the
terms of its frequency; a neuron is clear from 0.85 on. Paper: Figure 5 (v1 and v3), upper part.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import phases
import style
from tables import Tables

BINS = np.linspace(0, 1, 41)


def draw(tables: Tables) -> Figure:
    neurons = tables.read("neurons", ["frequency", "fve"])
    step = neurons["step"].max()
    neurons = neurons.filter(pl.col("step") == step)
    keys = phases.key_frequencies(tables.read("progress", ["key_frequencies"]))
    hues = style.hues(keys)
    fig, ((left, right),) = style.figure(1, 2, height=5.6, width_ratios=[1.3, 1])
    known = neurons.drop_nulls("fve")
    if known.is_empty():
        style.undefined(left)
        style.undefined(right)
    groups = [("others", known.filter(~pl.col("frequency").is_in(keys)), style.COLOUR["other"])]
    groups += [(f"$k$ = {k}", known.filter(pl.col("frequency") == k), hues[k]) for k in keys]
    shown = [group for group in groups if not group[1].is_empty()]
    if shown:
        left.hist([rows["fve"].to_numpy() for _, rows, _ in shown], BINS, stacked=True,
                  color=[colour for *_, colour in shown], label=[name for name, *_ in shown])
        left.legend(loc="upper left", labelspacing=0.25)
    left.axvline(phases.FVE, color="#888888", lw=0.5, ls=(0, (4, 2)))
    left.set_xlim(0, 1)
    left.set_xlabel("share of variance explained by one frequency")
    left.set_ylabel("neurons")

    counts = known.filter(pl.col("fve") >= phases.FVE).group_by("frequency").len().sort("frequency")
    frequency, count = counts["frequency"].to_numpy(), counts["len"].to_numpy()
    right.bar(np.arange(len(frequency)), count, 0.7,
              color=[hues.get(k, style.COLOUR["other"]) for k in frequency])
    right.set_xticks(np.arange(len(frequency)), [str(k) for k in frequency],
                     rotation=90 if len(frequency) > 8 else 0)
    right.set_xlabel("frequency $k$")
    right.set_title("clear neurons", loc="left")
    dead = len(neurons) - len(known)
    style.caption(fig, tables.run, tables.seed("neurons"), [step],
                  f"clear: at least {phases.FVE}, {count.sum()} of {len(neurons)} neurons · "
                  f"{dead} dead ones left out")
    return fig
