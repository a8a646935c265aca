"""Fourier norms of the embedding W_E, of several runs at their last checkpoints.

Table `fourier`. Paper: Figure 16 of v3 (four more seeds).
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_bars(tables, "W_E")
