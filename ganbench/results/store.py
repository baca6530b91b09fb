"""Results on disk: one JSON record and one file of traces a run, written whole or not at all. Imports no torch."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ganbench.archives import Arrays, Unusable, checksum_of, read_archive, write_archive
from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.codec import NewerRecord, decode, encode, id_in, load, read, read_lean
from ganbench.results.lease import NAME as LEASE, Lease, is_held
from ganbench.results.moving import SAMPLES, Former, Taken, bring_samples, make_ignored, move, move_samples
from ganbench.results.record import RunRecord, RunSpec, richer
from ganbench.results.schemas import Lookup, is_dated, shipped
from ganbench.results.sharing import Shared, uncollected

# Windows takes these for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_PART_LENGTH = 80
LOOK_SECONDS = 0.5
"""How often a lease is looked at that another process holds."""

APART = ".ganbench-apart"
"""A file of this name marks a folder of results as one of its own: whoever asks for a folder above does not see it."""

Found = tuple[RunRecord, bytes]
"""A record, and the text of its curve where that was asked for."""


class ResultStore:
    """The records, traces, pictures and working folders below one folder, which is made by the first write.

    `lookup`: what is known of plugins, to find their runs that an older schema kept.
    """

    def __init__(self, root: Path, lookup: Lookup = shipped) -> None:
        self.root, self._lookup = root, lookup
        try:
            if root.exists() and not root.is_dir():
                raise UserError(f"results folder {root} is a file: name a folder")
        except OSError as error:
            raise DiskError(f"cannot read results folder {root}: {error.strerror or error}") from error

    def path(self, spec: RunSpec) -> Path:
        """Return where the record of a run lies: `<dataset>/<backbone>/<budget>/<variant>/seed<k>-<id8>.json`."""
        folder = self.root.joinpath(*map(_safe, (spec.dataset, spec.backbone, str(spec.budget), spec.variant)))
        return folder / f"seed{spec.seed}-{spec.id[:8]}.json"

    def traces_path(self, spec: RunSpec) -> Path:
        """Return where the traces of a run lie, beside its record."""
        return self.path(spec).with_suffix(".traces.npz")

    def samples(self, spec: RunSpec) -> Path:
        """Return where the pictures of a run lie, beside its record; there need not be any."""
        return self.path(spec).with_suffix(SAMPLES)

    def make_samples(self, spec: RunSpec) -> Path:
        """Make and return the folder for the pictures of a run; git ignores it."""
        folder = self.samples(spec)
        make_ignored(folder)
        return folder

    def work(self, spec: RunSpec) -> Path:
        """Make and return the folder for checkpoints, weights and logs of a run; git ignores it."""
        return self.folder(spec.id)

    def folder(self, name: str) -> Path:
        """Make and return a folder among those of the runs' work."""
        folder = self.root / ".work" / name
        try:
            make_ignored(folder.parent)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error
        return folder

    def get(self, spec: RunSpec) -> RunRecord | None:
        """Return the record of a run, or None where there is none; of a damaged one it warns and returns None.

        A record of an older schema lies elsewhere and is found as well. Raises `UserError` for a record that a newer
        ganbench wrote, `DiskError` for one that may not be read.
        """
        path = self.path(spec)
        try:
            record = read(path)
        except FileNotFoundError:
            former = self._former(spec)
            return None if former is None else former.record
        except (DiskError, NewerRecord):
            raise
        except UserError as error:
            warnings.warn(f"{error}; the run counts as not made yet", stacklevel=2)
            return None
        if record.spec.id != spec.id:
            warnings.warn(f"{path} is the record of another run; this one counts as not made yet", stacklevel=2)
            return None
        return record

    def find(self, spec: RunSpec) -> RunRecord | None:
        """Return the record of a run, or where there is none the latest that an older harness made of it."""
        specs = (replace(spec, numbers=number) for number in range(spec.numbers, 0, -1))
        return next((record for older in specs if (record := self.get(older)) is not None), None)

    def adopt(self, spec: RunSpec) -> None:
        """Bring what an earlier ganbench kept of a run to where it is looked for now; the caller holds its lock."""
        if (former := self._former(spec)) is not None:
            with suppress(Taken):
                move(former, self.path(spec))
        bring_samples(self.path(spec), spec.id)

    def _former(self, spec: RunSpec) -> Former | None:
        """Look for the record of a run under the name that an older schema gave it, for one that ended if there is."""
        found = []
        for path in sorted(self.path(spec).parent.glob(f"seed{spec.seed}-*.json")):
            try:
                content = load(path)
                record = decode(content, path, self._lookup) if is_dated(content) else None
                if record is not None and record.spec.id == spec.id != id_in(content):
                    found.append(Former(path, id_in(content), record))
            except (UserError, FileNotFoundError):
                continue
        return min(found, key=lambda former: former.rank, default=None)

    def add(self, record: RunRecord, traces: Mapping[str, np.ndarray] | None = None) -> RunRecord:
        """Keep a record, its traces first (None keeps those that are there), and return what is kept now.

        That is the earlier record where this one is poorer, see `richer`. A damaged record is set aside as
        `….json.damaged`, and one of another run moved to a longer name. Raises `ValueError` or `TypeError` for a
        record that could not be read back (NaN, infinity, wrong types).
        """
        if traces is not None:
            record = replace(record, checksums={**record.checksums, "traces": checksum_of(traces)})
        content, path = encode(record), self.path(record.spec)
        try:
            old = read(path)
            if old.spec.id != record.spec.id:
                _make_room(path, old, record.spec.id)
            elif (kept := richer(old, record)) is old:
                return old
            elif kept is not record:
                record, traces, content = kept, None, encode(kept)
        except FileNotFoundError:
            pass
        except (DiskError, NewerRecord):
            raise
        except UserError:
            _set_aside(path)
        if traces is not None:
            write_atomically(self.traces_path(record.spec), lambda file: write_archive(file, traces, record.spec.id))
        write_atomically(path, lambda file: file.write(content))
        return record

    def records(self) -> tuple[list[RunRecord], list[str]]:
        """Return every record in the order of their paths, and one sentence for each file that could not be used.

        Raises `UserError` where there is neither.
        """
        problems: list[str] = []
        found = self._read_all(lambda path: (read(path), b""), problems)
        return [record for _, record, _ in found], problems

    def located(self) -> tuple[dict[Path, RunRecord], list[str]]:
        """Return every record, without its curve, by its path, and one sentence for each file that could not be used.

        Raises `UserError` where there is neither.
        """
        problems, share = list[str](), Shared()
        with uncollected():
            found = self._read_all(lambda path: read_lean(path, share, curve=False), problems)
            return {path: record for path, record, _ in found}, problems

    def summaries(self, *, curves: bool) -> tuple[list[RunRecord], list[str], dict[str, bytes]]:
        """Do so for a report of many: records without their curves, and if asked for the text of those, by id.

        What records have in common is held once.
        """
        problems: list[str] = []
        share, texts, records = Shared(), dict[str, bytes](), list[RunRecord]()
        with uncollected():
            for _, record, text in self._read_all(lambda path: read_lean(path, share, curve=curves), problems):
                records.append(record)
                if curves:
                    texts[record.spec.id] = text
        return records, problems, texts

    def _read_all(self, read: Callable[[Path], Found], problems: list[str]) -> Iterator[tuple[Path, *Found]]:
        origin: dict[str, Path] = {}
        paths = sorted(self.files(problems), key=lambda path: path.parts)
        for path in paths:
            try:
                found = read(path)
            except FileNotFoundError:
                continue  # taken away since the folder was listed
            except UserError as error:
                problems.append(str(error))
                continue
            first = origin.setdefault(found[0].spec.id, path)
            if first is path:
                yield path, *found
            else:
                problems.append(f"{path} is a second record of the run in {first} and is not counted")
        if not origin and not problems:
            raise UserError(f"no results in {self.root}: run `ganbench run` first")

    def files(self, problems: list[str]) -> Iterator[Path]:
        """Yield every file that may be a record; folders that cannot be listed become problems.

        What a folder inside holds that is marked as one of its own is left out.
        """

        def refused(error: OSError) -> None:
            if Path(error.filename) != self.root:
                problems.append(f"cannot read {error.filename}: {error.strerror}")
            elif not isinstance(error, FileNotFoundError):
                raise DiskError(f"cannot read results folder {self.root}: {error.strerror}") from error

        for folder, subfolders, names in os.walk(self.root, onerror=refused):
            subfolders[:] = [name for name in subfolders if not name.startswith(".") and not apart(Path(folder, name))]
            for path in (Path(folder, name) for name in names if name.endswith(".json") and not name.startswith(".")):
                if path.is_file() or not path.exists():  # a link that leads nowhere is told when it is read
                    yield path
                else:
                    problems.append(f"{path} is not a regular file and is not read")

    def traces(self, record: RunRecord) -> dict[str, np.ndarray]:
        """Return the traces of a run by name, nothing where none were kept.

        Raises `UserError` where they are damaged or not those that the record was written with.
        """
        path = self.traces_path(record.spec)
        try:
            return dict(own_traces(path, record))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DiskError(f"cannot read {path}: {error.strerror or error}") from error

    @contextmanager
    def lock(
        self, spec: RunSpec, *, blocking: bool = True, lost: Callable[[], object] = lambda: None
    ) -> Iterator[bool]:
        """Keep a run to this process, of all machines, inside the block; the block is told whether it was got.

        One that another process held is taken over when that has ended: at once where this machine can see it, else
        when it has not been renewed for a minute. `lost`: called by a thread if that happens to this process, which
        may have stood still; it must then stop.
        """
        folder = self.work(spec)
        lease = Lease(folder, lost)
        try:
            while not (got := lease.acquire()) and blocking:
                time.sleep(LOOK_SECONDS)
        except OSError as error:
            raise DiskError(f"cannot write {folder / LEASE}: {error.strerror or error}") from error
        try:
            yield got
        finally:
            lease.release()

    def is_busy(self, work: Path) -> bool:
        """Whether a command is at work on the run of a working folder."""
        try:
            return is_held(work)
        except OSError as error:
            raise DiskError(f"cannot read {work / LEASE}: {error.strerror or error}") from error


