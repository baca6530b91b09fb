"""What many records have in common, held once: protocols, origins of plugins, options."""

from __future__ import annotations

import gc
import marshal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json

from ganbench.results.record import RunRecord

LARGEST = 1e308
"""Numbers beyond it are none, or cannot be computed with."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Let no cyclic garbage be looked for inside the block: there are ever more objects, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Shared:
    """Lets records of equal parts hold the same objects; the hash of a protocol is computed once."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Any] = {}
        self._ids: set[int] = set()
        self._texts: dict[bytes, Any] = {}
        self._protocols: dict[bytes, tuple[Any, str]] = {}

    def take(self, record: RunRecord) -> bool:
        """Let a record that nobody else has hold what others held before.

        Returns whether all its numbers are numbers, which whoever read it fast has not looked at.
        """
        spec, meters = record.spec, record.meters
        values = [value for of in record.values.values() for value in of]
        numbers = [spec.seed, spec.size, spec.batch, spec.numbers, spec.budget.amount, *meters.updates.values()]
        numbers += [meters.steps, meters.images, meters.flops, meters.seconds, meters.peak_bytes]
        numbers += [value.value for value in values] + [value.reference or 0 for value in values]
        numbers += [each or 0 for value in values for each in (value.worst, value.spread)]
        numbers += [each for value in values for each in (*value.references, *value.repeats)]
        try:
            for owner, names in ((spec, ("config", "code", "options")), (record, ("variant", "provenance"))):
                for name in names:  # in place, past the lock of a frozen dataclass: it was made a moment ago
                    vars(owner)[name] = self._one(vars(owner)[name])
            for value in values:
                facts = vars(value)
                key = marshal.dumps(facts["protocol"], 2)
                if (known := self._protocols.get(key)) is None:
                    known = self._protocols[key] = self._one(value.protocol), value.protocol_hash
                facts["protocol"], facts["protocol_hash"] = known
            return sum(map(abs, numbers)) < LARGEST  # which no sum is that has something else in it
        except (ValueError, OverflowError):
            return False

    def parsed(self, text: bytes) -> Mapping[str, Any] | None:
        """Return the object that a text of JSON is, made once; None where it is none, or takes a closer look."""
        if text not in self._texts:
            try:
                found = from_json(text, allow_inf_nan=False) if text else None
                self._texts[text] = self._one(found) if isinstance(found, dict) else None
            except (ValueError, RecursionError):
                return None
        return self._texts[text]

    def _one(self, part: Mapping[str, Any]) -> Any:
        if id(part) in self._ids:  # what is kept keeps its place in memory
            return part
        key = marshal.dumps(part, 2)  # type: ignore[arg-type]  # of version 2: equal parts give equal bytes
        if (kept := self._kept.get(key)) is None:
            _require_numbers(part)
            kept = self._kept[key] = part
            self._ids.add(id(part))
        return kept


def _require_numbers(value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _require_numbers(item)
    elif isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        raise ValueError("it holds what is no number, or too large for one")
