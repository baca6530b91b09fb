"""Records as JSON: written so that they can be read back, read without trust, of any schema there has been."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from ganbench.contract.types import digest
from ganbench.errors import DiskError, UserError
from ganbench.results.record import SCHEMA, RunRecord
from ganbench.results.schemas import UPGRADES, Lookup, complete, is_dated, shipped


class NewerRecord(UserError):
    """A record that this version of ganbench cannot read and must not replace."""


@cache
def _adapter() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)


def encode(record: RunRecord) -> bytes:
    """Write a record as JSON. Raises `ValueError` or `TypeError` for one that could not be read back."""
    text = json.dumps(asdict(record), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    content = text.encode("utf-8", "replace") + b"\n"  # an error may quote a path that is not valid Unicode
    _adapter().validate_json(content, strict=True)
    return content


def read(path: Path, lookup: Lookup = shipped) -> RunRecord:
    """Read and validate a record. `lookup`: what is known of plugins, for one of an older schema.

    Raises `FileNotFoundError`, `DiskError`, or `UserError` for what it holds.
    """
    return decode(load(path), path, lookup)


def decode(content: Mapping[str, Any], path: Path, lookup: Lookup = shipped) -> RunRecord:
    """Turn the content of a file, of any schema there has been, into a record. Raises `UserError` as `read`."""
    schema = content["schema"]
    if schema > SCHEMA:
        raise NewerRecord(f"{path} was written by a newer ganbench (schema {schema}, this one reads {SCHEMA}): upgrade")
    for version in range(schema, SCHEMA):
        if version not in UPGRADES:
            raise UserError(f"{path} has the unknown schema {schema}: this ganbench reads {SCHEMA}")
        try:
            content = UPGRADES[version](content, lookup)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path} is damaged: it does not hold what a record of schema {version} does") from error
    record = _validated(content, path)
    if schema == SCHEMA and is_dated(content) and (completed := complete(content, lookup)) is not content:
        return _validated(completed, path)
    return record


def _validated(content: Mapping[str, Any], path: Path) -> RunRecord:
    try:
        return _adapter().validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path} is damaged: {where}: {first['msg'].lower()}") from error
    except RecursionError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def id_in(content: Mapping[str, Any]) -> str:
    """Return the id that the content of a record went by when it was written, which names its working folder."""
    spec = dict(content["spec"])
    if not spec.get("preset"):
        spec.pop("preset", None)
    return digest(spec)[:16]


def load(path: Path) -> dict[str, Any]:
    """Read the content of a record without a look at more than its schema. Raises as `read`."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is not a regular file and is not read")  # a pipe would be waited for
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int or "spec" not in content:
        raise UserError(f"{path} is not a record of a run: it has no spec and schema")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}, which is too large for a number")
    return number


def _whole(text: str) -> int:
    _finite(text)  # where a fraction may stand, a whole number becomes one
    return int(text)