def kept_by_executors(root: Path) -> Path:
    """Return where executors keep what they need, in a folder of results."""
    return root / ".work" / "executors"


def _safe(part: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", part)[:_PART_LENGTH].strip(".-") or "unnamed"
    return f"_{name}" if _DEVICES.match(name) else name


def apart(folder: Path) -> bool:
    """Whether a folder of results is one of its own, and no part of that which it lies in."""
    with suppress(OSError):  # it may not be entered
        return (folder / APART).exists()
    return False


def _set_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _make_room(path: Path, other: RunRecord, run: str) -> None:
    """Give the record of another run, its pictures, and traces that are not this run's, a name that is its alone."""
    try:
        target = path.with_name(f"seed{other.spec.seed}-{other.spec.id}.json")
        traces = path.with_suffix(".traces.npz")
        if target.exists():
            _set_aside(path)
            return
        with suppress(Unusable, FileNotFoundError):
            if read_archive(traces).owner != run:
                traces.replace(target.with_suffix(".traces.npz"))
        move_samples(path.with_suffix(SAMPLES), target.with_suffix(SAMPLES))
        path.replace(target)
    except OSError as error:
        raise DiskError(f"cannot move {path}: {error.strerror or error}") from error


def own_traces(path: Path, record: RunRecord) -> Arrays:
    """Read traces from a file. Raises `OSError`, or `UserError` where they are not those of the record."""
    try:
        archive = read_archive(path)
    except Unusable as error:
        raise UserError(f"{path} {error}") from error
    run, said = record.spec.id, record.checksums.get("traces")
    if archive.owner not in ("", run):
        raise UserError(f"{path} holds the traces of another run ({archive.owner}, not {run})")
    if said and archive.checksum != said:
        raise UserError(f"{path} is damaged or was edited: the record of the run knows another checksum")
    return archive.arrays
