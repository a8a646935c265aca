"""What figures of several runs share: one panel a run, and the steps at which runs memorise and generalise.

Runs are ordered by the setting that they differ in, else by name, numbers by value.
"""

import re
from collections.abc import Callable

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import phases
import style
from tables import TableError, Tables, command, printable

COLUMNS = ["test_loss", "train_accuracy", "test_accuracy"]


def natural(name: str) -> list:
    """Sort key by which seed-2 comes before seed-10."""
    return [float(part) if part and part[0].isdigit() else part
            for part in re.split(r"(\d+(?:\.\d+)?)", name)]


def panels(tables: Tables, table: str, height: float,
           draw: Callable[[Axes, Tables], None]) -> tuple[Figure, np.ndarray, list[str]]:
    """A panel for each run, two beside each other; `draw` fills one. Returns the used axes."""
    runs = sorted(tables.runs(table), key=natural)
    rows = -(-len(runs) // 2)
    fig, axes = style.figure(rows, min(2, len(runs)), height=1.7 + height * rows, sharex=True)
    used = axes.flat[:len(runs)]
    for ax in axes.flat[len(runs):]:
        ax.set_axis_off()
    for ax in used[-2:]:
        ax.tick_params(labelbottom=True)  # the one above an empty place shares its axis with it
    for ax, run in zip(used, runs):
        draw(ax, Tables(tables.folder, run))
        ax.set_title(printable(run, 30), loc="left", parse_math=False)
    return fig, used, runs


def caption(fig: Figure, runs: list[str], steps, note: str = "") -> None:
    """The grey line of a figure about several runs."""
    style.caption(fig, f"{printable(runs[0], 16)} to {printable(runs[-1], 16)}, {len(runs)} runs",
                  None, steps, note)


def milestones(tables: Tables, setting: str) -> tuple[dict[float, list[phases.Phases]], np.ndarray]:
    """Phases of every run by the value of a setting, and all steps.

    The value is that of the run's configuration, in the metadata of table `progress`.
    """
    configs = tables.configs("progress")
    found: dict[float, list[phases.Phases]] = {}
    steps = []
    for run in sorted(tables.runs("progress"), key=natural):
        value = configs.get(run, {}).get(setting)
        if not isinstance(value, int | float):
            continue
        progress = Tables(tables.folder, run).read("progress", COLUMNS)
        found.setdefault(float(value), []).append(phases.find(progress))
        steps.append(progress["step"].to_numpy())
    if not found:
        raise TableError(f"table `progress`: no run says its `{setting}`, so there is nothing to "
                         f"order runs by; run `{command('progress')}`")
    return dict(sorted(found.items())), np.concatenate(steps)


def draw_milestones(tables: Tables, setting: str, label: str) -> Figure:
    """Steps to memorise, to the peak of the test loss and to generalise, over a setting."""
    found, steps = milestones(tables, setting)
    fig, ((ax,),) = style.figure(1, height=6.5)
    kinds = {"memorised": (style.COLOUR["train"], "memorised", "o"),
             "peak": (style.COLOUR["other"], "test loss peaks", "s"),
             "generalised": (style.COLOUR["test"], "generalised", "^")}
    for name, (colour, text, marker) in kinds.items():
        points = [(value, step) for value, runs in found.items() for run in runs
                  if (step := getattr(run, name)) is not None]
        if points:
            x, y = zip(*points)
            ax.plot(x, np.maximum(y, 1), marker, color=colour, ms=3.5, label=text, ls="none")
            middle = [(value, np.median([s for v, s in points if v == value]))
                      for value in sorted(set(x))]
            ax.plot(*zip(*middle), color=colour, lw=0.7)
    never = [value for value, runs in found.items()
             if any(run.generalised is None for run in runs)]
    style.log_axis(ax, np.array([10.0, float(max(steps.max(), 100))]))
    ax.set_xlabel(label)
    ax.set_ylabel("step")
    ax.legend(loc="best", labelspacing=0.25)
    ax.margins(x=0.05)
    note = "never above 99 % test accuracy: " + ", ".join(f"{v:g}" for v in never) if never else \
        "every run generalises"
    count = sum(len(runs) for runs in found.values())
    style.caption(fig, f"{count} runs over {setting}", None, steps, note)
    return fig


def bars(ax: Axes, tables: Tables, name: str) -> None:
    """Fourier norms of one object at the last checkpoint of a run, key frequencies in colour."""
    rows = tables.read("fourier", ["norm"])
    rows = rows.filter((pl.col("object") == name) & (pl.col("step") == rows["step"].max()))
    keys = phases.key_frequencies(tables.read("progress", ["key_frequencies"]))
    hues = style.hues(keys)
    if rows.is_empty():
        style.undefined(ax)
        return
    k = rows["frequency"].to_numpy()
    ax.bar(k, style.values(rows, "norm"), 0.8,
           color=[hues.get(frequency, style.COLOUR["other"]) for frequency in k])
    ax.margins(x=0.01)


def curve(ax: Axes, tables: Tables, column: str, colour: str) -> None:
    """One loss over training beside those of train and test."""
    progress = tables.read("progress", [*COLUMNS, "train_loss", column])
    step = progress["step"].to_numpy()
    curves = {"train": style.values(progress, "train_loss"),
              "test": style.values(progress, "test_loss"),
              colour: style.values(progress, column)}
    style.log_axis(ax, *curves.values())
    style.lines(ax, step, curves, [style.COLOUR[name] for name in curves])
    style.step_axis(ax, step, log=False, label=False)
    ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    style.phase_marks([ax], phases.find(progress), named=False)


def draw_bars(tables: Tables, name: str) -> Figure:
    """Fourier norms of one object, a panel for each run."""
    fig, axes, runs = panels(tables, "fourier", 2.8, lambda ax, one: bars(ax, one, name))
    for ax in axes[-2:]:
        ax.set_xlabel("frequency $k$")
    for ax in axes[::2]:
        ax.set_ylabel("norm")
    steps = tables.every("fourier", [])["step"]
    caption(fig, runs, [steps.max()], "key frequencies in colour; at the last checkpoint")
    return fig


def draw_curves(tables: Tables, column: str, colour: str) -> Figure:
    """One loss over training, a panel for each run."""
    fig, axes, runs = panels(tables, "progress", 3.2,
                             lambda ax, one: curve(ax, one, column, colour))
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside upper center", ncols=3)
    for ax in axes[-2:]:
        ax.set_xlabel("training step")
    for ax in axes[::2]:
        ax.set_ylabel("loss (nats)")
    steps = tables.every("progress", [])["step"]
    caption(fig, runs, steps.to_list(), "shaded: memorisation and cleanup, as in fig7")
    return fig
