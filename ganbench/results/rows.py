"""Rows of a report: runs that differ in nothing but the seed, and statistics over them. Imports no torch."""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ganbench.contract.types import CONTROL, Value
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.statistics import Score, mean_of


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
        return plain_text(self.spec.shown_options)

    @property
    def name(self) -> str:
        """The variant and what the user set."""
        return f"{self.spec.variant} {self.options}".rstrip()

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
                    found.setdefault(metric, {}).setdefault(value.protocol_hash, {})[run.spec.seed] = value
        return {metric: [Score(metric, seeds) for seeds in found[metric].values()] for metric in sorted(found)}

    @cached_property
    def meters(self) -> dict[str, float | None]:
        """Means of the meters; None where no run counts or a player does not exist."""
        spent = [run.meters for run in self.scored]
        return {
            "images": mean_of(meters.images for meters in spent),
            "d_updates": mean_of(meters.updates.get("D") for meters in spent),
            "g_updates": mean_of(meters.updates_of_generator for meters in spent),
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
    texts: dict[bytes, str] = {}
    for record in sorted(records, key=lambda record: record.spec.seed):
        content = {**record.spec.content(), "seed": record.spec.seed if runs else None}
        quick = marshal.dumps(content, 2)  # equal bytes mean equal content; unequal ones mean nothing
        if (identity := texts.get(quick)) is None:
            identity = texts[quick] = json.dumps(content, sort_keys=True)
        groups.setdefault(identity, []).append(record)
    ordered = sorted(groups.items(), key=lambda group: (*_rank(group[1][0].spec), group[0]))
    return [Row(group, group if runs else [run for run in group if run.status == "done"]) for _, group in ordered]


def _rank(spec: RunSpec) -> tuple[Any, ...]:
    budget = (spec.budget.unit, spec.budget.amount)
    place = (spec.dataset, spec.size, spec.backbone, spec.batch, budget, spec.precision, spec.preset, spec.data)
    return (*place, spec.variant, plain_text(spec.shown_options), spec.seed)


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
