"""What the attention score of each head reads: its Fourier norms over the token.

Table `fourier`, objects `attn.h` at the last checkpoint: the score that head h gives a token, over the
tokens 0..p-1, before softmax. Paper: Figure 8 of v1, 11 of v3.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import phases
import style
from fig3 import label_keys
from tables import TableError, Tables, command, printable


def draw(tables: Tables) -> Figure:
    rows = tables.read("fourier", ["cos_norm", "sin_norm"])
    keys = phases.key_frequencies(tables.read("progress", ["key_frequencies"]))
    step = rows["step"].max()
    rows = rows.filter((pl.col("step") == step) & pl.col("object").str.starts_with("attn."))
    heads = rows["object"].unique().sort().to_list()
    if not heads:
        raise TableError("table `fourier`, column `object`: no `attn.0`, this network has no "
                         f"attention; choose another with --run or run `{command('fourier')}`")
    fig, axes = style.figure(len(heads), height=1.6 + 2.4 * len(heads), sharex=True)
    for ax, head in zip(axes[:, 0], heads):
        # Frequency 0 is a constant of the head, which softmax does not see.
        part = rows.filter((pl.col("object") == head) & (pl.col("frequency") > 0))
        k = part["frequency"].to_numpy()
        cosine, sine = (style.values(part, c) for c in ("cos_norm", "sin_norm"))
        ax.bar(k - 0.2, cosine, 0.4, color=style.COLOUR["cosine"], label="cosine")
        ax.bar(k + 0.2, sine, 0.4, color=style.COLOUR["sine"], label="sine")
        label_keys(ax, k, np.fmax(cosine, sine), keys)
        ax.set_title(f"head {printable(head.removeprefix('attn.'))}", loc="left")
        ax.set_ylabel("norm")
        ax.margins(x=0.01, y=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes[0, 0].legend(loc="upper right", bbox_to_anchor=(1, 1.25), ncols=2)
    axes[-1, 0].set_xlabel("frequency $k$ of the token")
    note = f"key frequencies: {', '.join(map(str, keys)) or 'none'}"
    style.caption(fig, tables.run, tables.seed("fourier"), [step], note)
    return fig
