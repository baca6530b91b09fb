"""One odd record is one line under the table: what cannot be shown is found and left out, the rest is shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from ganbench.errors import UserError, brief
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows

T = TypeVar("T")


def guarded(records: Sequence[RunRecord], show: Callable[[Sequence[RunRecord]], T]) -> tuple[T, list[str]]:
    """Show records, or those of them that can be shown, and return one sentence for each that cannot.

    Whatever `show` raises but a `UserError` is taken for the fault of records: first of one alone, then of what one
    row averages. Raises that error where even the rest cannot be shown together.
    """
    problems: list[str] = []
    try:
        return show(records), problems
    except UserError:
        raise
    except Exception:
        records = [record for (record,) in _sound([(record,) for record in records], show, problems)]
    try:
        return show(records), problems
    except UserError:
        raise
    except Exception:
        groups = [tuple(row.runs) for row in rows(records)]
        return show([record for group in _sound(groups, show, problems) for record in group]), problems


def _sound(
    groups: Sequence[tuple[RunRecord, ...]], show: Callable[[Sequence[RunRecord]], T], problems: list[str]
) -> Iterator[tuple[RunRecord, ...]]:
    """Yield the groups that can be shown; halves are tried first, so that one among many is found soon."""
    if not groups:
        return
    try:
        show([record for group in groups for record in group])
        yield from groups
    except Exception as error:
        if len(groups) == 1:
            problems.append(sentence(groups[0], error))
            return
        for half in (groups[: len(groups) // 2], groups[len(groups) // 2 :]):
            yield from _sound(half, show, problems)


def sentence(group: Sequence[RunRecord], error: Exception) -> str:
    """Say which runs cannot be shown, and why."""
    spec = group[0].spec
    seeds = ", ".join(str(record.spec.seed)[:20] for record in group)
    name = f"{spec.variant} on {spec.dataset}, {'seed' if len(group) == 1 else 'seeds'} {seeds}"
    reason = brief((str(error).splitlines() or [""])[0], 120)
    return f"{name[:200]}: its record cannot be shown ({type(error).__name__}: {reason})"


def warn(problems: Iterable[str]) -> None:
    """Tell of them where the report is data alone."""
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
