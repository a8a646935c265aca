"""Fourier norms of the neurons' effect on the logits, W_L, of several runs at their last checkpoints.

Table `fourier`. Paper: Figure 17 of v3 (four more seeds).
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_bars(tables, "W_L")
