"""A picture of a kind: several values with their intervals in every row, one under the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.toolbox.drawn import legend_below, panels

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

MARKERS = "osDv^<>"
BAND = 0.7
"""How much of the height of a row its values take."""

Numbers = Sequence[tuple[float, float | None] | None]
"""For each row mean and half the width of its interval, as `mean_with_interval` returns them; None: the row has none.

What has no interval is a marker alone.
"""


def draw_dots(
    rows: Sequence[str],
    series: Mapping[str, tuple[Numbers, Mapping[str, Any]]],
    across: str,
    limits: tuple[float, float],
) -> Figure:
    """Draw series of values by their names, rows from the top; each with keywords of `Axes.errorbar`.

    `across`: what the values are; `limits`: of their axis.
    """
    figure, (axes,) = panels(1, 1, height=0.5 * len(rows), more=1.6)
    for n, (name, (of, style)) in enumerate(series.items()):
        lower = BAND * ((n + 0.5) / len(series) - 0.5)
        found = [(y + lower, mean, half or 0.0) for y, each in enumerate(of) if each for mean, half in [each]]
        chosen: Any = {"fmt": MARKERS[n % len(MARKERS)], "markersize": 4.5, "label": name, **style}
        axes.errorbar(
            [mean for _, mean, _ in found], [y for y, *_ in found], xerr=[half for *_, half in found], **chosen
        )
    axes.set_yticks(range(len(rows)), rows, fontsize=6.5, parse_math=False)
    axes.set(xlabel=across, xlim=limits, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    legend_below(figure, [axes], 3)
    return figure
