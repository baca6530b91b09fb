"""What stands around a table: its caption, and what a reader must know of rows and runs. Plain text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ganbench.errors import brief
from ganbench.reports.grid import Column, several
from ganbench.reports.labels import OWN, STALE as STALE_MARK, Label, key_of, namesakes, weights_of
from ganbench.reports.legend import mixed, too_few
from ganbench.reports.standings import spreads, standings
from ganbench.reports.view import View
from ganbench.reports.words import scaled, thousands
from ganbench.results.published import quoted
from ganbench.results.record import NOT_TRAINED, RunRecord
from ganbench.results.rows import Row, at_once, device_of, last_line, moved_between, plain
from ganbench.results.statistics import Score

SHORT = 0.1
"""A row that was served less than this share of its paper's images is told of."""
STALE = "today's gives other numbers for the same seed, and makes such runs again with ganbench run --redo stale"
NEWER = "which gives other numbers for the same seed"
_FORMER = re.compile(r"half-life ([0-9.]+(?:e[+]?[0-9]+)?) images")
"""How records of before say it."""
_MANY = 8
"""Of more seeds than these only the first and the last are named."""


def finished(rows: Iterable[Row]) -> list[RunRecord]:
    """Return the runs of trained variants that reached the end."""
    return [run for row in rows for run in row.runs if run.status == "done" and not row.is_control]


def caption(rows: Sequence[Row], runs: bool) -> str:
    """Say what the budget means and what the cells show."""
    seeds = sorted({run.spec.seed for row in rows for run in row.runs})
    named = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > _MANY else ", ".join(map(str, seeds))
    which = f"seed{'s' if len(seeds) > 1 else ''} {named}"
    intervals = "means over seeds ± half-widths of 95 % Student-t intervals" if len(seeds) > 1 else "one run each"
    shown = f"One row a run, {which}." if runs else f"{which.capitalize()}; {intervals}."
    return f"{_budget(rows)} {shown}"


def _budget(rows: Sequence[Row]) -> str:
    budget = rows[0].spec.budget
    if all(row.is_control for row in rows):
        return "Controls, which are not trained."
    served = {run.meters.images for run in finished(rows)}
    amount = f"at least {budget.amount:,.0f}" if len(served) > 1 else thousands(*served or [budget.amount])
    rounded = " (the budget, rounded up to whole steps)" if len(served) == 1 and budget.amount not in served else ""
    meaning = {
        "images": f"every variant was served {amount} real images{rounded}; "
        "variants with several critic steps made fewer G updates",
        "updates": f"every variant updated G {budget.amount:,.0f} times; "
        "variants with several critic steps were served more real images",
        "flops": f"every variant trained for {scaled(budget.amount)} FLOPs",
        "seconds": f"every variant trained for {budget.amount:g} s of device time, so that all depends on the machine",
    }[budget.unit]
    return f"Budget {budget}: {meaning}."


def notes_of(
    rows: Sequence[Row],
    labels: Sequence[Label],
    columns: Sequence[Column],
    shared: str,
    view: View,
    also: Sequence[str],
    letters: Sequence[str],
) -> list[str]:
    """Return the notes under a table. `shared`: options of all rows; `also`: more notes, those on columns.

    `letters`: the metrics beside which there are any.
    """
    dated = any(run.made for row in rows for run in row.runs)
    notes = [*_options(labels, shared), *_marks(rows, labels), *mixed(several(columns), dated=dated)]
    notes += [f"§ {told}" for column in columns if (told := too_few(column))]
    if not view.runs:
        notes += [*standings(columns, labels, letters), *spreads(columns, labels)]
    notes += [
        *_published(rows, columns),
        *_served(rows, labels),
        *_differing(rows, labels),
        *_runs(rows, labels, columns),
        *timed(rows, labels),
    ]
    return [*notes, *also, *_makers(rows)]


def _options(labels: Sequence[Label], shared: str) -> Iterator[str]:
    if shared:
        yield f"All rows: {shared}"
    yield from dict.fromkeys(f"({label.letter}) {label.options}" for label in labels if label.letter)


