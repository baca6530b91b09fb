"""What was measured of several seeds: differences, the side of 0 they are on, tables, pictures. Imports no torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.contract.experiments import Table
from ganbench.results.statistics import mean_with_interval
from ganbench.results.verdicts import by_seed, with_interval
from ganbench.toolbox.dots import Numbers, draw_dots
from ganbench.toolbox.drawn import heat_map, panels

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

Which = tuple[str, Mapping[str, Any]]
"""The name of a value, and what the rows that are meant have besides: `("peak", {"of": "trained"})`."""


def side_of_zero(numbers: Sequence[float]) -> bool | None:
    """Return whether the whole 95 % interval is above 0, or below it; None where it holds 0 or there is none."""
    mean, half = mean_with_interval(numbers) if numbers else (0.0, None)
    return None if half is None or not abs(mean) > half else mean > 0


def differences(
    rows: Iterable[Mapping[str, Any]], of: Which, less: Which | float, *, by: Sequence[str], same: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Return by how much a value is above another one, or a number, for each seed; named by what rows say of `by`.

    Those rows are compared that have both and agree in the seed, in `by` and in `same`; a seed counts with the mean of
    its differences.
    """
    keys, rows = (*by, *same, "seed"), list(rows)

    def found(value: str, where: Mapping[str, Any]) -> dict[tuple[Any, ...], float]:
        numbers = defaultdict[tuple[Any, ...], list[float]](list)
        for row in rows:
            if value in row and all(row.get(key) == wanted for key, wanted in where.items()):
                numbers[tuple(row.get(key) for key in keys)].append(row[value])
        return {key: sum(of) / len(of) for key, of in numbers.items()}

    one = found(*of)
    other = found(*less) if isinstance(less, tuple) else dict.fromkeys(one, less)
    both = [
        {"name": ", ".join(str(part) for part in key[: len(by)] if part is not None), "seed": key[-1], "by": above}
        for key, above in ((key, number - other[key]) for key, number in one.items() if key in other)
    ]
    names = dict.fromkeys(each["name"] for each in both)
    return {name: list(by_seed(both, "by", name=name).values()) for name in names}


def table_over_seeds(
    title: str, rows: Sequence[Mapping[str, Any]], about: Mapping[str, str], values: Sequence[str], note: str = ""
) -> Table:
    """Lay out means over seeds with their intervals, a line for rows that agree in what they are `about`.

    `about`: by the title of a column which fact of a row stands there; a dash where it has none.
    """
    lines = dict.fromkeys(tuple(row.get(key) for key in about.values()) for row in rows)
    body = list[list[str]]()
    for line in lines:
        alike = dict(zip(about.values(), line, strict=True))
        cells = [with_interval(list(by_seed(rows, value, **alike).values())) for value in values]
        body.append([*("-" if fact is None else str(fact) for fact in line), *cells])
    return Table(title, [*about, *values], body, note)


def dots_over_seeds(
    rows: Sequence[Mapping[str, Any]],
    about: Sequence[str],
    series: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    across: str,
    limits: tuple[float, float],
) -> Figure:
    """Draw means over seeds with their intervals, those of rows that agree in what they are `about` beside each other.

    `series`: by name which value of which rows, and how it is drawn; `across` and `limits`: see `draw_dots`.
    """
    keys = dict.fromkeys(tuple(row[key] for key in about) for row in rows if all(key in row for key in about))
    lines = [dict(zip(about, key, strict=True)) for key in keys]
    drawn = dict[str, tuple[Numbers, Mapping[str, Any]]]()
    for name, (value, where, style) in series.items():
        cells = [list(by_seed(rows, value, **line, **where).values()) for line in lines]
        drawn[name] = [mean_with_interval(cell) if cell else None for cell in cells], style
    return draw_dots(["\n".join(map(str, line.values())) for line in lines], drawn, across, limits)


def heat_map_over_seeds(
    cells: Sequence[Sequence[Sequence[float]]],
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    limits: tuple[str, tuple[float, float]],
) -> Figure:
    """Draw means of the numbers of each cell over seeds; bold where the whole 95 % interval is on one side of 0.

    `rows`, `columns`, `limits` of the colours: what each is, and its names, or its ends.
    """
    means = [[mean_with_interval(cell)[0] if cell else math.nan for cell in line] for line in cells]
    texts = [[with_interval(cell, "+.2f").partition(" ")[0] if cell else "" for cell in line] for line in cells]
    bold = [[side_of_zero(cell) is not None for cell in line] for line in cells]
    height = 0.26 * len(cells)
    figure, (axes,) = panels(1, 1, height=height, more=max(1.8, 3.2 - height))
    image = heat_map(axes, means, rows[1], columns[1], limits[1], texts, bold)
    axes.set(xlabel=columns[0], ylabel=rows[0])
    figure.colorbar(image, ax=axes, pad=0.02).set_label(limits[0], fontsize=8)
    return figure
