"""Rows of a report: runs that differ in nothing but the seed, and what is said of them. Imports no torch."""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ganbench.contract.types import CONTROL, UNAVAILABLE, Value
from ganbench.results.record import NOT_TRAINED, RunRecord, RunSpec, metric_and_weights
from ganbench.results.statistics import Score, mean_of


@dataclass(frozen=True)
class Row:
    """Runs whose specs differ in nothing but the seed. `scored`: those whose numbers count.

    `weights`: which weights its samples are of, `raw` or `ema`; nothing where its records do not say. Numbers of
    training alone count whatever these are. `mark`: the same where a reader must know. `seeds`: those of its table,
    which are all that its trained rows of today's numbers have.
    """

    runs: Sequence[RunRecord]
    scored: Sequence[RunRecord]
    weights: str = ""
    mark: str = ""
    seeds: frozenset[int] = frozenset()

    @property
    def spec(self) -> RunSpec:
        """The spec of the first run."""
        return self.runs[0].spec

    @cached_property
    def options(self) -> str:
        """What the user set, as canonical text: `clip=0.1 lr=0.0002`."""
        return plain_text(self.spec.shown_options)

    @property
    def name(self) -> str:
        """The variant, what the user set, and which weights are sampled where a reader must know."""
        mark = f" ({self.mark})" if self.mark else ""
        return f"{self.spec.variant} {self.options}".rstrip() + mark

    @property
    def sampling(self) -> Mapping[str, Any]:
        """How the variant made the samples (half-life of the average, statistics of batch norm), as far as is known."""
        return next((run.sampling[self.weights] for run in self.scored if self.weights in run.sampling), {})

    @property
    def complete(self) -> bool:
        """Whether no seed is missing of those that the table has; one that failed is there."""
        return self.seeds <= {run.spec.seed for run in self.runs if not run.is_open}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What rows of one name can differ in, on one level."""
        return flatten({"code": self.spec.code, "config": self.spec.config})

    @property
    def is_control(self) -> bool:
        """Whether it is no trained variant."""
        return any(run.variant.get("family") == CONTROL for run in self.runs)

    @property
    def own_architecture(self) -> bool:
        """Whether the variant brings its own networks; a run that failed early may have left no facts."""
        return any(run.variant.get("own_architecture") is True for run in self.runs)

    @property
    def share_of_paper(self) -> float | None:
        """How much of the images that its paper's runs are served this row was, as a share, where the paper says it."""
        served, of_paper = self.meters["images"], [run.variant.get("paper_images") for run in self.scored]
        if not served or not isinstance(of_paper[0], int) or of_paper[0] < 1:  # a record may hold anything
            return None
        return float(served / of_paper[0])

    @property
    def equals(self) -> str:
        """What the variant is by default, where it says so and has none of its options set."""
        said = self.runs[0].variant.get("equals")
        own = [name for name in self.spec.options if "." not in name]
        return said if isinstance(said, str) and not own else ""

    @property
    def published(self) -> Mapping[str, Any]:
        """What the literature says of this row, nothing where it is no part of a preset."""
        facts = self.runs[0].variant.get("published")
        return facts if isinstance(facts, Mapping) else {}

    @property
    def done(self) -> int:
        """How many runs reached the end of the budget."""
        return sum(run.status == "done" for run in self.runs)

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(run.status == "diverged" for run in self.runs)

    @property
    def stopped(self) -> int:
        """How many runs have no end yet: they were stopped on request, or are still running."""
        return sum(run.is_open for run in self.runs)

    @property
    def failed(self) -> int:
        """How many runs raised an error, or their process died."""
        return len(self.runs) - self.done - self.diverged - self.stopped

    @cached_property
    def scores(self) -> dict[str, list[Score]]:
        """Scores by metric, one a protocol, in the order in which the records hold them."""
        found: dict[str, dict[str, dict[int, Value]]] = {}
        for run in self.scored:
            for metric, values in run.values.items():
                for value in values:
                    if value.weights not in ("", self.weights):
                        continue
                    found.setdefault(metric, {}).setdefault(value.protocol_hash, {})[run.spec.seed] = value
        return {metric: [Score(metric, seeds) for seeds in found[metric].values()] for metric in sorted(found)}

    @cached_property
    def timed(self) -> list[RunRecord]:
        """The runs whose time and memory are averaged: those of one device, and of as many runs on it at a time.

        Of several such groups the largest, of equal ones that of the first seed.
        A run that changed its device has none.
        """
        groups: dict[tuple[str, int], list[RunRecord]] = {}
        for run in self.scored:
            if not moved_between(run):
                groups.setdefault((device_of(run), at_once(run)), []).append(run)
        return max(groups.values(), key=len, default=[])

    @cached_property
    def meters(self) -> dict[str, float | None]:
        """Means of the meters; None where no run counts or a player does not exist. Time and memory are of `timed`."""
        spent, timed = [run.meters for run in self.scored], [run.meters for run in self.timed]
        return {
            "images": mean_of(meters.images for meters in spent),
            "d_updates": mean_of(meters.updates.get("D") for meters in spent),
            "g_updates": mean_of(meters.updates_of_generator for meters in spent),
            "flops": mean_of(meters.flops for meters in spent),
            "seconds": mean_of(meters.seconds for meters in timed),
            "peak_bytes": mean_of(meters.peak_bytes for meters in timed),
        }


