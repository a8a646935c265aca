"""Fourier norms, cosine and sine, of W_E and W_L at the last checkpoint; of an MLP, which has no
embedding, of the columns of W_in for a in place of W_E.

Paper: Figure 3 (v1 and v3). Table `fourier`: L2 norm of each row of F W over the other axis;
frequency 0 is the constant.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import phases
import style
from tables import TableError, Tables, command

INPUTS = {"W_E": "$W_E$ (embedding)",
          "W_in.a": r"$W_{\mathrm{in}}$, columns of $a$ (inputs to neurons)"}
OUTPUTS = {"W_L": "$W_L$ (neurons to logits)"}


def draw(tables: Tables) -> Figure:
    rows = tables.read("fourier", ["cos_norm", "sin_norm"])
    keys = phases.key_frequencies(tables.read("progress", ["key_frequencies"]))
    step = rows["step"].max()
    rows = rows.filter(pl.col("step") == step)
    present = rows["object"].unique()
    first = next((name for name in INPUTS if name in present), "W_E")
    fig, axes = style.figure(2, height=8.5, sharex=True)
    for ax, (name, title) in zip(axes[:, 0], [(first, INPUTS[first]), *OUTPUTS.items()]):
        part = rows.filter(pl.col("object") == name)
        if part.is_empty():
            raise TableError(
                f"table `fourier`, column `object`: no `{name}` at step {step}; "
                f"run `{command('fourier')}`"
            )
        k = part["frequency"].to_numpy()
        cosine, sine = (style.values(part, c) for c in ("cos_norm", "sin_norm"))
        ax.bar(k - 0.2, cosine, 0.4, color=style.COLOUR["cosine"], label="cosine")
        ax.bar(k + 0.2, sine, 0.4, color=style.COLOUR["sine"], label="sine")
        label_keys(ax, k, np.fmax(cosine, sine), keys)
        ax.set_title(title, loc="left")
        ax.set_ylabel("norm")
        ax.margins(x=0.01, y=0.12)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes[0, 0].legend(loc="upper right", bbox_to_anchor=(1, 1.16), ncols=2)
    axes[1, 0].set_xlabel("frequency $k$ (0: the constant)")
    note = f"key frequencies: {', '.join(map(str, keys)) or 'none'}"
    style.caption(fig, tables.run, tables.seed("fourier"), [step], note)
    return fig


def label_keys(ax, k: np.ndarray, height: np.ndarray, keys: list[int]) -> None:
    """Write each key frequency above its bars, in its hue, moved apart where two are close."""
    keys = [key for key in keys if key in k]
    hues = style.hues(keys)
    width = max(k[-1] - k[0], 1)
    for key, x in zip(keys, style.spread(keys, 0.045 * width)):
        top = height[k == key][0]
        if np.isfinite(top):
            ax.annotate(str(key), (x, top), (0, 1), textcoords="offset points", ha="center",
                        va="bottom", fontsize=6, color=hues[key])
