"""What a protocol is, and what differs between two: found by the first digits of their hashes. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganbench.errors import UserError, brief
from ganbench.reports.words import aligned, escape
from ganbench.results.record import RunRecord
from ganbench.results.rows import flatten, plain

NOTHING = "–"


@dataclass
class Known:
    """A protocol and where it was used: by metric and data set, how many runs."""

    protocol: Mapping[str, Any]
    used: dict[tuple[str, str], int] = field(default_factory=dict)


def protocols_in(records: Sequence[RunRecord]) -> dict[str, Known]:
    """Return the protocols of all values by hash."""
    found: dict[str, Known] = {}
    for record in records:
        of_run = {(name, value.protocol_hash): value for name, of in record.values.items() for value in of}
        for (metric, protocol), value in of_run.items():
            used = found.setdefault(protocol, Known(value.protocol)).used
            used[metric, record.spec.dataset] = used.get((metric, record.spec.dataset), 0) + 1
    return found


def find(protocols: Mapping[str, Known], prefix: str) -> str:
    """Return the hash that begins so. Raises `UserError` where none does, or several do."""
    wanted = prefix.strip().lower()
    hits = sorted(each for each in protocols if wanted and each.startswith(wanted))
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise UserError(
            f"{brief(prefix)} begins {len(hits)} protocols: {brief(', '.join(hits), 300)}; write more of it"
        )
    there = ", ".join(f"{each} ({_metrics(known)})" for each, known in sorted(protocols.items()))
    raise UserError(f"no result was measured under a protocol {brief(prefix)!r}; there are {brief(there, 600)}")


def _metrics(known: Known) -> str:
    return ", ".join(sorted({metric for metric, _ in known.used}))


def explain(protocols: Mapping[str, Known], name: str) -> str:
    """Return all that a protocol says, and where it was used, as Markdown."""
    known = protocols[name]
    facts = flatten(known.protocol)
    table = aligned(["fact", "value"], [[escape(key), escape(plain(facts[key]))] for key in sorted(facts)], right=False)
    return f"### Protocol {name}\n\nUsed for {_used(known)}\n\n{table}\n"


def compare(protocols: Mapping[str, Known], first: str, second: str) -> str:
    """Return what differs between two protocols, as Markdown."""
    one, other = (flatten(protocols[name].protocol) for name in (first, second))
    keys = [key for key in sorted(one.keys() | other.keys()) if _said(one, key) != _said(other, key)]
    used = "\n".join(f"- {name}: {_used(protocols[name])}" for name in (first, second))
    same = len(one.keys() | other.keys()) - len(keys)
    if not keys:
        return f"### Protocols {first} and {second}\n\n{used}\n\nThey do not differ.\n"
    lines = [[escape(key), _said(one, key), _said(other, key)] for key in keys]
    table = aligned(["fact", first, second], lines, right=False)
    alike = f"The same in both: {same} fact{'' if same == 1 else 's'}."
    return f"### Protocols {first} and {second}\n\n{used}\n\n{table}\n\n{alike}\n"


def _said(facts: Mapping[str, Any], key: str) -> str:
    return escape(plain(facts[key])) if key in facts else NOTHING


def _used(known: Known) -> str:
    told = [
        f"{escape(metric)} on {escape(dataset)} ({runs} run{'' if runs == 1 else 's'})"
        for (metric, dataset), runs in sorted(known.used.items())
    ]
    return ", ".join(told)
