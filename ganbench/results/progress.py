"""What a sweep writes about itself, for whoever looks from elsewhere: its plan, and how far it is. Imports no torch.

Each sweep has a folder of its own, `<results>/.work/sweeps/<name>`, with `plan.json`, written once, and
`progress.json`, written anew every two seconds. Both are read without trust.
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.process import Process, is_alive, this_process
from ganbench.results.record import Status
from ganbench.results.store import ResultStore

PLAN, PROGRESS = "plan.json", "progress.json"
SILENT = timedelta(minutes=5)
"""A sweep of another machine that gave no sign of life for longer is said to have died."""
STILL = timedelta(seconds=30)
"""One of this machine whose process is there but gave no sign of life for longer is said to stand still."""
KEPT = timedelta(days=7)
"""So long the files of a sweep are kept that did not come to its end."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Number = Finite | Literal["nan", "inf", "-inf"]
"""A number as JSON can hold it."""
Phase = Literal["starting", "training", "scoring", "waiting"]
State = Literal["running", "stopping", "finished", "stopped", "failed", "still", "died"]
Some = TypeVar("Some")


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep is to make. `name`: for people."""

    id: str
    name: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """What a sweep set out to do. `known`: runs of its request that were complete before, which it does not make."""

    process: Process
    started: AwareDatetime
    command: str
    parallel: int
    runs: list[PlannedRun]
    known: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Running:
    """A run that is being made. `waiting`: for another command that makes it.

    `share`: of its budget. `rate`: images a second, lately. `left`: seconds to its end, None where that is not known.
    `losses`: the latest by player. `scores`: of its last mark, those that were asked for.
    """

    id: str
    since: AwareDatetime
    phase: Phase = "starting"
    share: Annotated[float, Field(allow_inf_nan=False, ge=0)] = 0.0
    images: Annotated[int, Field(ge=0)] = 0
    rate: Amount | None = None
    left: Amount | None = None
    losses: Mapping[str, Number] = field(default_factory=dict)
    scores: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """Bytes in use: by the command and all that it has started, by the whole machine, and what that has."""

    command: int
    machine: int
    total: int


@dataclass(frozen=True)
class Progress:
    """How far a sweep was `at` a moment. `ended`, `failed`: by id, how runs ended, and of failures why.

    `left`: seconds to the end of the sweep, None where that is not known. `why`: what ended the sweep, where it failed.
    """

    at: AwareDatetime
    state: Literal["running", "stopping", "finished", "stopped", "failed"] = "running"
    running: list[Running] = field(default_factory=list)
    ended: Mapping[str, Status] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    left: Amount | None = None
    memory: Memory | None = None
    why: str = ""

    def counts(self, plan: Plan) -> dict[str, int]:
        """Return how many runs of a plan are done, diverged, failed, running and waiting."""
        ended = list(self.ended.values())
        failed = ended.count("error") + ended.count("killed")
        running = len(self.running)
        waiting = max(0, len(plan.runs) - len(ended) - running)
        told = {"done": ended.count("done"), "diverged": ended.count("diverged"), "failed": failed}
        return {**told, "running": running, "waiting": waiting}

    def waiting(self, plan: Plan) -> list[PlannedRun]:
        """Return the runs of a plan that have not begun."""
        begun = {run.id for run in self.running} | self.ended.keys()
        return [run for run in plan.runs if run.id not in begun]


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is found. `state`: as it says itself, or `died`, or `still` where it does not move.

    `silent`: seconds since its last sign of life.
    """

    folder: Path
    plan: Plan
    progress: Progress
    state: State
    silent: float

    @property
    def is_over(self) -> bool:
        """Whether nobody is at work on it."""
        return self.state in ("finished", "stopped", "failed", "died")

    @property
    def unfinished(self) -> set[str]:
        """The ids of its runs that the same command would make, or go on with."""
        final = {run for run, status in self.progress.ended.items() if status in ("done", "diverged")}
        return {run.id for run in self.plan.runs} - final


def number(value: float) -> Number:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else str(value)  # type: ignore[return-value]


