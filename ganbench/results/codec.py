"""Records as JSON: written so that they can be read back, read without trust, of any schema there has been."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from ganbench.contract.types import digest
from ganbench.errors import DiskError, UserError
from ganbench.results.record import SCHEMA, Mark, RunRecord
from ganbench.results.schemas import UPGRADES, Lookup, complete, is_dated, shipped
from ganbench.results.sharing import Shared


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
    content = _bytes(path)
    record = _at_once(content) if lookup is shipped else None
    return record or decode(_parsed(content, path), path, lookup)


def read_lean(path: Path, share: Shared, *, curve: bool) -> tuple[RunRecord, bytes]:
    """Read a record without its curve, and the text of that: many curves as objects fill the memory.

    `share`: holds what it has in common with others. `curve`: else it is neither looked at nor returned. Raises as
    `read`.
    """
    content = _bytes(path)
    start, end = content.find(_CURVE_KEY), content.find(_AFTER_CURVE)
    if 0 < start < end:  # as `encode` writes it
        text = content[start + len(_CURVE_KEY) : end]
        record = _validated_text(content[:start] + content[end + 1 :])
        if record is not None and share.take(record) and (not curve or _is_curve(text)):
            return record, text if curve else b""
    record = _at_once(content) or decode(_parsed(content, path), path)
    share.take(record)
    return replace(record, curve=[]), _curves().dump_json(record.curve) if curve else b""


_CURVE_KEY, _AFTER_CURVE = b'\n "curve": ', b',\n "error": '
_LARGE = re.compile(rb"e\+?[0-9]{3}[0-9]*[\s,\]}]"), re.compile(rb"E\+?[0-9]{3}[0-9]*[\s,\]}]")
_DIGITS, _MANY = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 200


def _is_plain(content: bytes) -> bool:
    """Whether no number of a JSON text can be none, or too large; false alarms cost a slower reading."""
    if b"NaN" in content or b"Infinity" in content or any(large.search(content) for large in _LARGE):
        return False
    return _MANY not in content.translate(_DIGITS)


def _at_once(content: bytes) -> RunRecord | None:
    """Read the text of a record of today's schema in one go; None where it takes a closer look."""
    return _validated_text(content) if _is_plain(content) else None


def _validated_text(content: bytes) -> RunRecord | None:
    try:
        record = _adapter().validate_json(content, strict=True)
    except (ValidationError, RecursionError):
        return None
    if record.schema != SCHEMA:
        return None
    facts = {"schema": SCHEMA, "variant": record.variant}
    if is_dated(facts):  # by now more may be known of its plugins
        facts |= {"spec": record.spec.content(), "provenance": record.provenance}
        return record if complete(facts, shipped) is facts else None
    return record


def _is_curve(text: bytes) -> bool:
    try:
        _curves().validate_json(text, strict=True)
    except (ValidationError, RecursionError):
        return False
    return _is_plain(text)


@cache
def _curves() -> TypeAdapter[list[Mark]]:
    return TypeAdapter(list[Mark])


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
    return _parsed(_bytes(path), path)


def _bytes(path: Path) -> bytes:
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise UserError(f"{path} is not a record of a run: it is no regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
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
