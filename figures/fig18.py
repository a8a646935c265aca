"""Excluded loss on the train split, over training, of several runs.

Table `progress`. Paper: Figure 18 of v3 (four more seeds).
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_curves(tables, "excluded_loss_train", "excluded")
