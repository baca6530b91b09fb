"""Looking after a folder of records: what is wrong in it, what of it can go, and what another one adds to it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ganbench.archives import read_archive
from ganbench.contract.types import Value
from ganbench.errors import DiskError, UserError
from ganbench.files import is_held, write_atomically
from ganbench.results.codec import encode, read
from ganbench.results.moving import LOCKS, SAMPLES, make_ignored
from ganbench.results.progress import find_sweeps, folder_of
from ganbench.results.record import FINAL, RunRecord, RunSpec, metric_and_weights, richer
from ganbench.results.store import ResultStore, apart, kept_by_executors, own_traces

Check = Callable[[Path, RunRecord], str | None]
"""Says what is wrong with a file of a run's working folder, or nothing."""
PASSING = (*LOCKS, "news-")
"""How the names of files begin that mean something only while a run is made."""
ON_THE_WAY = "at-*.pt"
"""Weights of a run at shares of its budget, which experiments look at."""
_PICTURES = re.compile(r"seed\d+-[0-9a-f]{8,}" + re.escape(SAMPLES))


def verify(store: ResultStore, check: Check) -> tuple[int, list[str]]:
    """Read all that a folder holds of its runs; return how many records were sound, and a sentence for each fault.

    `check`: looks at the weights and checkpoints of a run.
    """
    records, problems = _readable(store)
    faulty = 0
    for path, record in records:
        found = list(_faults(store, path, record, check))
        found += _damaged_pictures(path.with_suffix(SAMPLES))
        problems += found
        faulty += bool(found)
    return len(records) - faulty, problems


def _readable(store: ResultStore) -> tuple[list[tuple[Path, RunRecord]], list[str]]:
    problems: list[str] = []
    found: list[tuple[Path, RunRecord]] = []
    origin: dict[str, Path] = {}
    for path in sorted(store.files(problems)):
        try:
            record = read(path)
        except FileNotFoundError:
            continue
        except UserError as error:
            if path.name.startswith("seed"):  # a table or a note that lies among the records is none
                problems.append(str(error))
            continue
        if (first := origin.setdefault(record.spec.id, path)) is not path:
            problems.append(f"{path} is a second record of the run in {first}: remove one of them")
        name = store.path(record.spec).name
        if path.name.startswith("seed") and record.spec.id[:8] not in path.name:
            problems.append(f"{path} was edited or renamed: the run that it is of has the name {name}")
        found.append((path, record))
    return found, problems


def _faults(store: ResultStore, path: Path, record: RunRecord, check: Check) -> Iterator[str]:
    traces, ended = path.with_suffix(".traces.npz"), record.status in FINAL
    try:
        # Of a run that goes on, or was killed, the traces may be one step ahead of the record.
        own_traces(traces, record if ended else replace(record, checksums={}))
    except FileNotFoundError:
        if ended and "traces" in record.checksums:
            yield f"{traces} is missing"
    except OSError as error:
        yield f"cannot read {traces}: {error.strerror or error}"
    except UserError as error:
        yield str(error)
    asked = record.variant.get("headline", True)  # a record of before that was noted had some
    if record.status == "done" and asked and not record.values:
        yield f"{path} is of a run that is done, but holds no value"
    work = store.root / ".work" / record.spec.id
    named = [work / name for name in ("final.pt", "checkpoint.pt", "checkpoint-before.pt")]
    for kept in [*named, *sorted(work.glob(ON_THE_WAY))]:
        if kept.exists() and (fault := check(kept, record)) is not None:
            yield fault


def _damaged_pictures(folder: Path) -> Iterator[str]:
    from PIL import Image

    for path in sorted(folder.glob("*.png")):
        try:
            with Image.open(path) as picture:
                picture.verify()
        except FileNotFoundError:
            continue
        except Exception:  # what is no picture fails in many ways
            yield f"{path} is damaged: remove it"


def _strays(store: ResultStore) -> list[Path]:
    """Return the folders of pictures beside which no record stands."""
    folders = {path.parent for path in _all_files(store.root) if _PICTURES.fullmatch(path.parent.name)}
    return sorted(folder for folder in folders if not folder.with_suffix(".json").exists())


# Taking away


@dataclass(frozen=True)
class Rubbish:
    """A file or folder that nothing needs, why, and how many bytes it takes."""

    path: Path
    why: str
    size: int


