"""Events for trackers: settings and numbers by flat names, the same in all of them, and events as JSON.

Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from ganbench.contract.observers import (
    Happening,
    Measured,
    ObservedRun,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    Spent,
)

Setting = str | int | float | bool
"""What every tracker takes for a setting."""


class Tracked(Protocol):
    """What a tracker has of one run under way."""

    def tick(self, event: RunTicked) -> object:
        """Take down that the run goes on."""

    def mark(self, event: RunMarked) -> object:
        """Take down what it scored."""

    def end(self, event: RunEnded) -> object:
        """Take down how it ended, and close."""


def by_run(begin: Callable[[RunStarted], Tracked]) -> Callable[[Happening], None]:
    """Return what hears of events and hands each to the tracker of its run, which `begin` makes when the run begins."""
    tracked: dict[str, Tracked] = {}

    def hear(event: Happening) -> None:
        if isinstance(event, RunStarted):
            tracked[event.run.id] = begin(event)
        elif isinstance(event, RunTicked):
            tracked[event.run.id].tick(event)
        elif isinstance(event, RunMarked):
            tracked[event.run.id].mark(event)
        elif isinstance(event, RunEnded):
            tracked.pop(event.run.id).end(event)

    return hear


def settings_of(run: ObservedRun) -> dict[str, Setting]:
    """Return all that defines a run by flat names: `variant`, `config/variant/lr`, `asked/device`, `code/variant`.

    None is the text `none`, a sequence its parts parted by commas.
    """
    return {name: _setting(value) for name, value in _flat({**run.spec, "asked": run.asked})}


def scalars_of(event: RunTicked | RunMarked) -> dict[str, float]:
    """Return the numbers of a tick or a mark by flat names, which may be NaN or infinite.

    A tick has `share`, `meters/…` and `loss/PLAYER`; a mark, whose meters are those of the tick before it,
    `metric/NAME` and, where raw weights are scored beside the average, `metric/NAME/raw`. The usual axis is
    `event.spent.images`.
    """
    if isinstance(event, RunTicked):
        losses = {f"loss/{player}": float(loss) for player, loss in event.losses.items()}
        return {"share": event.share, **_meters(event.spent), **losses}
    found = {f"metric/{name}": measured.value for name, measured in event.values.items()}
    return found | {f"metric/{name}/raw": measured.value for name, measured in event.raw.items()}


def finals_of(event: RunEnded) -> dict[str, Measured]:
    """Return the values at the end: `final/NAME`, or `final/NAME/PROTOCOL/WEIGHTS` where it has several."""
    found: dict[str, Measured] = {}
    for name, values in event.values.items():
        for measured in values:
            parts = (measured.protocol_hash, measured.weights) if len(values) > 1 else ()
            found["/".join(["final", name, *filter(None, parts)])] = measured
    return found


def end_of(event: RunEnded) -> str:
    """Return how a run ended in Markdown: its status, and a table of its values with their protocols."""
    rows = [
        (name.removeprefix("final/"), repr(found.value), found.weights, found.protocol_hash, found.reference)
        for name, found in finals_of(event).items()
    ]
    lacking = [f"- {name}: {why}" for name, why in event.unscored.items()]
    told = f"{event.status}: {event.error}" if event.error else event.status
    table = table_of(("metric", "value", "weights", "protocol", "real data"), rows)
    return "\n\n".join(filter(None, (told, table if rows else "", "\n".join(lacking))))


def table_of(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table in Markdown; None is an empty cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(content: Any) -> str:
    return "" if content is None else " ".join(str(content).split()).replace("|", "&#124;")


def plain(content: Any) -> Any:
    """Return an event, or a part of one, as what JSON can hold; a NaN is the text `NaN`, infinity `Infinity`.

    A dataclass is a dictionary of its fields, an event with its name in the field `event` (`run-marked`); of bytes only
    their number is told.
    """
    if is_dataclass(content):
        name = {"event": _spelt(type(content).__name__)} if isinstance(content, Happening) else {}
        return name | {each.name: plain(getattr(content, each.name)) for each in fields(content)}
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, bytes):
        return f"{len(content):,} bytes"
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    return content


def _meters(spent: Spent) -> dict[str, float]:
    names = ("steps", "images", "flops", "seconds", "peak_bytes")
    found = {f"meters/{name}": float(getattr(spent, name)) for name in names}
    return found | {f"meters/updates/{player}": float(number) for player, number in spent.updates.items()}


def _spelt(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        else:
            yield name, value


def _setting(value: Any) -> Setting:
    if value is None:
        return "none"
    if isinstance(value, bool | int | float | str):
        return value
    return ",".join(str(_setting(part)) for part in value) if isinstance(value, Sequence) else str(value)