def folder_of(root: Path) -> Path:
    """Return where the sweeps of a folder of results write about themselves."""
    return root / ".work" / "sweeps"


def open_folder(store: ResultStore, plan: Plan) -> Path:
    """Make the folder of a sweep and write its plan there. Raises `DiskError`."""
    folder = store.folder("sweeps") / f"{plan.started:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    _write(folder / PLAN, plan)
    return folder


def write_progress(folder: Path, progress: Progress) -> None:
    """Write how far a sweep is. Raises `DiskError`."""
    _write(folder / PROGRESS, progress)


def _write(path: Path, content: Plan | Progress) -> None:
    shape: Any = type(content)
    plain = json.dumps(_adapter(shape).dump_python(content, mode="json"), ensure_ascii=False, allow_nan=False)
    text = plain.encode("utf-8", "replace")  # a name or a reason may quote a path that is not valid Unicode
    # News of the moment need not outlast the machine; waiting for the disk each time would hold up others.
    write_atomically(path, lambda file: file.write(text), lasting=False)


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def find_sweeps(root: Path) -> tuple[list[Sweep], list[str]]:
    """Return the sweeps of a folder of results in the order in which they started, and a sentence for each damaged one.

    Raises `DiskError` where the folder cannot be read.
    """
    found, problems = [], []
    for folder in _folders(root):
        try:
            plan = _read(folder / PLAN, Plan)
            progress = _progress(folder, plan)
        except FileNotFoundError:
            continue  # taken away since the folder was listed
        except UserError as error:
            problems.append(str(error))
            continue
        found.append(_found(folder, plan, progress, datetime.now(UTC)))
    return sorted(found, key=lambda sweep: sweep.plan.started), problems


def _progress(folder: Path, plan: Plan) -> Progress:
    try:
        return _read(folder / PROGRESS, Progress)
    except FileNotFoundError:  # it has just begun
        return Progress(plan.started)


def _folders(root: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder_of(root).iterdir() if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return
    except OSError as error:
        raise DiskError(f"cannot read {folder_of(root)}: {error.strerror or error}") from error


def _found(folder: Path, plan: Plan, progress: Progress, now: datetime) -> Sweep:
    silent = max(timedelta(0), now - progress.at)
    state: State = progress.state
    if state in ("running", "stopping"):
        alive = is_alive(plan.process)
        if alive is False or (alive is None and silent > SILENT):
            state = "died"
        elif silent > STILL:
            state = "still"
    return Sweep(folder, plan, progress, state, silent.total_seconds())


def _read(path: Path, shape: Callable[..., Some]) -> Some:
    """Read and validate a file. Raises `FileNotFoundError`, or `UserError` for what it holds."""
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise UserError(f"{path} is damaged: it is no regular file")
        return _adapter(shape).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path} is damaged: {where}: {first['msg'].lower()}") from error
    except RecursionError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def forget(root: Path, ids: Collection[str]) -> None:
    """Remove what sweeps wrote that are over: finished ones, those that `ids` go on with, and old ones."""
    sweeps, _ = find_sweeps(root)
    for sweep in sweeps:
        if sweep.is_over and (sweep.unfinished <= set(ids) or sweep.silent > KEPT.total_seconds()):
            shutil.rmtree(sweep.folder, ignore_errors=True)


def as_json(sweep: Sweep) -> dict[str, Any]:
    """Return all that is known of a sweep, in plain values."""
    plan, progress = sweep.plan, sweep.progress
    return {
        "name": sweep.folder.name,
        "state": sweep.state,
        "silent_seconds": round(sweep.silent, 1),
        "counts": progress.counts(plan),
        "waiting": [run.id for run in progress.waiting(plan)],
        "plan": _adapter(Plan).dump_python(plan, mode="json"),
        "progress": _adapter(Progress).dump_python(progress, mode="json"),
    }


def begin_plan(command: str, parallel: int, runs: list[PlannedRun], known: int) -> Plan:
    """Return the plan of a sweep that this process begins now."""
    return Plan(this_process(), datetime.now(UTC), command, parallel, runs, known)
