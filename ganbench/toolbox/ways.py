"""A picture of a kind: where runs went in a plane of two quantities, panel by panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ganbench.toolbox.drawn import COLOURS, describe_axes, legend_below, panels

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

Way = tuple[Sequence[float], Sequence[float]]
"""Where a run was, from its first mark to its last: across and up."""


def draw_ways(shown: Sequence[tuple[str, str, Mapping[str, Way]]], columns: int, up: str) -> Figure:
    """Draw a panel for each title, what is across, and ways by their names: a star at the end of each.

    Of a panel the first seven ways are drawn, as many as there are colours that are told apart.
    """
    figure, places = panels(len(shown), columns, height=2.1, more=0.8)
    for axes, (title, across, ways) in zip(places, shown, strict=True):
        describe_axes(axes, title, across, "")
        for (name, (x, y)), colour in zip(ways.items(), COLOURS, strict=False):
            axes.plot(x, y, "-o", color=colour, markersize=3, linewidth=0.7, label=name)
            axes.plot(x[-1:], y[-1:], "*", color=colour, markersize=10)
    figure.supylabel(up, fontsize=9)
    legend_below(figure, places, len(COLOURS))
    return figure
