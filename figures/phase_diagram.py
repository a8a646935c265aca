"""Width × share of the pairs: what is learnt, when, and whether the claims hold there.

A cell for each `d_model` and `train_fraction`, over all runs with these. Left and right above: median step
at which they memorise and generalise. Middle left: train accuracy of the same network on permuted labels, by
which it is over-parameterised, under-parameterised or at the edge. The others: the verdict of more than half
of a cell's runs on C3a, C4b and C7, else `?`; `±` where some support and some refute. Tables `claims` and
`onset`; docs/claims.md.
"""

import tomllib
from collections import Counter

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import many
import style
from tables import TableError, Tables, command

CLAIMS = {"C3a": "C3a: circuits from the start", "C4b": "C4b: arrow to the final keys",
          "C7": "C7: change is memorisation"}
# A letter for each, because colours alone are not for everybody.
VERDICTS = {"supports": ("S", "#56B4E9"), "refutes": ("R", "#E69F00"), "undecided": ("?", "#E8E8E8"),
            "differ": ("±", "#CC79A7")}
SIZES = {"over": "#44AA99", "edge": "#DDCC77", "under": "#882255"}
# What runs of one diagram may differ in: their place, chance, and what was kept of them.
OTHER = {"d_model", "heads", "d_mlp", "train_fraction", "split", "seed", "permute_labels",
         "save_at", "save_optimizer"}
Cell = tuple[int, float]


def thousand(step: float) -> str:
    """A step in three characters or so: 850, 1.2k, 14k."""
    if step < 1_000:
        return f"{step:.0f}"
    return f"{step / 1_000:.1f}k" if step < 9_950 else f"{step / 1_000:.0f}k"


def cells(tables: Tables, judged: set[str]) -> tuple[dict[Cell, list[str]], int]:
    """Runs by (d_model, train_fraction), of those that share all else, and how many others there are."""
    families: dict[tuple, dict[Cell, list[str]]] = {}
    for run, config in sorted(tables.configs("claims").items()):
        place = config.get("d_model"), config.get("train_fraction")
        if run in judged and all(isinstance(value, int | float) for value in place):
            family = tuple(sorted((name, str(value)) for name, value in config.items() if name not in OTHER))
            families.setdefault(family, {}).setdefault(place, []).append(run)
    if not families:
        raise TableError("table `claims`: no run says its `d_model` and `train_fraction`, so there is "
                         f"no place for it; run `{command('claims')}`")

    def size(family: tuple) -> int:
        return sum(map(len, families[family].values()))

    largest = max(sorted(families), key=size)
    return families[largest], sum(map(size, families)) - size(largest)


class Grid:
    """Axes with a square for each width and fraction."""

    def __init__(self, found: dict[Cell, list[str]]):
        self.found = found
        self.widths = sorted({width for width, _ in found})
        self.fractions = sorted({fraction for _, fraction in found})

    def paint(self, ax: Axes, title: str, cell: dict[Cell, tuple[str, object]]) -> None:
        """Fill cells with (text, colour); one without a run stays white."""
        small = len(self.widths) > 8 or len(self.fractions) > 8
        for (width, fraction), (text, colour) in cell.items():
            x, y = self.widths.index(width), self.fractions.index(fraction)
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", lw=0.6))
            red, green, blue = style.matplotlib.colors.to_rgb(colour)
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            ax.text(x, y, text, ha="center", va="center", fontsize=4 if small else 5.5,
                    color="white" if dark else "black")
        ax.set_title(title, loc="left", fontsize=6.5)
        ax.set_xlim(-0.5, len(self.widths) - 0.5)
        ax.set_ylim(-0.5, len(self.fractions) - 0.5)
        ax.set_xticks(range(len(self.widths)), [f"{width:g}" for width in self.widths])
        ax.set_yticks(range(len(self.fractions)), [f"{part:g}" for part in self.fractions])
        ax.tick_params(length=0, labelsize=6)
        for spine in ax.spines.values():
            spine.set_visible(False)


