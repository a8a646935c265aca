"""One look for every figure: size, colours, step axes, phases, caption, reproducible files.

Conventions:
- One journal column wide, 8.5 cm; text 6 to 8 pt, so nothing needs scaling in print.
- A quantity has the same colour in every figure (`COLOUR`, the Okabe-Ito palette: safe for
  colour-blind readers). Key frequencies have one hue each, in ascending order (`hues`).
- Our own labels may use mathtext; names that come from data are drawn literally (`caption`).
- The same tables give the same bytes: no clock time, no version, fixed metadata (`render`).
"""

import io
import os
from collections.abc import Sequence

os.environ.setdefault("SOURCE_DATE_EPOCH", "0")

import matplotlib  # noqa: E402

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator  # noqa: E402

from phases import Phases  # noqa: E402
from tables import printable  # noqa: E402

CM = 1 / 2.54  # inches
WIDTH = 8.5 * CM

COLOUR = {
    "train": "#0072B2",
    "test": "#D55E00",
    "excluded": "#009E73",
    "restricted": "#CC79A7",
    "W_E": "#000000",
    "W_L": "#E69F00",
    "weights": "#555555",
    "cosine": "#333333",
    "sine": "#56B4E9",
    "other": "#B8B8B8",
    "null": "#D55E00",
    "mirror": "#0072B2",
    "labels": "#E69F00",
}
# Paul Tol's "muted", ordered so that neighbours differ in lightness too.
HUES = ["#332288", "#CC6677", "#117733", "#DDAA33", "#882255", "#44AA99", "#88CCEE", "#999933"]

plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
        "font.size": 7,
        "axes.titlesize": 7,
        "axes.labelsize": 7,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "legend.fontsize": 6.5,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "legend.borderaxespad": 0.2,
        "lines.linewidth": 1.0,
        "pdf.fonttype": 42,  # text stays text in the PDF
        "savefig.dpi": 300,
    }
)


def figure(rows: int, columns: int = 1, *, height: float, **options) -> tuple[Figure, np.ndarray]:
    """A column-wide figure, `height` in cm, and its axes as an array [rows, columns].

    The lowest 0.75 cm are kept for the caption line.
    """
    fig, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height * CM), squeeze=False, layout="constrained", **options
    )
    foot = 0.75 / height
    fig.get_layout_engine().set(rect=(0, foot, 1, 1 - foot), w_pad=0.02, h_pad=0.03)
    return fig, axes


def thousands(step: float) -> str:
    """12345 as '12 345' (thin space)."""
    return f"{step:,.0f}".replace(",", "\u2009")


def caption(fig: Figure, run: str, seed: int | None, steps: Sequence[int], note: str = "") -> None:
    """The grey line at the foot: run, seed, checkpoint or range of checkpoints, and `note`."""
    first, last = min(steps), max(steps)
    where = f"step {thousands(last)}"
    if first != last:
        where = f"steps {thousands(first)}–{thousands(last)}, {len(set(steps))} checkpoints"
    parts = [f"run {printable(run)}", *([f"seed {seed}"] if seed is not None else []), where]
    height = fig.get_figheight() / CM
    # A run may be called `$x`: never read it as mathtext.
    options = {"fontsize": 5.5, "color": "#555555", "parse_math": False}
    fig.text(0.012, 0.40 / height, " · ".join(parts), **options)
    fig.text(0.012, 0.13 / height, note, **options)


def step_axis(
    ax: Axes, steps: np.ndarray, *, log: bool, label: bool = True, sparse: bool = False
) -> None:
    """Scale the x axis for training steps; `sparse` labels every other decade (small panels).

    With `log`, decades above step 1 and a short linear piece from 0 to 1 (symlog), so that the
    initialisation, step 0, is shown where it belongs; the label says so.
    """
    last = max(int(np.max(steps)), 1)
    if log:
        ax.set_xscale("symlog", linthresh=1, linscale=0.35)
        decades = [10**e for e in range(int(np.log10(last)) + 1)]
        if sparse:
            ax.xaxis.set_major_locator(FixedLocator(decades[::2]))
            ax.xaxis.set_minor_locator(FixedLocator([0, *decades[1::2]]))
        else:
            ax.xaxis.set_major_locator(FixedLocator([0, *decades]))
            minor = [m * d for d in decades for m in range(2, 10) if m * d <= last]
            ax.xaxis.set_minor_locator(FixedLocator(minor))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
        ax.set_xlim(0, last * 1.05)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
        ax.set_xlim(0, last)
    if label:
        ax.set_xlabel("training step (log; linear from 0 to 1)" if log else "training step")


def values(rows: pl.DataFrame, column: str) -> np.ndarray:
    """A column as f64; null becomes NaN, which matplotlib draws as a gap."""
    return rows[column].cast(pl.Float64).to_numpy()


def log_axis(ax: Axes, *columns: np.ndarray) -> None:
    """Log y axis over the positive `columns`, at most seven labels; null or zero is a gap."""
    ax.set_yscale("log", nonpositive="mask")
    ax.yaxis.set_major_locator(LogLocator(numticks=7))
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5), numticks=14))
    positive = np.concatenate([c[np.isfinite(c) & (c > 0)] for c in columns])
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 10.0)
    ax.set_ylim(low / 1.6, high * 1.6)
    # Within a decade or two the powers of ten alone leave an axis without labels.
    plain = FuncFormatter(lambda y, _: f"{y:g}" if high / low < 30 else "")
    ax.yaxis.set_minor_formatter(plain)
    if high / low < 30:
        ax.yaxis.set_major_formatter(plain)


