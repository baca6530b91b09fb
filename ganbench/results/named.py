"""Rows by names that tell them apart, for figures. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganbench.results.along import Over
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, rows, table_of


def named(records: Iterable[RunRecord], over: Over = "images") -> list[tuple[str, Row]]:
    """Return the rows of records with names that are unique in their table, in the order of tables and rows.

    A name is that of the row; with the numbers of an older harness where a table has several, with the device where
    seconds are compared that were spent on several, and with a number where rows of one name are different runs.
    """
    made: dict[str, list[RunRecord]] = {}
    for record in records:
        made.setdefault(device_of(record) if over == "seconds" else "", []).append(record)
    found = [(device, row) for device in sorted(made) for row in rows(made[device])]
    numbers: dict[tuple[Any, ...], set[int]] = {}
    for _, row in found:
        numbers.setdefault(table_of(row.spec), set()).add(row.spec.numbers)
    order, keys = list(numbers), []
    for device, row in found:
        table = table_of(row.spec)
        older = f" (numbers {row.spec.numbers})" if row.spec.is_stale and len(numbers[table]) > 1 else ""
        keys.append((order.index(table), f"{row.name}{older}{f' on {device}' if len(made) > 1 else ''}"))
    counts, seen, unique = Counter(keys), Counter[tuple[int, str]](), []
    for key, (_, row) in sorted(zip(keys, found, strict=True), key=lambda pair: pair[0][0]):
        seen[key] += 1
        unique.append((key[1] + (f" ({seen[key]})" if counts[key] > 1 else ""), row))
    return unique


def device_of(record: RunRecord) -> str:
    """Return the device that a run was trained on, as far as its record says it."""
    machine = record.provenance.get("machine")
    return str(machine.get("device") or "unknown") if isinstance(machine, Mapping) else "unknown"


def finished(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that have an end."""
    return [run for run in runs if not run.is_open]