def rubbish(store: ResultStore, *, stale: bool) -> list[Rubbish]:
    """Find what can go: what was set aside, what killed writes left, working files that no run will go on from.

    `stale`: also all that is kept of runs of an older harness. Weights of other runs stay, because metrics asked for
    later are scored from the final ones and experiments look at all, and so does whatever a run that is being made
    holds.
    """
    found: dict[Path, str] = {}
    records, _ = _readable(store)
    known = {record.spec.id: record for _, record in records}
    for path in _all_files(store.root):
        if path.name.startswith(".") and path.name.endswith(".part"):
            if is_old(path) and not is_held(path):  # else a write may be under way
                found[path] = "left by a write that was killed"
        elif path.name.endswith(".damaged"):
            found[path] = "damaged, set aside"
    found |= dict.fromkeys(_strays(store), "pictures of a run that has no record")
    sweeps = folder_of(store.root)
    others = (sweeps, kept_by_executors(store.root))
    for work in sorted(path for path in _folders(store.root / ".work") if path not in others):
        record = known.get(work.name)
        if store.is_busy(work):
            found = {path: why for path, why in found.items() if work not in path.parents}
        elif record is None:
            found[work] = "work of a run that has no record"
        elif record.status in FINAL:
            for path in sorted(work.glob("checkpoint*.pt")):
                found[path] = "a checkpoint of a run that has ended"
            if record.status == "diverged":
                weights = [work / "final.pt", *work.glob(ON_THE_WAY)]
                found |= dict.fromkeys(filter(Path.exists, weights), "weights of a run that diverged")
    is_over = {sweep.folder: sweep.is_over for sweep in find_sweeps(store.root)[0]}
    for folder in _folders(sweeps):
        if is_over.get(folder, is_old(folder)):  # one that cannot be read may be a newer ganbench's, at work
            found[folder] = "of a sweep that is over"
    for path, record in records if stale else []:
        work = store.root / ".work" / record.spec.id
        if record.spec.is_stale and not record.spec.is_newer and not store.is_busy(work):
            for part in (path, path.with_suffix(".traces.npz"), path.with_suffix(SAMPLES), work):
                if part.exists():
                    found[part] = "of an older ganbench, whose numbers are others"
    inner = {path for path in found if any(parent in found for parent in path.parents)}
    return [Rubbish(path, why, size_of(path)) for path, why in sorted(found.items()) if path not in inner]


def remove(found: list[Rubbish]) -> None:
    """Remove what was found. Raises `DiskError` where the disk refuses."""
    # Records last: without its record nothing would tell that traces and work of a run are to go as well.
    for each in sorted(found, key=lambda each: each.path.suffix == ".json"):
        try:
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"cannot remove {each.path}: {error.strerror or error}") from error


def size_of(path: Path) -> int:
    """Return how many bytes a file, or all files of a folder, have."""
    total = 0
    for file in [path] if path.is_symlink() or not path.is_dir() else _all_files(path):
        with suppress(OSError):
            total += file.lstat().st_size
    return total


def is_old(path: Path) -> bool:
    """Whether a file was not written to in the last hour; one from the future is as old, since a clock was wrong."""
    try:
        return abs(time.time() - path.lstat().st_mtime) > 3600
    except OSError:
        return False


def _all_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not apart(Path(folder, name)))
        yield from (Path(folder, name) for name in sorted(names))


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()] if root.is_dir() else []


# Bringing together


@dataclass(frozen=True)
class Merged:
    """What came of bringing records in: how many are new, better than what was there, and no better."""

    new: int
    better: int
    known: int
    problems: list[str]


def merge(store: ResultStore, sources: list[ResultStore], check: Check) -> Merged:
    """Bring the records of other folders in, with their traces, pictures and working folders; those stay as they are.

    A record takes the place of one of the same run where it is `richer`; where both are done, values that only one has
    are kept side by side. Where both ended in other numbers, what is here stays, and the conflict is told.
    """
    counts = Counter[str]()
    problems: list[str] = []
    for source in sources:
        records, found = _readable(source)
        problems += found
        if not records and not found:
            raise UserError(f"no results in {source.root}")
        for path, record in records:
            old = store.get(record.spec)
            if old is not None and _differ(old, record):
                problems.append(f"{path} and {store.path(old.spec)} are one run with other numbers: the latter is kept")
            wanted = record if old is None else _better(old, record)
            if wanted is old:
                counts["known"] += 1
            elif faults := list(_faults(source, path, record, check)):
                problems += [f"{fault}: the record of {record.spec.id} is left out" for fault in faults]
            else:
                with store.lock(record.spec, blocking=False) as free:
                    if free:
                        _bring(store, source, path, record, None if wanted is record else wanted)
                        counts["new" if old is None else "better"] += 1
                    else:
                        problems.append(f"{path} is left out: another command is at work on its run")
    return Merged(counts["new"], counts["better"], counts["known"], problems)


