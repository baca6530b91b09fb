"""What stands around a Markdown table: caption, legend of protocols, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ganbench.errors import brief
from ganbench.reports.words import escape, quoted, scaled, thousands
from ganbench.results.record import NOT_TRAINED, RunRecord
from ganbench.results.rows import Row, plain, plain_text
from ganbench.results.statistics import Score

ARROW = {True: " ↑", False: " ↓", None: ""}
FEW_SEEDS = 4
SHORT = 0.1
"""A row that was served less than this share of its paper's images is told of."""
STALE = "today's gives other numbers for the same seed, and makes such runs again with `ganbench run --redo stale`"
NEWER = "which gives other numbers for the same seed"

Column = tuple[str, str]
"""A metric and the hash of a protocol."""


def namesakes(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Return the facts of rows by their names, which several may share."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        group = groups.setdefault(row.name, [])
        if row.facts not in group:
            group.append(row.facts)
    return groups


def direction(scores: Iterable[Score | None]) -> bool | None:
    """Return which direction is better where the scores agree on it."""
    directions = {score.higher_is_better for score in scores if score}
    return directions.pop() if len(directions) == 1 else None


def finished(rows: Iterable[Row]) -> list[RunRecord]:
    """Return the runs of trained variants that reached the end."""
    return [run for row in rows for run in row.runs if run.status == "done" and not row.is_control]


def caption(rows: Sequence[Row], runs: bool) -> str:
    """Say what the budget means and what the cells show."""
    budget = rows[0].spec.budget
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
    seeds = sorted({run.spec.seed for row in rows for run in row.runs})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    shown = f"One row a run, {which}." if runs else f"Means ± half-widths of 95 % Student-t intervals over {which}."
    return f"Budget {budget}: {meaning}. {shown}"


def legend(grid: Mapping[Column, Sequence[Score | None]]) -> Iterator[str]:
    """Say of each column what its protocol is."""
    for (name, protocol), scores in grid.items():
        facts = next(score.protocol for score in scores if score)
        said = escape(plain_text(facts)) or "nothing stated"
        yield f"{escape(name)}{ARROW[direction(scores)]}, protocol {protocol}: {said}"


def remarks(rows: Sequence[Row], labels: Sequence[str], grid: Mapping[Column, Sequence[Score | None]]) -> Iterator[str]:
    """Say what a reader must know of rows and runs."""
    if any(row.own_architecture for row in rows):
        yield "†: brings its own networks, as its paper prescribes, in place of the backbone."
    for by_newer, say in ((False, f"an older ganbench; {STALE}"), (True, f"a newer ganbench, {NEWER}")):
        stale = sorted({row.spec.numbers for row in rows if row.spec.is_stale and row.spec.is_newer is by_newer})
        if stale:
            yield f"numbers {' and '.join(map(str, stale))}: made by {say}."
    sources = {f"{said.get('source')}. {said.get('departures')}" for row in rows if (said := row.published)}
    yield from (f"Published: {quoted(source.strip())}" for source in sorted(sources))
    short = [(label, row.share_of_paper) for label, row in zip(labels, rows, strict=True) if not row.is_control]
    if some := [f"{label} {100 * share:.1g} %" for label, share in short if share is not None and share < SHORT]:
        yield (
            f"Short of their papers, whose runs are served ten times as many real images and more (the share of them "
            f"here): {', '.join(some)}."
        )
    if controls := [label for label, row in zip(labels, rows, strict=True) if row.is_control]:
        yield f"Controls, which are not trained: {', '.join(controls)}."
    for name, others in namesakes(rows).items():
        if len(others) > 1:
            yield f"{escape(name)}: the numbered rows are different runs: {_differences(others)}."
    shared = [{key: value for key, value in row.facts.items() if key.split(".")[1:2] != ["variant"]} for row in rows]
    if differences := _differences(shared, common=True):
        yield f"The rows do not share all else: {differences}."
    if rows[0].spec.budget.unit == "images":
        served: dict[str, set[int]] = {}
        for label, row in zip(labels, rows, strict=True):
            served.setdefault(label, set()).update(run.meters.images for run in finished([row]))
        if len(set().union(*served.values())) > 1:
            told = ", ".join(f"{label} {' or '.join(map(thousands, sorted(n)))}" for label, n in served.items() if n)
            yield f"Real images served differ: {told}."
    for index, (label, row) in enumerate(zip(labels, rows, strict=True)):
        yield from _gaps(label, row, {column: scores[index] for column, scores in grid.items()})
        for run in row.runs:
            if run.status != "done":
                reason = quoted(brief(_sentence(run.error), 200))
                status = "stopped" if run.is_open else run.status
                yield f"{label} seed {run.spec.seed}: {status}" + (f" ({reason})" if reason else "")


def _sentence(error: str) -> str:
    lines = error.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


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
            told.append(escape(f"{key} is {', '.join(shown)}"))
    return "; ".join(told)


def _gaps(label: str, row: Row, scores: Mapping[Column, Score | None]) -> Iterator[str]:
    """Tell of runs that count but lack a value which others have, or which they were asked for."""
    missed = {name for run in row.scored for name in run.unscored}
    for name in sorted(missed | {name for name, _ in scores}):
        held: list[Score | None] = [score for (other, _), score in scores.items() if other == name and score]
        for score in held or [None]:
            lacking = [run for run in row.scored if score is None or run.spec.seed not in score.by_seed]
            for run in lacking:
                reason = run.unscored.get(name)
                if score is None and reason in (None, NOT_TRAINED):
                    continue
                number = f", {len(score.by_seed)} of {len(row.scored)} seeds used" if score else ""
                yield f"{label} seed {run.spec.seed}: no {escape(name)} ({quoted(reason or 'not asked for')}){number}"


def seed_note(rows: Sequence[Row]) -> Iterator[str]:
    """Say where there are few seeds."""
    counts = sorted({row.done for row in rows if row.done})
    if counts and counts[0] < FEW_SEEDS:
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield f"n={n} seed{'' if n == '1' else 's'}: too few for significance tests"


def makers(rows: Sequence[Row]) -> Iterator[str]:
    """Tell with which versions and on which machine the runs were made, once for all that share them."""
    made: dict[str, None] = {}
    for run in (run for row in rows for run in row.runs):
        versions, machine = (run.provenance.get(name) for name in ("versions", "machine"))
        if isinstance(versions, Mapping) and isinstance(machine, Mapping):
            tools = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            where = f"{machine.get('system')} {machine.get('processor')}, {machine.get('device')}"
            made[f"Made with {tools} on {where}, {run.provenance.get('threads')} threads a run."] = None
    yield from map(escape, made)
