"""Which records a report is of: by data set, variant, and what their specs say. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ganbench.errors import UserError, brief, suggestion
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.rows import flatten, plain

_FIELDS = ("variant", "dataset", "backbone", "budget", "seed", "size", "batch", "precision", "preset", "numbers")
_SHOWN = 600


def select(
    records: Sequence[RunRecord], datasets: Sequence[str] = (), variants: Sequence[str] = (), where: Sequence[str] = ()
) -> list[RunRecord]:
    """Return the records of these data sets and variants (globs) for which all of `where` (`key=value`) is true.

    Raises `UserError` where a name or a key is not there, or nothing is left.
    """
    kept = _named(records, "--dataset", datasets, lambda spec: spec.dataset)
    kept = _named(kept, "--variants", variants, lambda spec: spec.variant)
    for condition in where:
        kept = _where(kept, condition)
    return kept


def _named(
    records: Sequence[RunRecord], option: str, patterns: Sequence[str], name_of: Callable[[RunSpec], str]
) -> list[RunRecord]:
    names = sorted({name_of(record.spec) for record in records})
    wanted: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if name == pattern or fnmatchcase(name, pattern)}
        if not found:
            there = _listed(names)
            raise UserError(f"{option} {brief(pattern)}: no result{suggestion(pattern, names)}; there are {there}")
        wanted |= found
    return [record for record in records if not patterns or name_of(record.spec) in wanted]


def _where(records: Sequence[RunRecord], condition: str) -> list[RunRecord]:
    key, equals, wanted = (part.strip() for part in condition.partition("="))
    if not equals or not key:
        raise UserError(f"--where {brief(condition)}: write key=value, as in batch=64, seed=0 or lr=0.0002")
    facts = [facts_of(record.spec) for record in records]
    if not any(key in of for of in facts):
        known = sorted(set().union(*facts))
        raise UserError(f"--where {brief(condition)}: no run has {brief(key)}{suggestion(key, known)}; there are "
                        f"{_listed(known)}")  # fmt: skip
    kept = [record for record, of in zip(records, facts, strict=True) if key in of and _equal(of[key], wanted)]
    if not kept:
        there = _listed(sorted({plain(of[key]) for of in facts if key in of}))
        raise UserError(f"--where {brief(condition)}: no run has this value; there are {there}")
    return kept


def facts_of(spec: RunSpec) -> dict[str, Any]:
    """Return what can be asked for: fields of a spec, options of the variant by name, all options with their owner."""
    owners = {"variant": spec.variant, "backbone": spec.backbone, "dataset": spec.dataset.partition(":")[0]}
    facts = flatten(spec.config.get("variant") or {})
    for kind, owner in owners.items():
        facts |= flatten({owner: spec.config.get(kind) or {}})
    facts = {name: value for name, value in facts.items() if value != {}}
    return {**facts, **spec.options, **{name: getattr(spec, name) for name in _FIELDS}, "budget": str(spec.budget)}


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) == float(wanted)
        except (ValueError, OverflowError):
            return False
    return plain(value) == wanted or str(value) == wanted


def _listed(names: Iterable[str]) -> str:
    return brief(", ".join(names), _SHOWN)
