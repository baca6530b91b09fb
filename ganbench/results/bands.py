"""What was measured as lines: means over seeds with their intervals. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ganbench.results.statistics import mean_with_interval
from ganbench.results.verdicts import by_seed
from ganbench.toolbox.drawn import GREY, describe_axes, draw_band, legend_below, panels, strokes

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_measured(
    rows: Iterable[Mapping[str, Any]],
    across: str,
    title: str,
    ups: Mapping[str, str],
    by: str = "variant",
    height: float = 3.2,
) -> tuple[Figure, list[Axes]]:
    """Draw a panel for each of `ups`, its title by a key of rows, as `draw_bands`; return the figure and the panels.

    `across`: the key of what they are drawn over, `title`: its name; `height`: inches of a panel. Where rows have what
    real data score, `…_of_real`, that is a dashed line, and the panel begins at 0.
    """
    every = list(rows)
    figure, places = panels(len(ups), 2, height=height, more=0.6)
    for axes, (key, up) in zip(places, ups.items(), strict=True):
        draw_bands(axes, every, across, key, by)
        describe_axes(axes, "", title, up)
        if real := [row[f"{key}_of_real"] for row in every if row.get(f"{key}_of_real") is not None]:
            axes.axhline(real[0], color=GREY, linestyle=(0, (3, 2)), linewidth=0.8)
            axes.set_ylim(0, 1.08 * real[0])
    legend_below(figure, places, 3)
    return figure, places


def draw_bands(axes: Axes, rows: Iterable[Mapping[str, Any]], across: str, up: str, by: str = "variant") -> None:
    """Draw a line for each value of `by`: at each value of `across` the mean of `up` over seeds, with its 95 % band.

    Of a seed that has several values their mean counts. A row whose `up` is None has none; a line keeps its colour in
    every panel that is drawn of the same names.
    """
    every = list(rows)
    known = [row for row in every if row[up] is not None]
    names = list(dict.fromkeys(row[by] for row in every))
    for name, stroke in zip(names, strokes(len(names)), strict=True):
        places = sorted({row[across] for row in known if row[by] == name})
        found = [by_seed(known, up, **{by: name, across: place}).values() for place in places]
        if places:
            draw_band(axes, places, [mean_with_interval(list(of)) for of in found], str(name), **stroke)
