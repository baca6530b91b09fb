"""What quality costs: what rows came to against what they spent, and who is on the front. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganbench.results.along import Over, amount
from ganbench.results.named import finished, named
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, device_of, table_of
from ganbench.results.statistics import Score, mean_of


@dataclass(frozen=True)
class Cost:
    """What a row came to at the end of its budget, and what that took: means over the seeds that came through.

    `half_width`: of the 95 % Student-t interval, None of one seed. `on_front`: no other row is better at its cost or
    less, nor as good for less. `done`, `runs`: how many runs came through, of how many that have ended. `front`: which
    rows it is compared with, those of one harness, for seconds of one device.
    """

    row: str
    options: str
    cost: float
    value: float
    half_width: float | None
    on_front: bool
    done: int
    runs: int
    table: tuple[Any, ...] = ()
    protocol: str = ""
    front: tuple[Any, ...] = ()


def costs(records: Sequence[RunRecord], metric: str, over: Over = "flops") -> list[Cost]:
    """Return the cost of every trained row that has a metric, by the protocol of its table that was measured last.

    A front is of one table, of rows of one `numbers` of the harness, and for seconds of one device. Rows of which a run
    failed take no part in it, since they may be good by what they leave out; nobody does where no direction is better.
    """
    found: list[tuple[Cost, float | None]] = []
    rows = [(name, row) for name, row in named(records, over) if not row.is_control]
    newest = _newest([row for _, row in rows], metric)
    for name, row in rows:
        table, spent = table_of(row.spec), mean_of(amount(run.meters, over) for run in row.scored)
        score = next((each for each in row.scores.get(metric, ()) if each.protocol_hash == newest.get(table)), None)
        if score is None or not spent:
            continue
        ended = len(finished(row.runs))
        cost = Cost(name, row.options, float(spent), score.mean, score.half_width, False, len(score.by_seed), ended)
        front = (row.spec.numbers, device_of(row.runs[0]) if over == "seconds" else "")
        cost = replace(cost, table=table, protocol=newest[table], front=front)
        found.append((cost, badness(score) if cost.done == cost.runs else None))
    return [replace(cost, on_front=_leads(cost, bad, found)) for cost, bad in found]


def _leads(cost: Cost, bad: float | None, found: Sequence[tuple[Cost, float | None]]) -> bool:
    if bad is None:
        return False
    mine = (cost.table, cost.front)
    others = ((each.cost, its) for each, its in found if (each.table, each.front) == mine and its is not None)
    return not any(c <= cost.cost and b <= bad and (c, b) != (cost.cost, bad) for c, b in others)


def badness(score: Score) -> float | None:
    """Return a number that is the smaller the better: the distance to real data where these are best.

    None where nothing says what is better.
    """
    values = list(score.by_seed.values())
    if any(value.near_reference for value in values) and (reference := score.reference) is not None:
        return mean_of(abs(each.value - (reference if each.reference is None else each.reference)) for each in values)
    return None if score.higher_is_better is None else -score.mean if score.higher_is_better else score.mean


def _newest(rows: Sequence[Row], metric: str) -> dict[tuple[Any, ...], str]:
    """Return by table the protocol that a metric was last measured by, as the first column of its table has it."""
    made: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in rows:
        for score in row.scores.get(metric, ()):
            last = max((run.made for run in row.scored if run.spec.seed in score.by_seed), default="")
            of_table = made.setdefault(table_of(row.spec), {})
            of_table[score.protocol_hash] = max(last, of_table.get(score.protocol_hash, ""))
    return {table: max(sorted(of), key=of.__getitem__) for table, of in made.items()}
