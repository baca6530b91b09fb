"""What observers are told: runs, marks and records as immutable copies of what the command knows. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ganbench.contract.observers import Measured, ObservedRun, RunEnded, RunMarked, RunStarted, RunTicked, Spent
from ganbench.contract.types import Value
from ganbench.results.codec import without_blanks
from ganbench.results.record import RunRecord
from ganbench.results.rows import title_of
from ganbench.results.store import ResultStore
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.training.budget import Meters

AT_THE_END = ("nearest", "interpolation", "arithmetic")
"""Pictures of the last mark, beside the samples."""


def frozen(content: Any) -> Any:
    """Return a copy of plain values that nobody can change: mappings behind a proxy, sequences as tuples."""
    if isinstance(content, Mapping):
        return MappingProxyType({str(key): frozen(value) for key, value in content.items()})
    if isinstance(content, list | tuple):
        return tuple(frozen(value) for value in content)
    return str(content) if isinstance(content, Path) else content


def observed_run(job: Job) -> ObservedRun:
    """Return what an observer is told of a run that is to be made."""
    spec = job.spec
    asked = {
        "device": job.device,
        "metrics": job.metrics,
        "marks": job.marks,
        "samples": job.samples,
        "reference": job.reference,
        "score": job.score,
        "repeats": job.repeats,
        "parameters": job.parameters,
    }
    content = {**spec.content(), "budget": str(spec.budget)}
    return ObservedRun(
        spec.id, title_of(spec), spec.variant, spec.dataset, spec.seed, spec.numbers, frozen(content), frozen(asked)
    )


def started(run: ObservedRun, record: RunRecord | None, command: str) -> RunStarted:
    """Return the event of a run's start. `record`: what an earlier command kept of it."""
    return RunStarted(run, command, spent(record.meters if record is not None else Meters()))


def happening(run: ObservedRun, event: Event, store: ResultStore) -> RunTicked | RunMarked | RunEnded | None:
    """Return what an observer is told of news of a run, None of a start or a note."""
    if event.tick is not None:
        return RunTicked(run, event.share, spent(event.tick.meters), frozen(event.tick.losses))
    if event.mark is not None:
        mark = event.mark
        values, raw = (_measured_by_name(of) for of in (mark.values, mark.raw))
        pictures = MappingProxyType(dict(_pictures(event.job, mark.share, store)))
        return RunMarked(run, mark.share, spent(mark.meters), values, raw, pictures)
    return ended(run, event.record) if event.record is not None else None


def ended(run: ObservedRun, record: RunRecord) -> RunEnded:
    """Return the event of a run's end."""
    values = {name: tuple(map(_measured, found)) for name, found in record.values.items()}
    content = {"id": record.spec.id, **asdict(record, dict_factory=without_blanks)}
    return RunEnded(
        run,
        record.status,
        record.error,
        spent(record.meters),
        MappingProxyType(values),
        frozen(record.unscored),
        frozen(content),
    )


def spent(meters: Meters) -> Spent:
    """Return what the meters show."""
    updates: Mapping[str, int] = frozen(meters.updates)
    return Spent(meters.steps, meters.images, updates, meters.flops, meters.seconds, meters.peak_bytes)


def _measured_by_name(values: Mapping[str, Value]) -> Mapping[str, Measured]:
    return MappingProxyType({name: _measured(value) for name, value in values.items()})


def _measured(value: Value) -> Measured:
    return Measured(
        value.value,
        value.protocol_hash,
        frozen(value.protocol),
        value.reference,
        value.higher_is_better,
        value.weights,
    )


def _pictures(job: Job, share: float, store: ResultStore) -> Iterator[tuple[str, bytes]]:
    """Yield the pictures of a mark by name, as far as there are any."""
    folder = store.samples(job.spec)
    files = {"samples": f"{round(100 * share):03d}.png"}
    if share > 1 - 1e-9:
        files |= {name: f"{name}.png" for name in AT_THE_END}
    for name, file in files.items():
        try:
            yield name, (folder / file).read_bytes()
        except OSError:  # a run's picture is no reason to stop
            continue