def device_of(record: RunRecord) -> str:
    """Return the device that a run was trained on, as far as its record says it."""
    machine = record.provenance.get("machine")
    return str(machine.get("device") or "unknown") if isinstance(machine, Mapping) else "unknown"


def at_once(record: RunRecord) -> int:
    """Return how many runs shared the device of a run, itself included; 0 where its record does not say it."""
    number = record.provenance.get("at_once")
    return number if isinstance(number, int) else 0


def moved_between(record: RunRecord) -> list[str]:
    """Return the devices that a run was made on, one after the other; nothing where it was made on one."""
    devices = record.provenance.get("devices")
    return list(map(str, devices)) if isinstance(devices, list) and len(devices) > 1 else []


METERS = ("images", "d_updates", "g_updates", "flops", "seconds", "peak_bytes")


def rows(records: Iterable[RunRecord], *, runs: bool = False) -> list[Row]:
    """Group records into rows, or make a row of every run; those sampled with two kinds of weights make two rows.

    Runs of one name whose data, options or plugin code differ stand in rows of their own and are never averaged.
    """
    groups: dict[str, list[RunRecord]] = {}
    texts: dict[bytes, str] = {}
    for record in sorted(records, key=lambda record: record.spec.seed):
        content = {**record.spec.content(), "seed": record.spec.seed if runs else None}
        quick = marshal.dumps(content, 2)  # equal bytes mean equal content; unequal ones mean nothing
        if (identity := texts.get(quick)) is None:
            identity = texts[quick] = json.dumps(content, sort_keys=True)
        groups.setdefault(identity, []).append(record)
    ordered = sorted(groups.items(), key=lambda group: (*_rank(group[1][0].spec), group[0]))
    found = [row for _, group in ordered for row in _by_weights(group, runs)]
    if runs:
        return found
    seeds: dict[tuple[Any, ...], set[int]] = {}
    for row in found:
        of_table = seeds.setdefault(table_of(row.spec), set())
        of_table.update(() if row.is_control or row.spec.is_stale else (run.spec.seed for run in row.runs))
    return [replace(row, seeds=frozenset(seeds[table_of(row.spec)])) for row in found]


def _by_weights(group: list[RunRecord], runs: bool) -> list[Row]:
    scored = group if runs else [run for run in group if run.status == "done"]
    kinds = {value.weights for run in scored for values in run.values.values() for value in values} - {""}
    if len(kinds) < 2:
        kind = "".join(kinds)
        return [Row(group, scored, kind, "" if kind == "raw" else kind)]
    return [Row(group, scored, kind, kind) for kind in sorted(kinds, reverse=True)]  # raw, then its average


def table_of(spec: RunSpec) -> tuple[Any, ...]:
    """Return what all rows of one table share."""
    budget = (spec.budget.unit, spec.budget.amount)
    return (spec.dataset, spec.size, spec.backbone, spec.batch, budget, spec.precision, spec.preset, spec.data)


def _rank(spec: RunSpec) -> tuple[Any, ...]:
    return (*table_of(spec), spec.variant, plain_text(spec.shown_options), spec.seed)


def reasons(run: RunRecord) -> dict[tuple[str, str], str]:
    """Return why a run has no value, by metric and by which weights it would be of."""
    return {metric_and_weights(key, run): why for key, why in run.unscored.items()}


def undefined(run: RunRecord, metric: str, weights: str = "") -> str | None:
    """Return why a run that is done has no value of this name and never will; None where it may be had yet.

    `weights`: those of the row, where it has any. A value that a metric gives beside its own (`modes-5`) has the
    reason of the metric.
    """
    for (name, of), why in reasons(run).items():
        (plain_name, _, how), (other, _, others) = metric.partition("@"), name.partition("@")
        if how == others and f"{plain_name}-".startswith(f"{other}-") and (not of or of == weights or not weights):
            return None if why.startswith((UNAVAILABLE, NOT_TRAINED)) else why
    return None


def last_line(error: str) -> str:
    """Return what an error says in one line, where it is a traceback its last."""
    lines = error.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def plain_text(values: Mapping[str, Any]) -> str:
    """Write a mapping as `key=value key=value`, sorted, nested keys joined by dots."""
    return " ".join(f"{key}={plain(value)}" for key, value in sorted(flatten(values).items()))


def title_of(spec: RunSpec) -> str:
    """Name a run for people."""
    return " ".join(filter(None, (spec.variant, plain_text(spec.shown_options), spec.dataset, f"seed {spec.seed}")))


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