def steps_of(grid: Grid, times: dict[str, int | None], norm: LogNorm) -> dict[Cell, tuple[str, object]]:
    """Median step of the runs that get there, dark if late; a dash where more than half never do."""
    painted = {}
    for cell, runs in grid.found.items():
        values = [np.inf if (t := times.get(run)) is None else t for run in runs]
        # With an even number the later of the two: a mean with "never" is no step.
        middle = sorted(values)[len(values) // 2]
        never = not np.isfinite(middle)
        painted[cell] = ("–", "#FFFFFF") if never else (
            thousand(middle), style.plt.get_cmap("cividis_r")(norm(max(middle, 1))))
    return painted


def sizes_of(grid: Grid, accuracies: dict[str, float | None], over: float | None,
             under: float | None) -> dict[Cell, tuple[str, str]]:
    """Lowest train accuracy on permuted labels in percent, coloured by the rules of C10."""
    painted = {}
    for cell, runs in grid.found.items():
        known = [a for run in runs if (a := accuracies.get(run)) is not None]
        if not known or over is None or under is None:
            painted[cell] = (f"{100 * min(known):.0f}" if known else "?", VERDICTS["undecided"][1])
            continue
        accuracy = min(known)
        kind = "over" if accuracy >= over else "under" if accuracy < under else "edge"
        painted[cell] = (f"{np.floor(100 * accuracy):.0f}", SIZES[kind])
    return painted


def verdicts_of(grid: Grid, verdicts: dict[str, str]) -> dict[Cell, tuple[str, str]]:
    """The verdict of more than half of the runs of a cell, if there is one; or that some support and some
    refute."""
    painted = {}
    for cell, runs in grid.found.items():
        counts = Counter(verdicts.get(run, "undecided") for run in runs)
        most, count = counts.most_common(1)[0]
        if counts["supports"] and counts["refutes"]:
            verdict = "differ"
        else:
            verdict = most if 2 * count > len(runs) else "undecided"
        painted[cell] = VERDICTS.get(verdict, VERDICTS["undecided"])
    return painted


def bounds(tables: Tables) -> tuple[float | None, float | None]:
    """Train accuracies on permuted labels from which a network is over-, below which it is under-
    parameterised: of the rules in the metadata of table `claims`."""
    try:
        rules = tomllib.loads(tables.about("claims", "rules") or "")["c10"]
        return float(rules["over"]), float(rules["under"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
        return None, None


def draw(tables: Tables) -> Figure:
    rows = tables.every("claims", ["value", "verdict"])
    rows = rows.filter((pl.col("statistic") == "verdict") & (pl.col("null_id") == "none")
                       & (pl.col("run") != "all"))
    times = tables.every("onset", ["t_mem", "t_gen"]).unique(subset="run", maintain_order=True)
    found, left_out = cells(tables, set(rows["run"].to_list()))
    grid = Grid(found)
    height = min(max(3 * (1.4 + 0.48 * len(grid.fractions)) + 1.9, 9.0), 20.0)
    fig, axes = style.figure(3, 2, height=height)

    at = {name: dict(times.select("run", name).rows()) for name in ("t_mem", "t_gen")}
    used = [run for runs in found.values() for run in runs]
    reached = [step for each in at.values() for run in used if (step := each.get(run)) is not None]
    norm = LogNorm(max(min(reached, default=1), 1), max(max(reached, default=10), 2))
    grid.paint(axes[0, 0], "memorised: step", steps_of(grid, at["t_mem"], norm))
    grid.paint(axes[0, 1], "generalised: step", steps_of(grid, at["t_gen"], norm))
    capacity = dict(rows.filter(pl.col("claim") == "C10").select("run", "value").rows())
    over, under = bounds(tables)
    grid.paint(axes[1, 0], "permuted labels learnt (%)",
               sizes_of(grid, capacity, over, under))
    for ax, (claim, title) in zip([axes[1, 1], axes[2, 0], axes[2, 1]], CLAIMS.items()):
        verdicts = dict(rows.filter(pl.col("claim") == claim).select("run", "verdict").rows())
        grid.paint(ax, title, verdicts_of(grid, verdicts))
    for ax in axes[:, 0]:
        ax.set_ylabel("share of pairs")
    for ax in axes[2]:
        ax.set_xlabel("d_model")
    # A legend fills columns: sizes in its first row, verdicts in the second.
    sizes = [("over-param.", SIZES["over"]), ("edge", SIZES["edge"]), ("under-param.", SIZES["under"]),
             ("", "none")]
    kinds = [(f"{letter}  {name}", colour) for name, (letter, colour) in VERDICTS.items()]
    entries = [entry for pair in zip(sizes, kinds) for entry in pair]
    fig.legend([Rectangle((0, 0), 1, 1, facecolor=colour) for _, colour in entries],
               [name for name, _ in entries], loc="outside upper center", ncols=4, handlelength=0.9,
               handletextpad=0.5, columnspacing=1.2)
    steps = tables.every("progress", []).filter(pl.col("run").is_in(used))["step"]
    note = "steps: median over the runs of a cell; –: not reached"
    if left_out:
        note += f" · runs of other settings left out: {left_out}"
    many.caption(fig, sorted(used, key=many.natural), steps.to_list() or [0], note)
    return fig
