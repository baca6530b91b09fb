"""The caption of a figure: what is drawn, of how many seeds, by which protocol, and what its marks mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ganbench.errors import brief
from ganbench.reports.asked import WORDS, Asked, title
from ganbench.reports.legend import legend
from ganbench.reports.panels import LARGEST, Panel, coloured, drawn_of
from ganbench.results.curves import is_trace


def caption(panels: Sequence[Panel], asked: Asked) -> str:
    """Say what a figure shows, for the text below it."""
    return " ".join(_sentences(panels, asked))


def _sentences(panels: Sequence[Panel], asked: Asked) -> Iterator[str]:
    protocols = dict.fromkeys(line for panel in panels if panel.column for line in legend([panel.column]))
    against = f"against {WORDS[asked.over]}" if asked.cost else f"over {WORDS[asked.over]}"
    yield f"{'; '.join(protocols) or title(asked)}, {against}. {'; '.join(panel.title for panel in panels)}."
    if is_trace(asked.quantity):
        yield "Each point is the mean of as many updates as it stands for."
    numbers = _seeds(panels)
    one = "A line is a run" if asked.runs else "Points are means" if asked.cost else "Lines are means"
    interval = "" if asked.runs or numbers == "1" else ", with 95 % Student-t intervals of the mean"
    yield f"{one}; {numbers} seed{'s' if numbers != '1' else ''} a row{interval}."
    if by := list(dict.fromkeys(panel.sorted_by for panel in panels if panel.sorted_by)):
        first = "front first, then " if any(cost.on_front for panel in panels for cost in panel.costs) else ""
        yield f"Rows stand {first}best first by {', '.join(by)}."
    if any(panel.real for panel in panels):
        yield "Dashed: real data."
    yield from _marks(panels, asked)
    letters = {letter: told for panel in panels for letter, told in panel.letters.items()}
    for letter, told in sorted(letters.items(), key=lambda pair: (len(pair[0]), pair[0])):
        yield f"({letter}): {told}."


def _marks(panels: Sequence[Panel], asked: Asked) -> Iterator[str]:
    """Say what marks and colours mean that there are."""
    if any(cost.on_front for panel in panels for cost in panel.costs):
        yield "Stairs: the Pareto front, from row to row the best that can be had for no more."
    ended = {curve.ended for panel in panels for curve in panel.curves}
    if "diverged" in ended:
        yield "×: a run diverged there, which is in no mean."
    if ended & {"error", "killed"}:
        yield "+: a run failed there, which is in no mean."
    drawn = [line for panel in panels for line in drawn_of(panel, asked)]
    if not all(math.isfinite(y) for line in drawn for y in line):
        yield f"▲: not a number, infinite, or beyond {LARGEST:g}."
    if asked.is_log and (lost := sum(y <= 0 for line in drawn for y in line)):
        yield f"Not above 0, so without a place on this axis: {lost} point{'s' if lost > 1 else ''}."
    if len(panels) > 1:  # else the legend has them
        told = [
            f"{label} {count} ({panel.title.partition(', ')[0]})"
            for panel in panels
            for label, count in panel.partial.items()
        ]
        yield from [f"Runs that came through: {', '.join(told)}."] if told else []
    if without := dict.fromkeys(name for panel in panels for name in panel.lost):
        yield f"Without a point, for want of a run that came through or of room: {brief(', '.join(without), 300)}."
    labels = {label for panel in panels for label in panel.labels.values()}
    if more := len(labels) - len(coloured(panels)):
        yield f"Grey: {more} other row{'s' if more > 1 else ''}."


def _seeds(panels: Sequence[Panel]) -> str:
    found = [max(band.n) for panel in panels for band in panel.bands]
    found = found or [cost.done for panel in panels for cost in panel.costs] or [1]
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"
