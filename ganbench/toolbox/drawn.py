"""Lines of an experiment's pictures: the palette of this project's figures, and legends beside panels of many lines."""

from __future__ import annotations

from itertools import cycle, islice, product
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's, which colour-blind readers tell apart, without the yellow that is lost on white."""
STROKES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1.2)))
WIDTH = 1.4


def strokes(n: int) -> list[dict[str, Any]]:
    """Return keywords of `Axes.plot` for `n` lines: each colour solid, then dashed, then dotted, then again."""
    looks = cycle(product(STROKES, COLOURS))
    return [{"color": colour, "linestyle": stroke, "linewidth": WIDTH} for stroke, colour in islice(looks, n)]


def describe_axes(axes: Axes, title: str, across: str, up: str) -> None:
    """Name a panel and its axes, and draw a faint grid behind the lines."""
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#E8E8E8", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def list_beside(axes: Axes, of: Axes, width: int) -> None:
    """Write the legend of a panel into another one, which is left empty; names are folded after `width` letters."""
    handles, names = of.get_legend_handles_labels()
    axes.axis("off")
    if handles:
        folded = [fill(name, width) for name in names]
        axes.legend(handles, folded, loc="center left", fontsize=7, frameon=False, borderaxespad=0, handlelength=2.2)
