"""What was measured beside what is exact, a panel for each quantity. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.results.bands import draw_bands
from ganbench.toolbox.drawn import BEHIND, describe_axes, panels

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

DECADES = 20
"""From an exact value above this on a panel is logarithmic."""


def draw_beside(rows: Sequence[Mapping[str, Any]], across: str, up: str, labels: tuple[str, str]) -> Figure:
    """Draw means over seeds with their 95 % bands over `across`, a line for each `name`, a panel for each `of`.

    Behind them stands the `truth` of the rows. `labels`: of the axes across and up.
    """
    kinds = list(dict.fromkeys(row["of"] for row in rows))
    figure, places = panels(len(kinds), 3, height=3.2, more=0.0)
    for kind, axes in zip(kinds, places, strict=True):
        members = [row for row in rows if row["of"] == kind]
        truth = sorted({(row[across], row["truth"]) for row in members})
        axes.plot(*zip(*truth, strict=True), label="exact", **BEHIND)
        draw_bands(axes, members, across, up, by="name")
        axes.set_yscale("log" if truth[-1][1] > DECADES else "linear")
        describe_axes(axes, kind, *labels)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7, frameon=False)
    return figure
