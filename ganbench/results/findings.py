"""What experiments found, as it is kept: a folder each with table, numbers and pictures. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ganbench.contract.experiments import Claim, Plain, Table
from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.store import APART

FOLDER = "experiments"
"""Below a folder of results."""
RUNS = "runs"
"""Below that: the runs that experiments asked for, a folder of results of its own."""
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


def keep(
    folder: Path, found: Found, pictures: Mapping[str, bytes], measured: Sequence[Mapping[str, Plain]], text: str
) -> None:
    """Write a finding: pictures, numbers as CSV and the text first, and at last what says that they are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error
    files = dict(pictures)
    files[f"{found.name}.csv"] = table_of(measured).encode()
    files[f"{found.name}.md"] = text.encode()
    files[FILE] = json.dumps(_plain(asdict(found)), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    for name, content in files.items():
        _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


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


def _plain(content: Any) -> Any:
    """Return values that JSON has: a number that is not finite becomes its name."""
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return repr(content)
    if content is None or isinstance(content, str | int | float | bool):
        return content
    return str(content)
