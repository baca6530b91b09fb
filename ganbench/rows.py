"""Rows of a report: runs that differ in nothing but the seed, and statistics over them. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ganbench.record import RunRecord, RunSpec
from ganbench.types import Value

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """One metric under one protocol, by seed."""

    metric: str
    by_seed: Mapping[int, Value]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What all these values were measured under."""
        return self._any.protocol

    @property
    def protocol_hash(self) -> str:
        """Eight hexadecimal digits that name the protocol."""
        return self._any.protocol_hash

    @property
    def higher_is_better(self) -> bool | None:
        """Which direction is better, None where neither is."""
        return self._any.higher_is_better

    @cached_property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(value.value for value in self.by_seed.values())

    @cached_property
    def half_width(self) -> float | None:
        """Half the width of the 95 % Student-t interval of the mean; None for one seed."""
        n = len(self.by_seed)
        if n < 2:
            return None
        from scipy.special import stdtrit  # scipy.stats says the same but takes a second to import

        deviation = statistics.stdev(value.value for value in self.by_seed.values())
        return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / n**0.5

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def reference(self) -> float | None:
        """What real data score under this protocol, the mean where seeds drew different ones."""
        return mean_of(value.reference for value in self.by_seed.values())

    @property
    def _any(self) -> Value:
        return next(iter(self.by_seed.values()))


@dataclass(frozen=True)
class Row:
    """Runs whose specs differ in nothing but the seed. `scored`: those whose numbers count."""

    runs: Sequence[RunRecord]
    scored: Sequence[RunRecord]

    @property
    def spec(self) -> RunSpec:
        """The spec of the first run."""
        return self.runs[0].spec

    @cached_property
    def options(self) -> str:
        """What the user set, as canonical text: `clip=0.1 lr=0.0002`."""
        return plain_text(self.spec.options)

    @property
    def done(self) -> int:
        """How many runs reached the end of the budget."""
        return sum(run.status == "done" for run in self.runs)

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(run.status == "diverged" for run in self.runs)

    @property
    def failed(self) -> int:
        """How many runs raised an error or were killed."""
        return len(self.runs) - self.done - self.diverged

    @cached_property
    def scores(self) -> dict[str, list[Score]]:
        """Scores by metric, one a protocol, in the order in which the records hold them."""
        found: dict[str, dict[str, dict[int, Value]]] = {}
        for run in self.scored:
            for metric, values in run.values.items():
                for value in values:
                    found.setdefault(metric, {}).setdefault(value.protocol_hash, {})[run.spec.seed] = value
        return {metric: [Score(metric, seeds) for seeds in found[metric].values()] for metric in sorted(found)}

    @cached_property
    def meters(self) -> dict[str, float | None]:
        """Means of the meters; None where no run counts or a player does not exist."""
        spent = [run.meters for run in self.scored]
        return {
            "images": mean_of(meters.images for meters in spent),
            "d_updates": mean_of(meters.updates.get("D") for meters in spent),
            "g_updates": mean_of(meters.updates.get("G") for meters in spent),
            "flops": mean_of(meters.flops for meters in spent),
            "seconds": mean_of(meters.seconds for meters in spent),
            "peak_bytes": mean_of(meters.peak_bytes for meters in spent),
        }


METERS = ("images", "d_updates", "g_updates", "flops", "seconds", "peak_bytes")


def rows(records: Iterable[RunRecord], *, runs: bool = False) -> list[Row]:
    """Group records into rows, or make a row of every run.

    Runs of one name whose data, options or plugin code differ stand in rows of their own and are never averaged.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.spec.seed):
        identity = json.dumps({**asdict(record.spec), "seed": record.spec.seed if runs else None}, sort_keys=True)
        groups.setdefault(identity, []).append(record)
    ordered = sorted(groups.items(), key=lambda group: (*_rank(group[1][0].spec), group[0]))
    return [Row(group, group if runs else [run for run in group if run.status == "done"]) for _, group in ordered]


def _rank(spec: RunSpec) -> tuple[Any, ...]:
    budget = (spec.budget.unit, spec.budget.amount)
    place = (spec.dataset, spec.size, spec.backbone, spec.batch, budget, spec.precision, spec.preset, spec.data)
    return (*place, spec.variant, plain_text(spec.options), spec.seed)


def plain_text(values: Mapping[str, Any]) -> str:
    """Write a mapping as `key=value key=value`, sorted, nested keys joined by dots."""
    return " ".join(f"{key}={plain(value)}" for key, value in sorted(flatten(values).items()))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one level, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plain(value: Any) -> str:
    """Write one value as JSON, without quotes where it is a word."""
    if isinstance(value, str) and value and not any(mark.isspace() or mark in '="' for mark in value):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def mean_of(numbers: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are there, None if none is; whole means are integers."""
    known = [number for number in numbers if number is not None]
    if not known:
        return None
    mean = statistics.fmean(known)
    return int(mean) if all(isinstance(number, int) for number in known) and mean.is_integer() else mean