def lone(y: np.ndarray) -> dict:
    """Options of `plot` that give a marker to points between nulls, which no line goes to."""
    defined = np.pad(np.isfinite(y), 1)
    alone = defined[1:-1] & ~defined[:-2] & ~defined[2:]
    at = np.flatnonzero(alone).tolist()
    return {"marker": "o", "ms": 2, "mew": 0, "markevery": at} if at else {}


def lines(ax: Axes, x: np.ndarray, curves: dict[str, np.ndarray], colours: Sequence[str]) -> bool:
    """Draw `{label: y}` over x; a panel without any defined value says so. True if any drawn."""
    drawn = False
    for (label, y), colour in zip(curves.items(), colours, strict=True):
        defined = np.isfinite(y)
        if defined.any():
            ax.plot(x, y, color=colour, label=label, **lone(y))
            drawn = True
    if not drawn:
        undefined(ax)
    return drawn


class SymlogTicks(FixedLocator):
    """Powers of ten on both sides of zero, every third, and zero: for axes that span decades."""

    def __init__(self, lowest: int = -3, highest: int = 6):
        powers = [10.0**e for e in range(lowest, highest + 1, 3)]
        super().__init__([*(-p for p in reversed(powers)), 0.0, *powers])


def symlog(ax: Axes, y: np.ndarray, linear: float) -> None:
    """Symlog y axis where the finite `y` go beyond ten times `linear`, its linear part around zero."""
    highest = np.max(np.abs(y), initial=0.0)
    if highest <= 10 * linear:
        ax.yaxis.set_major_locator(MaxNLocator(4))
        return
    ax.set_yscale("symlog", linthresh=linear, linscale=0.5)
    low, high = min(y.min(), -linear / 2), max(y.max(), linear / 2)
    ax.set_ylim(1.8 * low, 1.8 * high)
    first, last = round(np.log10(linear)), int(np.log10(highest))
    # Over many decades the first power is too close to zero for a label.
    lowest = first if last - first <= 1 else first + 1
    powers = [10.0**e for e in range(lowest, last + 1, 1 if last - first <= 3 else 2)]
    ax.yaxis.set_major_locator(FixedLocator([*(-p for p in reversed(powers)), 0.0, *powers]))
    ax.yaxis.set_minor_locator(FixedLocator([]))


def undefined(ax: Axes) -> None:
    """Say that a panel has nothing to show because every value is null."""
    ax.text(0.5, 0.5, "not defined for this run", transform=ax.transAxes, ha="center", va="center",
            color="#777777", fontsize=6.5)


def phase_marks(axes: Sequence[Axes], phases: Phases, *, named: bool = True) -> str:
    """Mark the phases on `axes` (top one first) and return their legend for the caption.

    Phases I and III are shaded, all boundaries are thin lines; where they are `named`, the numerals
    stand above the top panel, because a word does not fit into a phase that lasts a tenth of the run.
    """
    spans = phases.spans()
    for ax in axes:
        low, high = ax.get_xlim()
        for index, (_, start, end) in enumerate(spans):
            if index % 2 == 0:
                ax.axvspan(start, end, color="#F0F0F0", lw=0, zorder=-2)
            if low < end < high:
                ax.axvline(end, color="#888888", lw=0.5, ls=(0, (4, 2)), zorder=-1)
        ax.set_xlim(low, high)
    numerals = ["I", "II", "III"]
    top = axes[0]
    for numeral, (_, start, end) in zip(numerals, spans if named else []):
        low, high = top.get_xlim()
        # Centre in display space: the axis may be logarithmic.
        ends = top.transData.transform([(max(start, low), 1), (min(end, high), 1)])[:, 0]
        x = top.transAxes.inverted().transform((ends.mean(), 0))[0]
        top.text(x, 1.01, numeral, transform=top.transAxes, ha="center", va="bottom", fontsize=6.5,
                 color="#555555")
    return " · ".join(f"{n} {name}" for n, (name, _, _) in zip(numerals, spans))


def hues(keys: Sequence[int]) -> dict[int, str]:
    """One hue per key frequency, by rank, so a frequency keeps its colour across figures."""
    return {k: HUES[i % len(HUES)] for i, k in enumerate(sorted(keys))}


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions for labels at `values`: same order, at least `gap` apart, moved little.

    Labels closer than `gap` merge into a block centred on its mean; blocks that then touch merge
    again.
    """
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # [centre, count]
    for i in order:
        blocks.append([float(values[i]), 1])
        while len(blocks) > 1:
            (c0, n0), (c1, n1) = blocks[-2:]
            if c1 - c0 >= gap * (n0 + n1) / 2:
                break
            blocks[-2:] = [[(c0 * n0 + c1 * n1) / (n0 + n1), n0 + n1]]
    placed = [c + gap * (j - (n - 1) / 2) for c, n in blocks for j in range(n)]
    result = [0.0] * len(values)
    for position, i in zip(placed, order):
        result[i] = position
    return result


def render(fig: Figure) -> dict[str, bytes]:
    """The figure as {'pdf': bytes, 'png': bytes}, free of time and version; closes it."""
    metadata = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": "groundswell"},
        "png": {"Software": None},
    }
    files = {}
    for kind, fixed in metadata.items():
        buffer = io.BytesIO()
        fig.savefig(buffer, format=kind, metadata=fixed)
        files[kind] = buffer.getvalue()
    plt.close(fig)
    return files
