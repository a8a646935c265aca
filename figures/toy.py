"""The two-basins toy: what each circuit does, beside what a slice of the landscape shows of it.

Columns: losses added, and logits added. Rows: outputs of both circuits; how much of a random slice is each
circuit's own loss, and Shapley's share of B in the fall of the loss; for logits added, the
slice at the step where A has just fitted, and the same slice with B alone. Tables `toy`, `toy_slice`.
"""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import style
from tables import Tables

MODELS = {"loss": "losses added", "logit": "logits added"}
A, B = style.COLOUR["train"], style.COLOUR["restricted"]


def draw(tables: Tables) -> Figure:
    rows = tables.read("toy", ["total_loss", "output_a", "output_b", "share_b", "visible_a", "visible_b",
                               "slope_b"])
    slices = tables.read("toy_slice", ["x", "y", "total_loss", "loss_a", "loss_b"])
    settings = rows["setting"].unique().sort().to_list()
    setting = min(settings, key=lambda name: ("width 1, depth 2" not in name, name))
    rows, slices = (frame.filter(pl.col("setting") == setting) for frame in (rows, slices))
    fig, axes = style.figure(3, 2, height=13)
    for column, (model, title) in enumerate(MODELS.items()):
        part = rows.filter(pl.col("model") == model)
        steps = part["step"].to_numpy()
        if not len(steps):
            style.undefined(axes[0, column])
            continue
        top, middle = axes[0, column], axes[1, column]
        curves = {name: style.values(part, f"output_{name}") for name in "ab"}
        style.log_axis(top, *curves.values())
        style.lines(top, steps, {"$o_A$": curves["a"], "$o_B$": curves["b"]}, [A, B])
        low = max(top.get_ylim()[0], 1e-7)
        top.set_ylim(low)
        top.set_title(title, loc="left")
        style.lines(middle, steps, {
            "A in the slice": style.values(part, "visible_a"),
            "B in the slice": style.values(part, "visible_b"),
        }, [A, B])
        middle.plot(steps, style.values(part, "share_b"), color="black", lw=0.8, ls="--",
                    label="B in the output")
        middle.set_ylim(-0.03, 1.05)
        for ax in (top, middle):
            style.step_axis(ax, steps, log=True, label=False, sparse=True)
        middle.set_xlabel("step (log)")
    axes[0, 0].set_ylabel("output")
    axes[1, 0].set_ylabel("share")
    axes[0, 0].legend(loc="lower right")
    axes[1, 1].legend(loc="center left", fontsize=5.5, handlelength=1.0)

    here = slices.filter(pl.col("model") == "logit")
    panels = {"slice when A has fitted": "total_loss", "the same, B alone": "loss_b"}
    for ax, (title, column) in zip(axes[2], panels.items()):
        ax.set_title(title, loc="left")
        if here.is_empty():
            style.undefined(ax)
            continue
        side = here["i"].max() + 1
        z = style.values(here, column).reshape(side, side).T
        x = here.filter(pl.col("j") == 0)["x"].to_numpy()
        spread = np.nanmax(z) - np.nanmin(z)
        levels = np.linspace(np.nanmin(z), np.nanmin(z) + max(spread, 1e-6), 13)
        filled = ax.contourf(x, x, z, levels=levels, cmap="viridis")
        digits = max(1, int(np.ceil(1.5 - np.log10(max(spread, 1e-6)))))
        fig.colorbar(filled, ax=ax, pad=0.02, format=f"%.{digits}f", ticks=levels[::4])
        ax.plot(0, 0, "o", ms=3, mfc="white", mec="black", mew=0.6)
    axes[2, 0].set_ylabel("loss (nats)")
    slope = {model: rows.filter(pl.col("model") == model)["slope_b"].max() for model in MODELS}
    told = ", ".join(f"{MODELS[model]} {value:.2f}" for model, value in slope.items()
                     if value is not None)
    at = here["step"].max() if not here.is_empty() else 0
    style.caption(fig, f"toy, {setting}", None, rows["step"].to_list(),
                  f"slices: step {style.thousands(at or 0)}; slope of ln B's rate on ln loss: {told}")
    return fig
