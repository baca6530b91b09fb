"""One run from first step to record, whatever goes wrong: the unit that a process or another machine makes."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

from ganbench.errors import DiskError
from ganbench.files import write_atomically
from ganbench.results.record import FINAL, UNFINISHED, RunRecord, Status
from ganbench.results.store import ResultStore
from ganbench.runs.facts import provenance, variant_facts
from ganbench.runs.job import Job
from ganbench.runs.registry import Registry
from ganbench.runs.run import Listener, Run, Stopped
from ganbench.scoring.samples import NotFinite


def execute(
    job: Job,
    store: ResultStore,
    registry: Registry,
    *,
    threads: int,
    listen: Listener = lambda share, tick, mark: None,
    stopping: Callable[[], bool] = lambda: False,
) -> RunRecord:
    """Carry out one job, or what is left of it, and return its record, which is in the store by then.

    Whatever goes wrong in the run becomes a record with its status; only a disk that refuses writes raises `DiskError`.
    The caller holds the lock of the run.
    """
    store.adopt(job.spec)
    found, run = store.get(job.spec), None
    try:
        if found is not None and found.status in FINAL:
            return Run(job, store, registry, threads).top_up(found)
        opened = found or RunRecord(job.spec, "killed", variant=variant_facts(job, registry))
        made_by = provenance(job, registry, threads)
        store.add(replace(opened, status="killed", error=UNFINISHED, provenance=made_by))  # true until the end
        run = Run(job, store, registry, threads)
        return run.make(listen, stopping)
    except DiskError:
        raise
    except Stopped:
        return _close(job, store, run, "killed", "stopped on request; the same command continues it")
    except NotFinite as error:
        return _close(job, store, run, "diverged", str(error))
    except Exception as error:  # a plugin may fail in any way; it becomes a record and the other runs go on
        log = store.work(job.spec) / "error.txt"
        write_atomically(log, lambda file: file.write(traceback.format_exc().encode()))
        return _close(job, store, run, "error", f"{type(error).__name__}: {error}")


def _close(job: Job, store: ResultStore, run: Run | None, status: Status, error: str) -> RunRecord:
    if run is not None and run.trainer is not None:
        try:
            return run.keep(status, error)
        except DiskError:
            raise
        except Exception as also:  # a device that failed may not give the meters and traces back
            error = f"{error} (and what it had measured is lost: {type(also).__name__}: {also})"
    record = replace(store.get(job.spec) or RunRecord(job.spec, status), status=status, error=error)
    store.add(record)
    return record
