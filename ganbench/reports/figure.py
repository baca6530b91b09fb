"""Figures for papers, as PDF, SVG or PNG: of one size, legible in print and to the colour-blind, of equal bytes."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganbench import __version__
from ganbench.reports.asked import Asked
from ganbench.reports.captions import caption
from ganbench.reports.drawing import FEW_POINTS, OTHERS, REAL, Style, draw
from ganbench.reports.panels import Panel, coloured
from ganbench.results.curves import is_trace
from ganbench.streams import visible

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's, which colour-blind readers tell apart, without the yellow that is lost on white."""
STROKES = (("-", "o"), ((0, (4, 1.2)), "s"))
"""Stroke and marker of each round of the colours."""
LOOK: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 7,
    "axes.labelsize": 8,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.25,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ganbench",
    "savefig.dpi": 300,
}
BROAD = 5.0
"""From so many inches on there is room for panels, or for a legend, side by side."""
_LETTER, _HANDLE, _LINE, _AROUND = 0.055, 0.42, 0.15, 0.5
"""Inches: of a letter, of what stands beside the text of a legend, of a line of it, of what surrounds the axes."""


def render(panels: Sequence[Panel], asked: Asked, form: str, width: float) -> bytes:
    """Draw panels and return the file. `form`: pdf, svg or png; `width`: in inches."""
    with _look(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks shows boxes for these
        figure, held = _figure(panels, asked, width), io.BytesIO()
        figure.savefig(held, format=form, metadata=_metadata(form, panels, asked))
    return held.getvalue()


@contextmanager
def _look() -> Iterator[None]:
    """Draw alike whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def _metadata(form: str, panels: Sequence[Panel], asked: Asked) -> dict[str, str | None]:
    """Return what the file says of itself, which is no time."""
    said, made_by = _plain(caption(panels, asked)), f"ganbench {__version__}"
    name = _plain(f"{asked.quantity} {'against' if asked.cost else 'over'} {asked.over}")
    if form == "pdf":
        return {"Title": name, "Subject": said, "Creator": made_by, "CreationDate": None}
    if form == "svg":
        return {"Title": name, "Description": said, "Creator": made_by, "Date": None}
    return {"Title": name, "Description": said, "Software": made_by}


def _plain(text: str) -> str:
    """Spell out what no XML holds."""
    return re.sub(r"[^\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", visible(text))


def _figure(panels: Sequence[Panel], asked: Asked, width: float) -> Figure:
    styles = _styles(panels)
    across = min(len(panels), 3 if width >= BROAD else 1)
    down, beside = -(-len(panels) // across), len(panels) == 1 and width >= BROAD
    handles = _handles(panels, asked, styles)
    room = int(((0.4 * width if beside else width) - _HANDLE) / _LETTER)
    # One that begins with an underscore is none to matplotlib.
    texts = [re.sub("^_", " _", textwrap.fill(visible(text), room)) for text, _ in handles]
    columns = 1 if beside else _columns(texts, width)
    legend = _LINE * -(-sum(text.count("\n") + 1 for text in texts) // columns)
    tall = down * (min(2.8, 0.6 * (width - 1.5 if beside else width) / across) + _AROUND)
    figure = Figure(figsize=(width, max(tall, legend) if beside else tall + legend), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for place, panel, heading in zip(axes, panels, _headings(panels, width / across), strict=False):
        draw(place, panel, asked, styles)
        if len(panels) > 1:
            place.set_title(heading, loc="left", parse_math=False)
    for place in axes[len(panels) :]:
        place.remove()
    drawn = figure.legend(
        [handle for _, handle in handles],
        texts,
        loc="outside right upper" if beside else "outside lower center",
        ncols=columns,
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)
    return figure


def _styles(panels: Sequence[Panel]) -> dict[str, Style]:
    """Return the styles of the rows that are told apart; the best lie over the others."""
    labels, styles = coloured(panels), {}
    for number, label in enumerate(labels):
        stroke, marker = STROKES[number // len(COLOURS) % len(STROKES)]
        styles[label] = Style(COLOURS[number % len(COLOURS)], stroke, marker, 4 - number / len(labels))
    return styles


def _handles(panels: Sequence[Panel], asked: Asked, styles: Mapping[str, Style]) -> list[tuple[str, Line2D]]:
    """Return what the legend shows, and its text."""
    points = max((len(curve.x) for panel in panels for curve in panel.curves), default=0)
    pointed = points <= FEW_POINTS and not is_trace(asked.quantity)
    counts = panels[0].partial if len(panels) == 1 else {}  # of several, the caption tells them
    found = []
    for label, style in styles.items():
        handle = Line2D([], [], color=style.colour, linestyle="" if asked.cost else style.stroke)
        handle.set_marker(style.marker if pointed else "")
        found.append((label + (f" ({counts[label]})" if label in counts else ""), handle))
    if others := {label for panel in panels for label in panel.labels.values()} - styles.keys():
        look: Any = {"linestyle": "", "marker": "o"} if asked.cost else {"linewidth": 0.6}
        handle = Line2D([], [], color=OTHERS.colour, **look)
        found.append((f"{len(others)} other{'s' if len(others) > 1 else ''}", handle))
    if any(panel.real for panel in panels):
        found.append(("real data", Line2D([], [], color=REAL, linestyle=(0, (3, 2)), linewidth=0.8)))
    return found


def _columns(labels: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit; matplotlib fills them one after the other, the first ones fuller."""
    for columns in range(min(5, len(labels)), 1, -1):
        size, more = divmod(len(labels), columns)
        ends = [size * number + min(number, more) for number in range(columns + 1)]
        parts = [max(map(_broad, labels[start:end])) for start, end in pairwise(ends)]
        if sum(_HANDLE + _LETTER * part for part in parts) <= width:
            return columns
    return 1


def _broad(text: str) -> int:
    return max(map(len, text.split("\n")))


def _headings(panels: Sequence[Panel], width: float) -> list[str]:
    """Return what stands over panels: the data set, and in what else they differ."""
    parts = [panel.title.split(", ") for panel in panels]
    shared = set(parts[0]).intersection(*parts)
    told = [", ".join([first, *(part for part in rest if part not in shared)]) for first, *rest in parts]
    return ["\n".join(textwrap.wrap(visible(text), max(20, int(width / _LETTER)))) for text in told]
