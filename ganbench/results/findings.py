"""What experiments found, as it is kept: a folder each with table, numbers and pictures. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from ganbench.contract.experiments import Claim, Plain, Table
from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.moving import make_ignored
from ganbench.results.store import APART

FOLDER = "experiments"
"""Below a folder of results."""
RUNS = "runs"
"""Below that: the runs that experiments asked for, a folder of results of its own."""
MEMORY = ".memory"
"""Beside those: what experiments keep to go on from, a folder each."""
FILE = "finding.json"
SCHEMA = 1


@dataclass(frozen=True)
class Found:
    """A finding without its pictures. `id`: of what was asked for; `pictures`: captions by the name of the file.

    `asked`: what the user said beyond the name; `made`: when, in UTC; `options`: the experiment's own, all of them.
    """

    name: str
    id: str
    summary: str
    paper: str
    tables: Sequence[Table]
    claims: Sequence[Claim]
    pictures: Mapping[str, str]
    protocol: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    made: str = ""
    numbers: int = 0
    schema: int = SCHEMA


_ADAPTER = TypeAdapter(Found)


def folder_of(results: Path, name: str, id: str, *, default: bool) -> Path:
    """Return where a finding lies; `default`: the user said nothing but the name of the experiment."""
    return results / FOLDER / (name if default else f"{name}-{id[:8]}")


def mark_apart(results: Path) -> Path:
    """Make and return the folder of experiments, which is no part of the results above it."""
    folder = results / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / APART).exists():
            (folder / APART).touch()
    except OSError as error:
        raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def require_writable(results: Path) -> None:
    """Raise `DiskError` where no finding could be written, before anything is computed for it."""
    folder = mark_apart(results)
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error


def keep(
    folder: Path, found: Found, pictures: Mapping[str, bytes], measured: Sequence[Mapping[str, Plain]], text: str
) -> None:
    """Write a finding: pictures, numbers as CSV and the text first, and at last what says that they are there.

    Until then there is no finding in the folder, so that nobody takes new pictures for those of old numbers. Pictures
    of the finding that was there before, which this one does not have, are removed.
    """
    files = {**pictures, f"{found.name}.csv": _bytes(table_of(measured)), f"{found.name}.md": _bytes(text)}
    last = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        make_ignored(folder.parent / MEMORY)
        with FileLock(
            folder.parent / MEMORY / f"{folder.name}.lock"
        ):  # another command may find the same at the same time
            former = _pictures_of(last)
            last.unlink(missing_ok=True)
            for name in former - files.keys():
                (folder / name).unlink(missing_ok=True)
            for name, content in files.items():
                _write(folder / name, content)
            _write(last, _bytes(json.dumps(as_json(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"))
    except (OSError, NotImplementedError) as error:
        raise DiskError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _pictures_of(path: Path) -> set[str]:
    """Return the pictures of a finding, where there is one that can be read."""
    try:
        return {name for name in read(path).pictures if Path(name).name == name}
    except (FileNotFoundError, UserError):
        return set()


def as_json(found: Found) -> dict[str, Any]:
    """Return a finding in values that JSON has: a number that is not finite becomes its name."""
    named: dict[str, Any] = _finite(plain_of(asdict(found)))
    return named


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a path may hold bytes that are no text


def table_of(measured: Sequence[Mapping[str, Plain]]) -> str:
    """Write rows as CSV: columns in the order in which they appear, floats so that they can be read back."""
    columns = list(dict.fromkeys(key for row in measured for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in measured:
        cells = (row.get(column) for column in columns)
        writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells])
    return text.getvalue()


def read(path: Path) -> Found:
    """Read a finding. Raises `UserError` where it is none, `FileNotFoundError`, `DiskError`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        found = _ADAPTER.validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UserError(f"{path} is no finding of an experiment ({where}: {fault['msg']})") from None
    if found.schema > SCHEMA:
        raise UserError(f"{path} was written by a newer ganbench (schema {found.schema})")
    return found


def findings(results: Path) -> tuple[dict[Path, Found], list[str]]:
    """Return the findings below a folder of results by their folders, and a sentence for each that cannot be read."""
    found, problems = dict[Path, Found](), list[str]()
    for path in sorted((results / FOLDER).glob(f"*/{FILE}")):
        try:
            found[path.parent] = read(path)
        except FileNotFoundError:
            continue
        except UserError as error:
            problems.append(str(error))
    return found, problems


def has_findings(results: Path) -> bool:
    """Whether experiments found something in a folder of results, be it damaged since."""
    return any((results / FOLDER).glob(f"*/{FILE}"))


def verify(results: Path) -> tuple[int, list[str]]:
    """Return how many findings below a folder of results are whole, and a sentence for each fault of others."""
    found, problems = findings(results)
    sound = 0
    for folder, finding in found.items():
        wanted = [*finding.pictures, f"{finding.name}.csv", f"{finding.name}.md"]
        missing = [f"{folder / name} is missing: carry out the experiment again" for name in wanted
                   if not (folder / name).is_file()]  # fmt: skip
        problems += missing
        sound += not missing
    return sound, problems


def plain_of(content: Any) -> Any:
    """Return mappings, lists, texts and numbers in place of what NumPy and others have; what is left becomes text."""
    if isinstance(content, Mapping):
        return {str(key): plain_of(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [plain_of(value) for value in content]
    if content is None or isinstance(content, bool):
        return content
    if isinstance(content, str):  # of a path, bytes that are no text stand as they are written
        return str.__str__(content).encode("utf-8", "backslashreplace").decode()
    for kind in (int, float):  # NumPy's float64 is a float, but not written as one
        if isinstance(content, kind):
            return kind(content)
    return plain_of(content.tolist()) if hasattr(content, "tolist") else str(content)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return repr(content) if isinstance(content, float) and not math.isfinite(content) else content
