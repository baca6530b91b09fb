"""What records of before say of sampling in their protocols, put where records say it now. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ganbench.contract.types import Value
from ganbench.results.record import RunRecord

_SAID = ("weights", "batch_norm")
_HALF_LIFE = re.compile(r"half-life ([0-9.e+]+) images")


def settled(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records, those of before with protocols that say nothing of how a variant makes its samples.

    So their rows share a column with one another; whether weights were averaged stands in `Value.weights`, and the
    half-life in `RunRecord.sampling`.
    """
    known: dict[int, tuple[Mapping[str, Any], str]] = {}
    return [_settle(record, known) for record in records]


def _settle(record: RunRecord, known: dict[int, tuple[Mapping[str, Any], str]]) -> RunRecord:
    said = next((value.protocol for of in record.values.values() for value in of if _is_former(value)), None)
    if said is None:
        return record
    kind = kind_of(said)
    facts: dict[str, Any] = {name: said[name] for name in _SAID if name in said}
    if found := _HALF_LIFE.search(said["weights"]):
        facts["half_life_images"] = float(found[1])
    values = {name: [_plain(value, known) for value in of] for name, of in record.values.items()}
    return replace(record, values=values, sampling={kind: facts, **record.sampling})


def _is_former(value: Value) -> bool:
    return not value.weights and isinstance(value.protocol.get("weights"), str)


def kind_of(protocol: Mapping[str, Any]) -> str:
    """Return whether a protocol of before is of raw or averaged weights."""
    return "raw" if protocol["weights"] == "raw" else "ema"


def _plain(value: Value, known: dict[int, tuple[Mapping[str, Any], str]]) -> Value:
    if not _is_former(value):
        return value
    said = value.protocol
    if id(said) not in known:  # equal protocols are one object where many records are read
        rest = {name: fact for name, fact in said.items() if name not in _SAID}
        known[id(said)] = rest, Value(0.0, rest).protocol_hash
    plain = replace(value, protocol=known[id(said)][0], weights=kind_of(said))
    vars(plain)["protocol_hash"] = known[id(said)][1]  # past the lock of a frozen dataclass: it was made just now
    return plain
