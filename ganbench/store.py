"""Results on disk: one JSON record and one file of traces a run, written whole or not at all. Imports no torch."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.record import FINAL, SCHEMA, RunRecord, RunSpec

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By schema version: what turns the content of a record of that version into one of the next."""

# Windows takes these for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_PART_LENGTH = 80


class NewerRecord(UserError):
    """A record that this version of ganbench cannot read and must not replace."""


class ResultStore:
    """The records, traces and working folders below one folder, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
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

    def work(self, spec: RunSpec) -> Path:
        """Make and return the folder for checkpoints, weights, logs and samples of a run; git ignores it."""
        ignore = self.root / ".work" / ".gitignore"
        if not ignore.exists():
            write_atomically(ignore, lambda file: file.write(b"*\n"))
        folder = self.root / ".work" / spec.id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error
        return folder

    def get(self, spec: RunSpec) -> RunRecord | None:
        """Return the record of a run, or None where there is none; of a damaged one it warns and returns None.

        Raises `UserError` for a record that a newer ganbench wrote, `DiskError` for one that may not be read.
        """
        path = self.path(spec)
        try:
            record = _read(path)
        except FileNotFoundError:
            return None
        except (DiskError, NewerRecord):
            raise
        except UserError as error:
            warnings.warn(f"{error}; the run counts as not made yet", stacklevel=2)
            return None
        if record.spec.id != spec.id:
            warnings.warn(f"{path} is the record of another run; this one counts as not made yet", stacklevel=2)
            return None
        return record

    def add(self, record: RunRecord, traces: Mapping[str, np.ndarray] | None = None) -> None:
        """Keep a record, its traces first; None keeps the traces that are there.

        A failure never replaces a final record, and a damaged record is set aside as `….json.damaged`. Raises
        `ValueError` or `TypeError` for a record that could not be read back (NaN, infinity, wrong types).
        """
        content = _encode(record)
        path = self.path(record.spec)
        try:
            old = _read(path)
            if old.spec.id == record.spec.id and old.status in FINAL and record.status not in FINAL:
                return
        except FileNotFoundError:
            pass
        except (DiskError, NewerRecord):
            raise
        except UserError:
            _set_aside(path)
        if traces is not None:
            write_atomically(self.traces_path(record.spec), lambda file: _write_traces(file, traces))
        write_atomically(path, lambda file: file.write(content))

    def records(self) -> tuple[list[RunRecord], list[str]]:
        """Return every record in the order of their paths, and one sentence for each file that could not be used.

        Raises `UserError` where there is neither.
        """
        records: list[RunRecord] = []
        problems: list[str] = []
        origin: dict[str, Path] = {}
        for path in sorted(self._files(problems), key=lambda path: path.relative_to(self.root).parts):
            try:
                record = _read(path)
            except FileNotFoundError:
                continue  # taken away since the folder was listed
            except UserError as error:
                problems.append(str(error))
                continue
            first = origin.setdefault(record.spec.id, path)
            if first is path:
                records.append(record)
            else:
                problems.append(f"{path} is a second record of the run in {first} and is not counted")
        if not records and not problems:
            raise UserError(f"no results in {self.root}: run `ganbench run` first")
        return records, problems

    def _files(self, problems: list[str]) -> Iterator[Path]:
        def refused(error: OSError) -> None:
            if Path(error.filename) != self.root:
                problems.append(f"cannot read {error.filename}: {error.strerror}")
            elif not isinstance(error, FileNotFoundError):
                raise DiskError(f"cannot read results folder {self.root}: {error.strerror}") from error

        for folder, subfolders, names in os.walk(self.root, onerror=refused):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            yield from (Path(folder, name) for name in names if name.endswith(".json") and not name.startswith("."))

    def traces(self, record: RunRecord) -> dict[str, np.ndarray]:
        """Return the traces of a run by name, nothing where none were kept. Raises `UserError` if they are damaged."""
        path = self.traces_path(record.spec)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            return {}
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{path} is damaged: {error}") from error

    @contextmanager
    def lock(self, spec: RunSpec, *, blocking: bool = True) -> Iterator[bool]:
        """Keep a run to this process inside the block; the block is told whether it was got."""
        lock = FileLock(self.work(spec) / "lock")
        try:
            lock.acquire(blocking=blocking)
        except Timeout:
            pass
        except (OSError, NotImplementedError) as error:
            raise DiskError(f"cannot lock {lock.lock_file}: {error}") from error
        try:
            yield lock.is_locked
        finally:
            lock.release()


def _safe(part: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", part)[:_PART_LENGTH].strip(".-") or "unnamed"
    return f"_{name}" if _DEVICES.match(name) else name


@cache
def _adapter() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)


def _encode(record: RunRecord) -> bytes:
    text = json.dumps(asdict(record), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    content = text.encode("utf-8", "replace") + b"\n"  # an error may quote a path that is not valid Unicode
    _adapter().validate_json(content, strict=True)
    return content


def _read(path: Path) -> RunRecord:
    """Read and validate a record. Raises `FileNotFoundError`, `DiskError`, or `UserError` for what it holds."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or "spec" not in content:
        raise UserError(f"{path} is not a record of a run: it has no spec and schema")
    if schema > SCHEMA:
        raise NewerRecord(f"{path} was written by a newer ganbench (schema {schema}, this one reads {SCHEMA}): upgrade")
    for version in range(schema, SCHEMA):
        if version not in UPGRADES:
            raise UserError(f"{path} has the unknown schema {schema}: this ganbench reads {SCHEMA}")
        content = UPGRADES[version](content)
    try:
        return _adapter().validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path} is damaged: {where}: {first['msg'].lower()}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}, which is too large for a number")
    return number


def _set_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _write_traces(file: IO[bytes], traces: Mapping[str, np.ndarray]) -> None:
    # As numpy.savez_compressed does, but a trace may be called `file`, and equal traces give equal bytes.
    with zipfile.ZipFile(file, "w") as archive:
        for name, trace in sorted(traces.items()):
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(trace), allow_pickle=False)
