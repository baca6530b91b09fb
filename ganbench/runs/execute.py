"""One run from first step to record, whatever goes wrong: the unit that a process or another machine makes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from ganbench.contract.types import UNAVAILABLE
from ganbench.errors import DiskError, UserError, named
from ganbench.results.record import FINAL, STOPPED, UNFINISHED, RunRecord, Status
from ganbench.results.store import ResultStore
from ganbench.runs.blame import keep_traceback
from ganbench.runs.crew import Lost
from ganbench.runs.facts import files_of, provenance, variant_facts
from ganbench.runs.job import Job, unscored_metrics
from ganbench.runs.looks import lacks_looks
from ganbench.runs.registry import Kind, Registry
from ganbench.runs.run import Listener, Run
from ganbench.runs.stopping import Stopped
from ganbench.scoring.samples import NotFinite
from ganbench.training.guard import Unfair


def execute(
    job: Job,
    store: ResultStore,
    registry: Registry,
    *,
    threads: int,
    listen: Listener = lambda share, tick, mark: None,
    stopping: Callable[[], bool] = lambda: False,
    at_once: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> RunRecord:
    """Carry out one job, or what is left of it, and return its record, which is in the store by then.

    Whatever goes wrong in the run becomes a record with its status; only a disk that refuses writes raises `DiskError`.
    The caller holds the lock of the run. `stopping`: asked between steps; `at_once`: the block in which a request to
    stop may raise `Stopped`, while plugins and data are loaded and while the run is scored.
    """
    store.adopt(job.spec)
    found, run = store.get(job.spec), None
    try:
        if found is not None and found.status in FINAL and not lacks_looks(job, found, store):
            with at_once():
                return _top_up(job, store, registry, threads, found)
        require_code(job, registry)
        opened = found or RunRecord(job.spec, "killed", variant=variant_facts(job, registry))
        made_by = provenance(job, registry, threads)
        store.add(replace(opened, status="killed", error=UNFINISHED, provenance=made_by))  # true until the end
        with at_once():
            opened_run = Run(job, store, registry, threads, at_once=at_once)
            require_data(job, opened_run.bench.data.fingerprint)
        run = opened_run
        return run.make(listen, stopping)
    except DiskError:
        raise
    except Lost as error:
        return _close(job, store, run, error.status, str(error))
    except Stopped:
        return _close(job, store, run, "killed", STOPPED)
    except NotFinite as error:
        return _close(job, store, run, "diverged", str(error))
    except Changed as error:
        return _close(job, store, run, "error", str(error))
    except Exception as error:  # a plugin may fail in any way; it becomes a record and the other runs go on
        where = keep_traceback(error, files_of(job, registry), store.work(job.spec) / "error.txt")
        told = "" if isinstance(error, Unfair) else where
        return _close(job, store, run, "error", f"{named(error)}{told}")


class Changed(Exception):
    """What would be trained is not what was planned."""


def require_code(job: Job, registry: Registry) -> None:
    """Raise `Changed` where a plugin executes something else than when the run was planned."""
    names: dict[Kind, str] = {
        "variant": job.spec.variant,
        "backbone": job.spec.backbone,
        "dataset": job.dataset.partition(":")[0],
    }
    for kind, name in names.items():
        planned, entry = job.spec.code.get(kind), registry.get(kind, name)
        if planned is not None and entry.code != planned:
            raise Changed(
                f"the code of the {kind} {name!r} ({entry.path}) changed after this run was planned, so nothing was "
                f"trained: give the command again"
            )


def require_data(job: Job, found: str) -> None:
    """Raise `Changed` where data are not those for which the run was planned."""
    if job.spec.data and found != job.spec.data:
        raise Changed(
            f"the images of {job.dataset} changed after this run was planned (fingerprint {found[:12]} instead of "
            f"{job.spec.data[:12]}), so nothing was trained: give the command again"
        )


def _top_up(job: Job, store: ResultStore, registry: Registry, threads: int, found: RunRecord) -> RunRecord:
    """Score what a finished run has no value for; where that fails, the run stays what it is, without that value."""
    names = unscored_metrics(found, job) if found.status == "done" else []
    if not names:
        return found
    try:
        require_code(job, registry)
        run = Run(job, store, registry, threads)
        require_data(job, run.bench.data.fingerprint)
        return run.top_up(found)
    except DiskError:
        raise
    except Exception as error:  # a plugin may fail in any way
        told = str(error)
        if not isinstance(error, UserError | Changed):
            told = named(error) + keep_traceback(error, files_of(job, registry), store.work(job.spec) / "error.txt")
        reason = f"{UNAVAILABLE}asked for after the run, and it could not be scored: {told}"
        return store.add(replace(found, unscored={**found.unscored, **dict.fromkeys(names, reason)}))


def _close(job: Job, store: ResultStore, run: Run | None, status: Status, error: str) -> RunRecord:
    if run is not None and run.trainer is not None:
        try:
            return run.keep(status, error)
        except DiskError:
            raise
        except Exception as also:  # a device that failed may not give the meters and traces back
            error = f"{error} (and what it had measured is lost: {type(also).__name__}: {also})"
    return store.add(replace(store.get(job.spec) or RunRecord(job.spec, status), status=status, error=error))
