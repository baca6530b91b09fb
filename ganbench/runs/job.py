"""A job: one run to be made, in plain values, and what is left to do of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganbench.contract.types import UNAVAILABLE
from ganbench.results.record import FINAL, RunRecord, RunSpec
from ganbench.runs.settings import Settings


@dataclass(frozen=True)
class Job:
    """One run to be made, in plain values, so that another process or machine can make it.

    `size`: as it was asked for, 0 for the data set's own. `origins`: names and distributions of the plugins that it
    needs, without which any may be loaded. `taken`: names like those of its metrics' values that are other metrics'.
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


def is_complete(record: RunRecord | None, job: Job) -> bool:
    """Return whether nothing is left to do for a job; a run of an older harness is left as it ended."""
    if record is None or record.status not in FINAL:
        return False
    return record.spec.is_stale or record.status == "diverged" or not unscored_metrics(record, job)


def unscored_metrics(record: RunRecord, job: Job) -> list[str]:
    """Return the metrics of a job that a finished record has no value for, under as many samples as are asked for."""

    def scored(name: str) -> bool:
        if name in record.unscored and not record.unscored[name].startswith(UNAVAILABLE):
            return True
        return any(value.protocol.get("n_fake", job.samples) == job.samples for value in record.values.get(name, []))

    return [name for name in job.metrics if not scored(name)]
