"""What was measured as lines: means over seeds with their intervals. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ganbench.results.statistics import mean_with_interval
from ganbench.results.verdicts import by_seed
from ganbench.toolbox.drawn import draw_band, strokes

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.axes import Axes


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
