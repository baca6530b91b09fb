"""Records as JSON: written so that they can be read back, read without trust, of any schema there has been."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema as shape, to_json

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
    content = asdict(record, dict_factory=without_blanks)
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    encoded = text.encode("utf-8", "replace") + b"\n"  # an error may quote a path that is not valid Unicode
    _adapter().validate_json(encoded, strict=True)
    return encoded


_BLANK = frozenset({"worst", "spread", "near_reference", "references", "is_exact", "repeats", "weights", "raw"})


def without_blanks(facts: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Leave out what most values do not have: a record holds hundreds of them."""
    return {name: fact for name, fact in facts if name not in _BLANK or isinstance(fact, float) or fact}


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
    start, text, end = _part(content, b'\n "curve": ', b',\n "error": ', 0)
    begin, made_by, rest = _part(content, b'\n "provenance": ', b',\n "sampling": ', end)
    if text and (provenance := share.parsed(made_by)) is not None:  # as `encode` writes it
        record = _validated_text(content[:start] + content[end:begin] + content[rest:], provenance)
        if record is not None and share.take(record) and (not curve or _is_curve(text)):
            return record, text if curve else b""
    record = _at_once(content) or decode(_parsed(content, path), path)
    share.take(record)
    return replace(record, curve=[]), text_of(record.curve) if curve else b""


def _part(content: bytes, key: bytes, after: bytes, start: int) -> tuple[int, bytes, int]:
    """Return where a part begins, its text, and where the next begins; no text where the part is not there."""
    begin = content.find(key, start)
    end = content.find(after, begin) if begin > 0 else -1
    return (0, b"", 0) if end < 0 else (begin, content[begin + len(key) : end], end + 1)


_LARGE = re.compile(rb"[eE]\+?[0-9]{3}[0-9]*[\s,\]}]")
_FLAT, _MANY = bytes.maketrans(b"123456789+E", b"0000000000e"), b"0" * 200


def is_plain(content: bytes) -> bool:
    """Whether no number of a JSON text can be none, or too large; false alarms cost a slower reading."""
    # One character is found many times faster than a word, and the expression is slow: both are asked only if need be.
    if (b"N" in content and b"NaN" in content) or (b"I" in content and b"Infinity" in content):
        return False
    flat = content.translate(_FLAT)
    place = flat.find(b"e000")
    while place >= 0:
        if _LARGE.match(content, place):  # else it is part of a checksum
            return False
        place = flat.find(b"e000", place + 1)
    return _MANY not in flat


def _at_once(content: bytes) -> RunRecord | None:
    """Read the text of a record of today's schema in one go; None where it takes a closer look."""
    return _validated_text(content) if is_plain(content) else None


def _validated_text(content: bytes, provenance: Mapping[str, Any] | None = None) -> RunRecord | None:
    """Validate the text of a record; `provenance`: what was cut out of it."""
    try:
        record = _adapter().validate_json(content, strict=True)
    except (ValidationError, RecursionError):
        return None
    if record.schema != SCHEMA or (provenance is not None and record.provenance):  # it had two of them
        return None
    if provenance is not None:
        vars(record)["provenance"] = provenance  # past the lock of a frozen dataclass: it was made a moment ago
    facts = {"schema": SCHEMA, "variant": record.variant}
    if is_dated(facts):  # by now more may be known of its plugins
        facts |= {"spec": record.spec.content(), "provenance": record.provenance}
        return record if complete(facts, shipped) is facts else None
    return record


def _is_curve(text: bytes) -> bool:
    try:
        _curve_shape().validate_json(text, strict=True)
    except (ValidationError, RecursionError):
        return False
    return is_plain(text)


@cache
def _curve_shape() -> SchemaValidator:
    """What a curve must be that is passed on as text: `list[Mark]`, without an object for every part of it."""
    number, whole, mapping = shape.float_schema(), shape.int_schema(), shape.typed_dict_schema({})

    def parts(needed: Mapping[str, Any], **others: Any) -> Any:
        fields = {name: shape.typed_dict_field(of) for name, of in needed.items()}
        return shape.typed_dict_schema(
            fields | {name: shape.typed_dict_field(of, required=False) for name, of in others.items()}
        )

    updates = shape.dict_schema(shape.str_schema(), whole)
    meters = parts({}, steps=whole, images=whole, updates=updates, flops=number, seconds=number, peak_bytes=whole)
    better, reference = shape.nullable_schema(shape.bool_schema()), shape.nullable_schema(number)
    numbers, truth = shape.list_schema(number), shape.bool_schema()
    value = parts(
        {"value": number},
        protocol=mapping,
        reference=reference,
        higher_is_better=better,
        worst=reference,
        spread=reference,
        near_reference=truth,
        references=numbers,
        is_exact=truth,
        repeats=numbers,
        weights=shape.str_schema(),
    )
    values = shape.dict_schema(shape.str_schema(), value)
    return SchemaValidator(shape.list_schema(parts({"share": number, "meters": meters, "values": values}, raw=values)))


def text_of(curve: Sequence[Mark]) -> bytes:
    """Write a curve as JSON."""
    return to_json([asdict(mark, dict_factory=without_blanks) for mark in curve])


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
    for name in ("preset", "compiled"):
        if not spec.get(name):
            spec.pop(name, None)
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
