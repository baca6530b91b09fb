"""Parts of an experiment's pictures: the palette of this project's figures, panels, bands, maps and legends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice, product
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's, which colour-blind readers tell apart, without the yellow that is lost on white."""
STROKES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1.2)))
GREY, FAINT = "#555555", "#E8E8E8"
"""Of lines to compare with, and of grids."""
WIDTH = 1.4
BEHIND: dict[str, Any] = {"color": GREY, "alpha": 0.35, "linewidth": 4, "zorder": 1}
"""Keywords of `Axes.plot` for what is exact: a broad line behind those of what was found."""
INCHES = 7.3
"""The width of a figure: 800 pixels as pictures of experiments are written."""


def strokes(n: int) -> list[dict[str, Any]]:
    """Return keywords of `Axes.plot` for `n` lines: each colour solid, then dashed, then dotted, then again."""
    looks = cycle(product(STROKES, COLOURS))
    return [{"color": colour, "linestyle": stroke, "linewidth": WIDTH} for stroke, colour in islice(looks, n)]


def panels(n: int, across: int, *, height: float = 2.4, more: float = 0.6, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of `n` panels, at most `across` side by side, and these; places without one are left empty.

    `height`: inches of a line of panels; `more`: those of what stands around; `shared`: of `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    across = max(1, min(across, n))
    down = -(-n // across)
    figure = Figure(figsize=(INCHES, height * down + more), layout="constrained")
    places = list(figure.subplots(down, across, squeeze=False, **shared).flat)
    for axes in places[n:]:
        axes.set_axis_off()
    return figure, places[:n]


def describe_axes(axes: Axes, title: str, across: str, up: str) -> None:
    """Name a panel and its axes, and draw a faint grid behind the lines; names are no formulas."""
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_band(
    axes: Axes, x: Sequence[float], found: Sequence[tuple[float, float | None]], label: str, **stroke: Any
) -> None:
    """Draw means as a line of points, and their intervals as a band; what has no interval has a band of no width.

    `found`: mean and half the width of its interval at each `x`, as `mean_with_interval` returns them.
    """
    mean = np.array([middle for middle, _ in found], dtype=float)
    half = np.array([half or 0.0 for _, half in found], dtype=float)
    axes.plot(x, mean, marker="o", markersize=3, label=label, **stroke)
    axes.fill_between(x, mean - half, mean + half, color=stroke.get("color"), alpha=0.14, linewidth=0)


def heat_map(
    axes: Axes,
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
    texts: Sequence[Sequence[str]] = (),
    bold: Sequence[Sequence[bool]] = (),
) -> Any:
    """Draw numbers as colours, red to blue over `limits`, and texts over them; what is not finite is left grey.

    Returns what a colour bar is made of.
    """
    image = axes.imshow(np.ma.masked_invalid(np.array(values, float)), cmap="RdBu", aspect="auto")
    image.set_clim(*limits)
    axes.set_facecolor("#E4E4E4")
    middle, reach = sum(limits) / 2, (limits[1] - limits[0]) / 2
    for y, x in _cells(texts):
        colour = "white" if abs(values[y][x] - middle) > 0.65 * reach else "black"
        weight = "bold" if bold and bold[y][x] else "normal"
        style: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": colour, "weight": weight}
        axes.text(x, y, texts[y][x], parse_math=False, **style)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8, parse_math=False)
    return image


def few(values: Iterable[float], most: int = 8) -> list[float]:
    """Return at most so many different values, in order and evenly spread: first and last, and what there is room for
    between them.
    """
    order = sorted(set(values))
    return [order[round(k)] for k in np.linspace(0, len(order) - 1, min(len(order), most))]


def _cells(texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    return ((y, x) for y, row in enumerate(texts) for x, text in enumerate(row) if text)


def legend_below(figure: Figure, of: Sequence[Axes], columns: int = 4) -> None:
    """Write one legend under all panels, each name once, in fewer columns where the names are too long for these."""
    found = {name: handle for axes in of for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        place: Any = {"loc": "outside lower center", "fontsize": 8, "frameon": False}
        for fewer in range(columns, 0, -1):
            legend = figure.legend(list(found.values()), list(found), ncols=fewer, **place)
            if fewer == 1 or legend.get_window_extent().width <= figure.bbox.width:
                break
            legend.remove()


def list_beside(axes: Axes, of: Axes, width: int) -> None:
    """Write the legend of a panel into another one, which is left empty; names are folded after `width` letters."""
    handles, names = of.get_legend_handles_labels()
    axes.axis("off")
    if handles:
        folded = [fill(name, width) for name in names]
        axes.legend(handles, folded, loc="center left", fontsize=7, frameon=False, borderaxespad=0, handlelength=2.2)
