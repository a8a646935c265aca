"""Steps to memorise and to generalise over the modulus p.

Table `progress`; the rules are those of phases.py. Paper: among Figures 21 to 26 of v3.
"""

from matplotlib.figure import Figure

import many
from tables import Tables


def draw(tables: Tables) -> Figure:
    return many.draw_milestones(tables, "modulus", "modulus p")
