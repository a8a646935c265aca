"""Restricted loss over all inputs, over training, of several runs.

Table `progress`. Paper: Figure 19 of v3 (four more seeds).
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_curves(tables, "restricted_loss_all", "restricted")
