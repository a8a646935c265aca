"""Steps to memorise and to generalise over the share of the pairs that are trained on.

Table `progress`; the rules are those of phases.py. Paper: Figure 20 of v3.
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_milestones(tables, "train_fraction", "share of the pairs that are trained on")
