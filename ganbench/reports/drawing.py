"""A panel of a figure on the axes of matplotlib: lines, bands, points and where runs ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from ganbench.reports.asked import WORDS, Asked, title
from ganbench.reports.panels import Panel
from ganbench.results.curves import Band, Cost, Curve, is_trace

GREY, REAL, STAIRS = "#C4C4C4", "#555555", "#888888"
UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
ENDS = {"diverged": "x", "error": "+", "killed": "+"}
FEW_POINTS = 12
"""Curves of at most so many marks show them."""
_WIDE, _WIDE_LOG = 0.5, 0.15
"""Bands reach beyond the lines by this share of their height at most, and are cut there."""
_FLOOR = 1e-6


class Style(NamedTuple):
    """How a row is drawn. `front`: what lies over what."""

    colour: str
    stroke: Any = "-"
    marker: str = "o"
    front: float = 2.0


OTHERS = Style(GREY, "-", "", 1.0)


def draw(axes: Axes, panel: Panel, asked: Asked, styles: Mapping[str, Style]) -> None:
    """Draw a panel. `styles`: by label; rows without one are grey."""
    panel, unit = _in_unit(panel, asked)
    plain = is_trace(asked.quantity)

    def style_of(row: str) -> Style:
        style = styles.get(panel.labels[row], OTHERS)
        return style._replace(marker="") if plain and style is not OTHERS else style

    shown = [cost.value for cost in panel.costs]
    for curve in panel.curves:
        if asked.runs or curve.ended:
            shown += _run(axes, curve, style_of(curve.row))
    for band in () if asked.runs else panel.bands:
        shown += _band(axes, band, style_of(band.row), log=asked.is_log)
    if panel.costs:
        _costs(axes, panel.costs, style_of)
    if panel.real:
        shown.append(_real(axes, *panel.real))
    _scale(axes, shown, asked.is_log)
    _across(axes, panel, asked, unit)
    axes.set_ylabel(_vertical(panel, asked), parse_math=False)
    axes.grid(visible=True, color="#E8E8E8", linewidth=0.5)
    axes.set_axisbelow(True)


def _run(axes: Axes, curve: Curve, style: Style) -> list[float]:
    """Draw one run, and how it ended; return what was drawn."""
    grey = style is OTHERS
    marker = style.marker if len(curve.x) <= FEW_POINTS else ""
    axes.plot(
        curve.x, curve.y, color=style.colour, linestyle=style.stroke, marker=marker, markersize=2, zorder=style.front,
        linewidth=0.6, alpha=None if grey else 0.7,
    )  # fmt: skip
    _odd(axes, curve.x, curve.y, style)
    finite = [y for y in curve.y if math.isfinite(y)]
    if mark := ENDS.get(curve.ended):
        if finite:
            (end,) = axes.plot([curve.until], [finite[-1]])
        else:
            (end,) = axes.plot([curve.until], [1.0], transform=axes.get_xaxis_transform())
        end.set(
            color=style.colour, marker=mark, markersize=5, markeredgewidth=1.1, clip_on=False, zorder=style.front + 5
        )
    return finite


def _band(axes: Axes, band: Band, style: Style, *, log: bool) -> list[float]:
    marker = style.marker if len(band.x) <= FEW_POINTS else ""
    width = 0.6 if style is OTHERS else None
    axes.plot(
        band.x,
        band.mean,
        color=style.colour,
        linestyle=style.stroke,
        marker=marker,
        linewidth=width,
        zorder=style.front,
    )
    _odd(axes, band.x, band.mean, style)
    if style is not OTHERS:
        low, high = ([math.nan if end is None else end for end in ends] for ends in (band.low, band.high))
        if log:  # a band down to zero or below reaches as far as can be seen
            floor = _FLOOR * min((y for y in band.mean if y > 0), default=1.0)
            low = [max(end, floor) for end in low]
        axes.fill_between(band.x, low, high, color=style.colour, alpha=0.16, linewidth=0, zorder=style.front - 1)
    return [y for y in band.mean if math.isfinite(y)]


def _odd(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style) -> None:
    """Mark at the upper edge where a curve is no number."""
    places = [place for place, each in zip(x, y, strict=True) if not math.isfinite(each)]
    if places:
        (marks,) = axes.plot(places, [1.0] * len(places), transform=axes.get_xaxis_transform())
        marks.set(color=style.colour, marker="^", linestyle="", clip_on=False, zorder=style.front + 5)


def _costs(axes: Axes, costs: Sequence[Cost], style_of: Callable[[str], Style]) -> None:
    for cost in costs:
        style = style_of(cost.row)
        grey = style is OTHERS
        axes.errorbar(
            [cost.cost], [cost.value], yerr=None if grey or cost.half_width is None else [cost.half_width],
            color=style.colour, marker="o" if grey else style.marker, markersize=2.5 if grey else 4, elinewidth=0.8,
            zorder=style.front,
        )  # fmt: skip
    for front in dict.fromkeys(cost.front for cost in costs):
        stairs = sorted((cost.cost, cost.value) for cost in costs if cost.on_front and cost.front == front)
        x, y = zip(*stairs, strict=True) if stairs else ((), ())
        axes.plot(x, y, color=STAIRS, drawstyle="steps-post", linewidth=0.8, zorder=1.5)


def _real(axes: Axes, value: float, half: float | None) -> float:
    axes.axhline(value, color=REAL, linestyle=(0, (3, 2)), linewidth=0.8, zorder=1.6)
    if half:
        axes.axhspan(value - half, value + half, color=REAL, alpha=0.16, linewidth=0, zorder=1.5)
    return value


def _scale(axes: Axes, shown: Sequence[float], log: bool) -> None:
    """Set the height of the axes by lines and points: of few seeds, bands may be many times as wide."""
    if log:
        shown = [each for each in shown if each > 0]
    if not shown:
        return
    if log:
        axes.set_yscale("log", nonpositive="mask")
    low, high = min(shown), max(shown)
    if log:
        low, high = math.log10(low), math.log10(high)
    room, (bottom, top) = (_WIDE_LOG if log else _WIDE) * ((high - low) or abs(high) or 1.0), axes.get_ylim()
    if log:
        axes.set_ylim(max(bottom, 10 ** max(low - room, -300)), min(top, 10 ** min(high + room, 300)))
        decades = math.log10(axes.get_ylim()[1] / axes.get_ylim()[0])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        bottom, top = max(bottom, low - room), min(top, high + room)
        axes.set_ylim(0.0 if bottom < 0 <= low else bottom, top)


def _in_unit(panel: Panel, asked: Asked) -> tuple[Panel, str]:
    """Return a panel with seconds in the unit that suits them, and that unit."""
    if asked.over != "seconds":
        return panel, ""
    longest = max(_spent(panel, asked))
    size, unit = next((each for each in UNITS if longest >= 2 * each[0]), UNITS[-1])
    lines = [replace(each, x=[x / size for x in each.x], until=each.until / size) for each in panel.curves]
    bands = [replace(each, x=[x / size for x in each.x]) for each in panel.bands]
    return replace(panel, curves=lines, bands=bands, costs=[replace(c, cost=c.cost / size) for c in panel.costs]), unit


def _spent(panel: Panel, asked: Asked) -> list[float]:
    """Return where on the horizontal axis something is drawn."""
    lines = [(*curve.x, curve.until) for curve in panel.curves if curve.ended or asked.runs]
    means = [] if asked.runs else [band.x for band in panel.bands]
    return [*(x for line in (*lines, *means) for x in line), *(cost.cost for cost in panel.costs)]


def _across(axes: Axes, panel: Panel, asked: Asked, unit: str) -> None:
    spent = _spent(panel, asked)
    axes.set_xlabel(WORDS[asked.over] + (f" ({unit})" if unit else ""))
    if asked.cost and max(spent) > 4 * min(spent):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(spent) < 30 * min(spent) else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif not asked.cost and max(spent) > 0:
        axes.set_xlim(0, 1.02 * max(spent))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}") if unit else EngFormatter(sep=""))


def _vertical(panel: Panel, asked: Asked) -> str:
    """Name the quantity and where it is better."""
    direction = panel.column.direction if panel.column else None
    near = panel.column and any(
        v.near_reference for score in panel.column.scores if score for v in score.by_seed.values()
    )
    better = " (real is best)" if near else {True: " (↑ better)", False: " (↓ better)", None: ""}[direction]
    return title(asked) + better
