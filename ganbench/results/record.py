"""What is kept of a run: its specification and its record. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from ganbench import NUMBERS
from ganbench.contract.types import Value, digest
from ganbench.training.budget import Budget, Meters

SCHEMA = 3
Status = Literal["done", "diverged", "error", "killed"]
NOT_TRAINED = "a control is not trained"
"""Why a control has no value of a metric that looks at training."""
UNFINISHED = "no end of this run was recorded: it is still running, or it was killed"
"""What the record of a run says until its end."""
STOPPED = "stopped on request; the same command continues it"
"""What the record of a run says that was asked to stop."""
FINAL: frozenset[str] = frozenset({"done", "diverged"})
"""Statuses that the same command does not try again."""


@dataclass(frozen=True)
class RunSpec:
    """What defines the numbers of a run; two equal specs give the same run.

    `options`: those that differ from their defaults. `config`: all resolved options of variant, backbone and data set,
    by kind. `data`: fingerprint of the data's content. `code`: hash of what the plugins of the variant and the backbone
    execute, and that of the data set where it does not come with ganbench. `preset`: the comparison of the literature
    that the run is part of, and the scale of its budget. `numbers`: `ganbench.NUMBERS` of the harness that made it.
    `compiled`: whether its steps were compiled, which rounds otherwise.
    """

    variant: str
    dataset: str
    backbone: str
    budget: Budget
    seed: int
    size: int
    batch: int
    precision: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    preset: str = ""
    numbers: int = field(default_factory=lambda: NUMBERS)
    compiled: bool = False

    def content(self) -> dict[str, Any]:
        """Return all of the above by name, in plain values."""
        return {name: getattr(self, name) for name in _SPEC} | {
            "budget": {"amount": self.budget.amount, "unit": self.budget.unit}
        }

    @cached_property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the hash of everything above."""
        content = self.content()
        if not self.preset:  # so that runs keep the names they had before there were presets
            del content["preset"]
        if not self.compiled:  # likewise
            del content["compiled"]
        return digest(content)[:16]

    @property
    def shown_options(self) -> Mapping[str, Any]:
        """What the user set, `compile` among it."""
        return {**self.options, "compile": "on"} if self.compiled else self.options

    @property
    def is_stale(self) -> bool:
        """Whether today's harness gives other numbers for the same seed."""
        return self.numbers != NUMBERS

    @property
    def is_newer(self) -> bool:
        """Whether a newer harness than today's made it."""
        return self.numbers > NUMBERS


_SPEC = tuple(each.name for each in fields(RunSpec))


@dataclass(frozen=True)
class Mark:
    """One evaluation point of the curve: the share of the budget spent, the meters, and the values by metric.

    `raw`: those of the raw weights, where the average is scored as well.
    """

    share: float
    meters: Meters
    values: Mapping[str, Value]
    raw: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """The outcome of a run. Traces of every update lie in the sibling file `….traces.npz`.

    `values`: by metric name, one value a protocol. `unscored`: by metric name, why it has no value. `variant`: facts
    that a report shows (paper, own architecture, defaults of its options). `provenance`: origin of every plugin used,
    versions, machine, threads, device. `checksums`: of the `traces` and the final `weights`, where these were kept.
    `made`: when it was last written, ISO 8601 in UTC. `sampling`: by what was sampled, `raw` or `ema`, how the variant
    made its samples (half-life of the average, statistics of batch norm, labels).
    """

    spec: RunSpec
    status: Status
    error: str = ""
    meters: Meters = field(default_factory=Meters)
    values: Mapping[str, list[Value]] = field(default_factory=dict)
    unscored: Mapping[str, str] = field(default_factory=dict)
    curve: list[Mark] = field(default_factory=list)
    variant: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    made: str = field(default="", compare=False)  # equal runs give equal records
    sampling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def is_open(self) -> bool:
        """Whether the run has no end yet: it is still running, or was stopped on request, or killed with all else."""
        return self.status == "killed" and (self.error == UNFINISHED or self.error.startswith("stopped on request"))


def unscored_key(metric: str, weights: str, *, averaged: bool) -> str:
    """Return the name under which a record keeps why a metric has no value.

    It is the metric's where the weights are those that are sampled unless others are asked for; `averaged`: the run
    keeps an average, so that its raw weights are others.
    """
    return f"{metric} of raw weights" if averaged and weights == "raw" else metric


def metric_and_weights(key: str, run: RunRecord) -> tuple[str, str]:
    """Return the metric and the weights that such a name is of."""
    if key.endswith(" of raw weights"):
        return key.removesuffix(" of raw weights"), "raw"
    return key, "ema" if "ema" in run.sampling else "raw" if "raw" in run.sampling else ""


def richer(old: RunRecord, new: RunRecord) -> RunRecord:
    """Return what is kept where a record of a run would take the place of an earlier one.

    An end is not replaced by a failure, nor by an end that lacks what it has. A failure that came to less than an
    earlier one leaves what was measured then, and says how the run stands now.
    """
    if old.status in FINAL:
        return old if new.status not in FINAL or _lacks(new, old) else new
    if new.status in FINAL or not _lacks(new, old):
        return new
    return replace(old, status=new.status, error=new.error)


def _lacks(new: RunRecord, old: RunRecord) -> bool:
    spent = [(record.meters.images, record.meters.steps, len(record.curve)) for record in (new, old)]
    measured = [
        {(name, v.protocol_hash, v.weights) for name, of in record.values.items() for v in of} for record in (new, old)
    ]
    return spent[0] < spent[1] or not measured[1] <= measured[0]
