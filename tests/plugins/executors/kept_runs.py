"""What two runs of the same numbers have in common, wherever they were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ganbench.results.store import ResultStore
from ganbench.runs.executors.local import run_all


def kept(results: Path, by: str = "variant") -> dict[Any, Any]:
    """Return of each run in a folder what is to be the same to the last digit, by a part of its spec."""
    store, found = ResultStore(results), {}
    for record in store.records()[0]:
        curve = [mark.values for mark in record.curve]
        meters = replace(record.meters, seconds=0.0, peak_bytes=0)
        traces = {name: array.tolist() for name, array in store.traces(record).items() if "second" not in name}
        facts = (record.status, record.values, curve, meters, record.checksums.get("weights"), traces)
        found[getattr(record.spec, by)] = facts
    return found


def made_here(jobs: Any, results: Path, by: str = "variant") -> dict[Any, Any]:
    """Return what the local executor makes of jobs."""
    for _ in run_all(jobs, results, parallel=2, threads=1):
        pass
    return kept(results, by)
