"""Tables in Markdown: captions, cells, bold, and the legend of protocols. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ganbench.record import NOT_TRAINED, RunRecord, RunSpec
from ganbench.rows import METERS, Row, Score, flatten, mean_of, plain, plain_text
from ganbench.types import CONTROL

NOTHING = "–"
FEW_SEEDS = 4
_ARROW = {True: " ↑", False: " ↓", None: ""}
_METER_TITLES = ("images", "D updates", "G updates", "FLOPs", "time", "peak memory")

Column = tuple[str, str]
"""A metric and the hash of a protocol."""


def tables(rows: Sequence[Row], *, runs: bool) -> list[str]:
    """Return a table for each data set, size, backbone, batch size, budget, precision and content of the data.

    `rows` are sorted by these. `runs`: each of them is a single run.
    """
    groups = [(key, list(group)) for key, group in groupby(rows, key=lambda row: (_title(row.spec), row.spec.data))]
    titles = [title for (title, _), _ in groups]
    parts = []
    for (title, data), group in groups:
        also = f", data {data[:8] or 'unknown'}" if titles.count(title) > 1 else ""
        parts.append(_table(escape(title + also), group, runs))
    return parts


def _title(spec: RunSpec) -> str:
    size = f"{spec.size} px, " if spec.size else ""
    preset = f", preset {spec.preset}" if spec.preset else ""
    return f"{spec.dataset}, {size}{spec.backbone}, batch {spec.batch}, {spec.budget}, {spec.precision}{preset}"


def _table(title: str, rows: Sequence[Row], runs: bool) -> str:
    columns = sorted({(name, score.protocol_hash) for row in rows for name, of in row.scores.items() for score in of})
    grid = {column: [_score(row, column) for row in rows] for column in columns}
    trained = [None if _is_control(row) else row for row in rows]
    best = {
        column: _clear_winner([score if row else None for score, row in zip(scores, trained, strict=True)])
        for column, scores in grid.items()
    }
    labels = _labels(rows, runs)
    header = ["variant", *(("seed", "status") if runs else ("runs",)), *(_heading(column, grid) for column in columns)]
    lines = []
    for index, row in enumerate(rows):
        run = row.runs[0]
        counts = [str(run.spec.seed), run.status] if runs else [_counts(row)]
        cells = [_cell(grid[column][index], best[column] == index) for column in columns]
        lines.append([labels[index], *counts, *cells, *_meter_cells(row)])
        if said := _published(row):
            cells = [_published_cell(said, name) for name, _ in columns]
            lines.append([f"*{labels[index]}, published*", *[""] * len(counts), *cells, *[""] * len(METERS)])
    references = [mean_of(score.reference for score in grid[column] if score) for column in columns]
    if any(reference is not None for reference in references):
        cells = [NOTHING if reference is None else figure(reference) for reference in references]
        counts = [""] * (2 if runs else 1)
        lines.append(["*real data*", *counts, *cells, *[""] * len(METERS)])
    notes = [*_legend(grid), *_notes(rows, labels, grid)]
    if any(index is not None for index in best.values()):
        notes.append("Bold: the best mean, where its interval is disjoint from the runner-up's.")
    if not runs:
        notes.extend(_seed_note(rows))
    notes.extend(_makers(rows))
    parts = [f"### {title}", _caption(rows, runs), aligned([*header, *_METER_TITLES], lines)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)] if notes else parts)


def _score(row: Row, column: Column) -> Score | None:
    name, protocol = column
    return next((score for score in row.scores.get(name, []) if score.protocol_hash == protocol), None)


def _direction(scores: Iterable[Score | None]) -> bool | None:
    directions = {score.higher_is_better for score in scores if score}
    return directions.pop() if len(directions) == 1 else None


def _clear_winner(scores: Sequence[Score | None]) -> int | None:
    """Return the index of the best mean if its interval is disjoint from the runner-up's, else None."""
    higher = _direction(scores)
    ranking = [(score.mean, index, score) for index, score in enumerate(scores) if score]
    if higher is None or len(ranking) < 2:
        return None
    (_, winner, best), (_, _, second) = sorted(ranking, key=lambda entry: entry[0], reverse=higher)[:2]
    if best.low is None or best.high is None or second.low is None or second.high is None:
        return None
    return winner if (best.low > second.high if higher else best.high < second.low) else None