def _marks(rows: Sequence[Row], labels: Sequence[Label]) -> Iterator[str]:
    if any(row.own_architecture for row in rows):
        yield f"{OWN} brings its own networks, as its paper prescribes, in place of the backbone"
    if lives := _half_lives(rows):
        yield f"ema: samples of averaged weights, half-life {lives}"
    several = len({row.spec.numbers for row in rows}) > 1
    for newer, say in ((False, f"an older ganbench; {STALE}"), (True, f"a newer ganbench, {NEWER}")):
        for numbers in sorted({row.spec.numbers for row in rows if row.spec.is_stale and row.spec.is_newer is newer}):
            which = f"{STALE_MARK}{numbers} numbers" if several else "All rows are of numbers"
            yield f"{which} {numbers}: made by {say}"
    for row, label in zip(rows, labels, strict=True):
        if row.equals:
            yield f"{label.text}: {brief(row.equals, 200)}"
    if any(row.is_control for row in rows) and not all(row.is_control for row in rows):
        names = [label.text for row, label in zip(rows, labels, strict=True) if row.is_control]
        yield f"Controls, which are not trained: {', '.join(dict.fromkeys(names))}"


def _half_lives(rows: Sequence[Row]) -> str:
    lives: dict[str, dict[str, None]] = {}
    for row in rows:
        if weights_of(row) == "ema":
            said = _half_life(row.sampling)
            lives.setdefault(said, {})[row.spec.variant] = None
    if len(lives) == 1:
        return next(iter(lives))
    return "; ".join(f"{life} ({', '.join(names)})" for life, names in lives.items())


def _half_life(sampling: Mapping[str, Any]) -> str:
    images, most = sampling.get("half_life_images"), sampling.get("at_most")
    if isinstance(images, int | float):
        return f"{thousands(images)} images" + (f" or {most}" if isinstance(most, str) else "")
    found = _FORMER.search(str(sampling.get("weights")))
    return f"{thousands(float(found[1]))} images" if found else "not recorded"


