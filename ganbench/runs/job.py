"""A job: one run to be made, in plain values, and what is left to do of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganbench.contract.types import UNAVAILABLE, Split, Value
from ganbench.results.record import FINAL, RunRecord, RunSpec, unscored_key
from ganbench.runs.settings import Settings


@dataclass(frozen=True)
class Job:
    """One run to be made, in plain values, so that another process or machine can make it.

    `size`: as it was asked for, 0 for the data set's own. `origins`: names and distributions of the plugins that it
    needs, without which any may be loaded. `taken`: names like those of its metrics' values that are other metrics'.
    `measured`: by metric, what the protocol of its value says if it is the one asked for. `reference`: the split that
    samples are compared with. `score`: what is sampled, `raw` or `ema`, its first the run's own value. `half_life`: of
    averaged weights, in images, where it is not the paper's: none, or a number. `averaged`: whether there is such an
    average. `keep`: shares of the budget at which raw weights are kept besides the end. `at_once`:
    how many runs share its device, itself included. `graphs`: whether steps may be replayed, where there is CUDA.
    `devices`: on how many it is made, from `device` on.
    """

    spec: RunSpec
    dataset: str
    settings: Settings
    metrics: tuple[str, ...]
    extractors: tuple[str, ...]
    marks: int
    marks_metrics: tuple[str, ...]
    samples: int
    plugins: tuple[Path, ...]
    data_root: Path
    weights: Path | None
    device: str
    size: int = 0
    origins: tuple[tuple[str, str], ...] = ()
    taken: tuple[str, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Split = "test"
    score: tuple[str, ...] = ("raw",)
    half_life: float | Literal["paper"] | None = "paper"
    averaged: bool = False
    repeats: int = 1
    keep: tuple[float, ...] = ()
    at_once: int = 1
    graphs: bool = True
    devices: int = 1


def is_complete(record: RunRecord | None, job: Job) -> bool:
    """Return whether nothing is left to do for a job; a run of an older harness is left as it ended."""
    if record is None or record.status not in FINAL:
        return False
    return record.spec.is_stale or record.status == "diverged" or not unscored_metrics(record, job)


def unscored_metrics(record: RunRecord, job: Job, weights: str = "") -> list[str]:
    """Return the metrics of a job that a finished record has no value for, measured as is asked for now.

    `weights`: `raw` or `ema`; by default either that the job scores.
    """
    if not weights:
        lacking = [unscored_metrics(record, job, each) for each in job.score]
        return [name for name in job.metrics if any(name in names for names in lacking)]

    def scored(name: str) -> bool:
        reason = record.unscored.get(unscored_key(name, weights, averaged=job.averaged))
        if reason is not None and not reason.startswith(UNAVAILABLE):
            return True
        wanted = job.measured.get(name, {"n_fake": job.samples})
        return any(
            value.weights in ("", weights)
            and all(value.protocol.get(key, _USUAL.get(key, fact)) == fact for key, fact in _compared(value, wanted))
            for value in record.values.get(name, [])
        )

    return [name for name in job.metrics if not scored(name)]


_USUAL: Mapping[str, Any] = {"repeats": 1, "options": {}}
"""What a protocol means by saying nothing."""


def _compared(value: Value, wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is wanted of a protocol; of code, that of the metric, and only where a value knows it."""
    for key, fact in wanted.items():
        if key == "code":
            known = value.protocol.get("code")
            if isinstance(known, Mapping) and known.get("metric") != fact.get("metric"):
                yield key, fact
        else:
            yield key, fact