def _labels(rows: Sequence[Row], runs: bool) -> list[str]:
    """Return the names of rows, numbered where rows of one name and one set of options differ in something else."""
    groups = _namesakes(rows)
    labels = []
    for row in rows:
        others = groups[_name(row)]
        number = f" ({others.index(_facts(row)) + 1})" if len(others) > 1 else ""
        mark = " †" if _own_architecture(row) else ""
        labels.append(escape(_name(row)) + number + mark)
    return labels


def _own_architecture(row: Row) -> bool:
    # A run that failed early may have left no facts about its variant.
    return any(run.variant.get("own_architecture") is True for run in row.runs)


def _published(row: Row) -> Mapping[str, Any]:
    facts = row.runs[0].variant.get("published")
    return facts if isinstance(facts, Mapping) else {}


def _published_cell(said: Mapping[str, Any], metric: str) -> str:
    values = said.get("values")
    value, error = values.get(metric, (None, None)) if isinstance(values, Mapping) else (None, None)
    if value is None:
        return NOTHING
    return f"{value:g}" if error is None else f"{value:g} ± {error:g}"


def _is_control(row: Row) -> bool:
    return any(run.variant.get("family") == CONTROL for run in row.runs)


def _name(row: Row) -> str:
    return f"{row.spec.variant} {row.options}".rstrip()


def _facts(row: Row) -> dict[str, Any]:
    return flatten({"code": row.spec.code, "config": row.spec.config})