def _published(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    said = [facts for row in rows if (facts := row.published)]
    yield from sorted({f"Published: {facts.get('source')}. {facts.get('departures')}".strip() for facts in said})
    found = [quoted(row.published, column.metric) for row in rows for column in columns]
    if any(one and one.error is not None and one.interval is None for one in found):
        yield "In brackets beside a published number: its error as it stands there, of which no interval can be made"


def _served(rows: Sequence[Row], labels: Sequence[Label]) -> Iterator[str]:
    """Tell of rows that were served other numbers of images than most, or far fewer than in their papers."""
    pairs = [(label.text, row) for label, row in zip(labels, rows, strict=True) if not row.is_control]
    short = [(text, row.share_of_paper) for text, row in pairs]
    if some := [f"{text} {100 * share:.1g} %" for text, share in short if share is not None and share < SHORT]:
        yield f"Served less than a tenth of the real images of their papers' runs, as a share: {', '.join(some)}"
    if rows[0].spec.budget.unit != "images":
        return
    served = {text: sorted({run.meters.images for run in finished([row])}) for text, row in pairs}
    counts = Counter(n for numbers in served.values() for n in numbers)
    if len(counts) < 2:
        return
    most = max(counts, key=lambda n: (counts[n], -n))
    told = [f"{text} {' or '.join(map(thousands, n))}" for text, n in served.items() if n and n != [most]]
    yield f"Served other than {thousands(most)} real images: {', '.join(told)}"


def _differing(rows: Sequence[Row], labels: Sequence[Label]) -> Iterator[str]:
    for key, others in namesakes(rows).items():
        if len(others) > 1:
            name = next(row.spec.variant for row in rows if key_of(row) == key)
            yield f"{name}: the numbered rows are different runs: {_differences(others)}"
    shared = [{key: value for key, value in row.facts.items() if key.split(".")[1:2] != ["variant"]} for row in rows]
    if differences := _differences(shared, common=True):
        yield f"The rows do not share all else: {differences}"


def _differences(facts: Sequence[Mapping[str, Any]], *, common: bool = False) -> str:
    """Name the keys whose values differ, with the values; `common`: a key that is missing makes no difference."""
    told = []
    for key in sorted(set().union(*facts)):
        values = [plain(of[key]) if key in of else "" if common else "missing" for of in facts]
        where: dict[str, list[str]] = {}
        for number, value in enumerate(values, 1):
            where.setdefault(value, []).append(f"({number})")
        where.pop("", None)
        if len(where) > 1:
            shown = [value[:12] + ("" if common else f" in {' '.join(at)}") for value, at in where.items()]
            told.append(f"{key} is {', '.join(shown)}")
    return "; ".join(told)


def _runs(rows: Sequence[Row], labels: Sequence[Label], columns: Sequence[Column]) -> Iterator[str]:
    """Tell of runs that did not reach the end, and of those that did but lack a value."""
    whole: dict[tuple[str, str], list[str]] = {}  # rows without any value, by metric and reason
    told: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for index, (label, row) in enumerate(zip(labels, rows, strict=True)):
        for gap in _gaps(row, {column: column.scores[index] for column in columns}):
            if not gap.number and len(gap.runs) == len(row.scored):
                whole.setdefault((gap.metric, gap.reason), []).append(label.text)
            told.setdefault((gap.metric, gap.reason), []).append((f"{label.text} {seeds_of(gap.runs)}", gap.number))
    for (metric, reason), each in told.items():
        names = whole.get((metric, reason), [])
        if len(names) == len(each) > 1:
            yield f"No {metric} ({reason}): {', '.join(names)}"
        else:
            yield from (f"{runs}: no {metric} ({reason}){number}" for runs, number in each)
    for label, row in zip(labels, rows, strict=True):
        ends: dict[str, list[RunRecord]] = {}
        for run in row.runs:
            if run.status != "done":
                reason = brief(last_line(run.error), 200)
                status = "stopped" if run.is_open else run.status
                ends.setdefault(status + (f" ({reason})" if reason else ""), []).append(run)
        for end, runs in ends.items():
            yield f"{label.text} {seeds_of(runs)}: {end}"


def seeds_of(runs: Sequence[RunRecord]) -> str:
    """Name the seeds of runs."""
    return f"seed{'s' if len(runs) > 1 else ''} {', '.join(str(run.spec.seed) for run in runs)}"


class _Gap(NamedTuple):
    """Runs of one row that lack a value for one reason. `number`: how many of its runs have it, where some do."""

    metric: str
    reason: str
    runs: Sequence[RunRecord]
    number: str


def _gaps(row: Row, scores: Mapping[Column, Score | None]) -> Iterator[_Gap]:
    """Tell of runs that count but lack a value which others have, or which they were asked for."""
    missed = {name for run in row.scored for name in run.unscored}
    for name in sorted(missed | {column.metric for column in scores}):
        held: list[Score | None] = [score for column, score in scores.items() if column.metric == name and score]
        if not held and name in row.scores:  # in a column that is not shown
            continue
        for score in held or [None]:
            reasons: dict[str, list[RunRecord]] = {}
            for run in row.scored:
                reason = run.unscored.get(name)
                if (score and run.spec.seed in score.by_seed) or (score is None and reason in (None, NOT_TRAINED)):
                    continue
                reasons.setdefault(reason or "not asked for", []).append(run)
            number = f", {len(score.by_seed)} of {len(row.scored)} seeds used" if score else ""
            for reason, runs in reasons.items():
                yield _Gap(name, reason, runs, number)


def timed(rows: Sequence[Row], labels: Sequence[Label]) -> Iterator[str]:
    """Tell on which device time and memory were measured, where a table has several, or a run changed its own."""
    places: dict[str, dict[str, None]] = {}
    in_part = False
    for row, label in zip(rows, labels, strict=True):
        if row.is_control or not row.scored:
            continue
        few = 0 < len(row.timed) < len(row.scored)
        in_part |= few
        told = _place_of(row.timed[0]) if row.timed else "several, not told"
        places.setdefault(told, {})[f"{label.text} ({seeds_of(row.timed)})" if few else label.text] = None
    if len(places) > 1 or in_part:
        told = "; ".join(f"on {place}: " + ", ".join(names) for place, names in places.items())
        yield f"time and memory: {told}"
    for row, label in zip(rows, labels, strict=True):
        for run in row.runs:
            if devices := moved_between(run):
                begun, later = devices[0], ", ".join(devices[1:])
                yield f"{label.text}, seed {run.spec.seed}: begun on {begun}, continued on {later}"


def _place_of(run: RunRecord) -> str:
    shared = at_once(run)
    return device_of(run) + (f", {shared} runs at a time" if shared > 1 else "")


def _makers(rows: Sequence[Row]) -> Iterator[str]:
    """Tell with which versions and on which machine the runs were made, once for all that share them."""
    made: dict[str, None] = {}
    for run in (run for row in rows for run in row.runs):
        versions, machine = (run.provenance.get(name) for name in ("versions", "machine"))
        if isinstance(versions, Mapping) and isinstance(machine, Mapping):
            tools = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            where = f"{machine.get('system')} {machine.get('processor')}, {machine.get('device')}"
            made[f"Made with {tools} on {where}, {run.provenance.get('threads')} threads a run."] = None
    yield from made