def bring_on(store: ResultStore, source: ResultStore, spec: RunSpec, check: Check) -> list[str]:
    """Bring in how far a run has come that is made elsewhere, and was begun there from what is here.

    The caller holds its lock. Returns what is wrong with it, a sentence each, and then nothing is brought.
    """
    path = source.path(spec)
    try:
        record = read(path)
    except FileNotFoundError:
        return [f"{path} is missing"]
    except UserError as error:
        return [str(error)]
    if record.spec.id != spec.id:
        return [f"{path} is the record of another run"]
    traces = source.traces_path(spec)
    wrong = [*_faults(source, path, record, check), *_damaged_pictures(path.with_suffix(SAMPLES))]
    if not wrong and traces.exists() and read_archive(traces).owner != spec.id:
        wrong = [f"{traces} does not say that it is of this run"]
    if not wrong:
        _bring(store, source, path, record, None)
        for checkpoint in store.work(spec).glob("checkpoint*.pt") if record.status in FINAL else ():
            with suppress(OSError):  # it takes room alone
                checkpoint.unlink()
    return wrong


def _better(old: RunRecord, new: RunRecord) -> RunRecord:
    if old == new or _differ(old, new):
        return old
    if old.status == new.status == "done":
        held = _numbers(old).keys()
        more = {
            name: [*old.values.get(name, []), *(value for value in of if _key(name, value) not in held)]
            for name, of in new.values.items()
        }
        joined = replace(old, values={**old.values, **more}, sampling={**new.sampling, **old.sampling})
        unscored = {key: why for key, why in old.unscored.items() if not _has(joined, *metric_and_weights(key, old))}
        return old if joined.values == old.values else replace(joined, unscored=unscored)
    return new if richer(old, new) is new else old


def _differ(old: RunRecord, new: RunRecord) -> bool:
    if not {old.status, new.status} <= FINAL:
        return False
    numbers = [_numbers(record) for record in (old, new)]
    shared = numbers[0].keys() & numbers[1].keys()
    return old.status != new.status or any(numbers[0][key] != numbers[1][key] for key in shared)


def _numbers(record: RunRecord) -> dict[tuple[str, str, str], float]:
    return {_key(name, value): value.value for name, of in record.values.items() for value in of}


def _key(name: str, value: Value) -> tuple[str, str, str]:
    return name, value.protocol_hash, value.weights


def _has(record: RunRecord, metric: str, weights: str) -> bool:
    return any(value.weights in ("", weights) or not weights for value in record.values.get(metric, ()))


def _bring(store: ResultStore, source: ResultStore, path: Path, record: RunRecord, joined: RunRecord | None) -> None:
    """Copy what belongs to a run, and its record last; `joined`: the record alone changes, to this one."""
    if joined is not None:
        store.add(joined)
        return
    work, pictures = source.root / ".work" / record.spec.id, store.samples(record.spec)
    places = {work: store.work(record.spec), work / "samples": pictures, path.with_suffix(SAMPLES): pictures}
    try:
        for folder, target in places.items():
            if target == pictures and folder.is_dir():
                make_ignored(pictures)
            for file in _all_files(folder):
                wanted = (
                    file.is_file()
                    and not file.name.startswith(PASSING)
                    and not file.name.endswith((".part", ".damaged"))
                )
                if wanted and not (folder == work and work / "samples" in file.parents):
                    _copy(file, target / file.relative_to(folder))
        traces = path.with_suffix(".traces.npz")
        if traces.is_file():
            _copy(traces, store.traces_path(record.spec))
    except OSError as error:
        raise DiskError(f"cannot copy what {path} belongs to: {error.strerror or error}") from error
    content = encode(record)
    write_atomically(store.path(record.spec), lambda file: file.write(content))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as content:
        write_atomically(target, lambda file: shutil.copyfileobj(content, file))
