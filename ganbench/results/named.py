"""Rows by names that tell them apart, for figures. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ganbench.contract.types import digest
from ganbench.results.along import Over
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.rows import Row, device_of, plain_text, rows, table_of

_FIELDS = ("dataset", "size", "backbone", "batch", "budget", "precision", "preset", "numbers")
Anything = TypeVar("Anything")


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


def seeds_of(specs: Iterable[RunSpec]) -> dict[str, list[RunSpec]]:
    """Return specs that differ in nothing but the seed by a name for them, in the order of the first of each.

    A name is the variant with what the user set, and what else the rows differ in; with a number where that is no fact
    of the run, but other data or code.
    """
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(row_id(spec), []).append(spec)
    firsts = [of[0] for of in groups.values()]
    differ = [name for name in _FIELDS if len({str(getattr(spec, name)) for spec in firsts}) > 1]
    names = [" ".join([s.variant, plain_text(s.shown_options), *(str(getattr(s, f)) for f in differ)]) for s in firsts]
    names = [" ".join(name.split()) for name in names]
    counts, seen, found = Counter(names), Counter[str](), {}
    for name, of in zip(names, groups.values(), strict=True):
        seen[name] += 1
        found[f"{name} ({seen[name]})" if counts[name] > 1 else name] = of
    return found


def row_id(spec: RunSpec) -> str:
    """Return what specs share that differ in nothing but the seed."""
    return digest({**spec.content(), "seed": None})


def short_rows(rows: Mapping[str, Anything]) -> dict[str, Anything]:
    """Return rows, named as by `seeds_of`, by the variant and what not all rows of that variant have in their names."""
    of: dict[str, list[set[str]]] = {}
    for name in rows:
        of.setdefault(name.split()[0], []).append(set(name.split()))
    shared = {variant: set.intersection(*names) for variant, names in of.items()}
    kept = {name: [fact for fact in name.split()[1:] if fact not in shared[name.split()[0]]] for name in rows}
    return {" ".join([name.split()[0], *kept[name]]): row for name, row in rows.items()}


def finished(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that have an end."""
    return [run for run in runs if not run.is_open]