def _namesakes(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        group = groups.setdefault(_name(row), [])
        if _facts(row) not in group:
            group.append(_facts(row))
    return groups


def _heading(column: Column, grid: Mapping[Column, Sequence[Score | None]]) -> str:
    name, protocol = column
    several = sum(other == name for other, _ in grid) > 1
    return escape(name) + _ARROW[_direction(grid[column])] + (f" ({protocol})" if several else "")


def _counts(row: Row) -> str:
    if row.done == len(row.runs):
        return str(row.done)
    parts = [f"{row.done}/{len(row.runs)}"]
    parts += [f"{row.diverged} diverged"] if row.diverged else []
    parts += [f"{row.failed} failed"] if row.failed else []
    return ", ".join(parts)


def _cell(score: Score | None, bold: bool) -> str:
    if score is None:
        return NOTHING
    text = figure(score.mean, score.half_width)
    return f"**{text}**" if bold else text


def figure(mean: float, half_width: float | None = None) -> str:
    """Write a mean with as many digits as its interval allows, `12.34 ± 0.56`; without an interval four."""
    if half_width is None:
        return f"{mean:.4g}"
    if not 1e-4 <= max(abs(mean), half_width) < 1e6:
        return f"{mean:.3g} ± {half_width:.2g}"
    if half_width < 1e-6 * abs(mean):
        return f"{mean:.7g} ± {half_width:.1g}"
    decimals = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{round(mean, decimals) + 0.0:.{decimals}f} ± {half_width:.{decimals}f}"


def _meter_cells(row: Row) -> list[str]:
    write = {"flops": _scaled, "seconds": _duration, "peak_bytes": _memory}
    return [NOTHING if (amount := row.meters[name]) is None else write.get(name, _thousands)(amount) for name in METERS]


def _thousands(amount: float) -> str:
    return f"{amount:,.0f}"


def _scaled(amount: float) -> str:
    for power, suffix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if amount >= 10**power:
            return f"{amount / 10**power:.3g}{suffix}"
    return f"{amount:.3g}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def _memory(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"


def _done(rows: Iterable[Row]) -> list[RunRecord]:
    return [run for row in rows for run in row.runs if run.status == "done" and not _is_control(row)]


def _caption(rows: Sequence[Row], runs: bool) -> str:
    budget = rows[0].spec.budget
    served = {run.meters.images for run in _done(rows)}
    amount = f"at least {budget.amount:,.0f}" if len(served) > 1 else _thousands(*served or [budget.amount])
    rounded = " (the budget, rounded up to whole steps)" if len(served) == 1 and budget.amount not in served else ""
    meaning = {
        "images": f"every variant was served {amount} real images{rounded}; "
        "variants with several critic steps made fewer G updates",
        "updates": f"every variant updated G {budget.amount:,.0f} times; "
        "variants with several critic steps were served more real images",
        "flops": f"every variant trained for {_scaled(budget.amount)} FLOPs",
        "seconds": f"every variant trained for {budget.amount:g} s of device time, so that all depends on the machine",
    }[budget.unit]
    seeds = sorted({run.spec.seed for row in rows for run in row.runs})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    shown = f"One row a run, {which}." if runs else f"Means ± half-widths of 95 % Student-t intervals over {which}."
    return f"Budget {budget}: {meaning}. {shown}"


def _legend(grid: Mapping[Column, Sequence[Score | None]]) -> Iterator[str]:
    for (name, protocol), scores in grid.items():
        facts = next(score.protocol for score in scores if score)
        said = escape(plain_text(facts)) or "nothing stated"
        yield f"{escape(name)}{_ARROW[_direction(scores)]}, protocol {protocol}: {said}"


def _notes(rows: Sequence[Row], labels: Sequence[str], grid: Mapping[Column, Sequence[Score | None]]) -> Iterator[str]:
    if any(map(_own_architecture, rows)):
        yield "†: brings its own networks, as its paper prescribes, in place of the backbone."
    sources = {f"{said.get('source')}. {said.get('departures')}" for row in rows if (said := _published(row))}
    yield from (f"Published: {escape(source.strip())}" for source in sorted(sources))
    if controls := [label for label, row in zip(labels, rows, strict=True) if _is_control(row)]:
        yield f"Controls, which are not trained: {', '.join(controls)}."
    for name, others in _namesakes(rows).items():
        if len(others) > 1:
            yield f"{escape(name)}: the numbered rows are different runs: {_differences(others)}."
    shared = [{key: value for key, value in _facts(row).items() if key.split(".")[1] != "variant"} for row in rows]
    if differences := _differences(shared, common=True):
        yield f"The rows do not share all else: {differences}."
    if rows[0].spec.budget.unit == "images":
        served: dict[str, set[int]] = {}
        for label, row in zip(labels, rows, strict=True):
            served.setdefault(label, set()).update(run.meters.images for run in _done([row]))
        if len(set().union(*served.values())) > 1:
            told = ", ".join(f"{label} {' or '.join(map(_thousands, sorted(n)))}" for label, n in served.items() if n)
            yield f"Real images served differ: {told}."
    for index, (label, row) in enumerate(zip(labels, rows, strict=True)):
        yield from _gaps(label, row, {column: scores[index] for column, scores in grid.items()})
        for run in row.runs:
            if run.status != "done":
                reason = escape(_sentence(run.error)[:200])
                yield f"{label} seed {run.spec.seed}: {run.status}" + (f" ({reason})" if reason else "")


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
                yield f"{label} seed {run.spec.seed}: no {escape(name)} ({escape(reason or 'not asked for')}){number}"


def _seed_note(rows: Sequence[Row]) -> Iterator[str]:
    counts = sorted({row.done for row in rows if row.done})
    if counts and counts[0] < FEW_SEEDS:
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield f"n={n} seed{'' if n == '1' else 's'}: too few for significance tests"


def _makers(rows: Sequence[Row]) -> Iterator[str]:
    """Tell with which versions and on which machine the runs were made, once for all that share them."""
    made: dict[str, None] = {}
    for run in (run for row in rows for run in row.runs):
        versions, machine = (run.provenance.get(name) for name in ("versions", "machine"))
        if isinstance(versions, Mapping) and isinstance(machine, Mapping):
            tools = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            where = f"{machine.get('system')} {machine.get('processor')}, {machine.get('device')}"
            made[f"Made with {tools} on {where}, {run.provenance.get('threads')} threads a run."] = None
    yield from map(escape, made)


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table whose columns line up, all but the first set to the right."""
    widths = [max(3, *(len(line[column]) for line in [header, *lines])) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in [header, rule, *lines]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def escape(text: str) -> str:
    """Make text that came from elsewhere stand in a Markdown table as itself, on one line."""
    text = "".join(char if char.isprintable() else " " for char in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", "&#58;//")
    text = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
