"""What a reader sees of an experiment: tables, claims with what was found, and what has no part. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ganbench.contract.experiments import Claim, Table
from ganbench.reports.words import aligned, escape, folded
from ganbench.results.findings import Found
from ganbench.results.rows import plain_text

VERDICTS = {True: "as said", False: "otherwise", None: "not decided"}
"""By whether a claim holds."""


def render(found: Found) -> str:
    """Write a finding as Markdown."""
    origin = f" ({found.paper})" if found.paper else ""
    parts = [f"## {found.name}: {escape(found.summary)}{escape(origin)}"]
    parts += [_table(table) for table in found.tables]
    if found.claims:
        parts.append("### What was said, and what was found")
        parts.append("\n".join(_claim(claim) for claim in found.claims))
    if lines := list(_notes(found)):
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    drawn = aligned(list(map(escape, table.columns)), [list(map(escape, row)) for row in table.rows])
    note = f"\n\n{folded(escape(table.note))}" if table.note else ""
    return f"### {escape(table.title)}\n\n{drawn}{note}"


def _claim(claim: Claim) -> str:
    reason = f" {escape(claim.reason)}" if claim.reason else ""
    return folded(f"- **{VERDICTS[claim.holds]}**: {escape(claim.said)} Found: {escape(claim.found)}{reason}", "  ")


def _notes(found: Found) -> Iterator[str]:
    for reason, names in by_reason(found.left_out).items():
        yield folded(f"- No part: {', '.join(names)}: {escape(reason)}", "  ")
    for note in found.notes:
        yield folded(f"- {escape(note)}", "  ")
    yield folded(f"- Protocol: {escape(protocol_text(found))}", "  ")


def by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that were left out by the reason that they share."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        found.setdefault(reason, []).append(name)
    return found


def protocol_of(found: Found) -> dict[str, Any]:
    """Return all that the numbers depend on."""
    facts: dict[str, Any] = {**found.protocol, **({"options": found.options} if found.options else {})}
    machine = found.provenance.get("machine")
    device = machine.get("device", "") if isinstance(machine, Mapping) else ""
    return facts | {"numbers": found.numbers, **({"device": device} if device else {}), "id": found.id[:8]}


def protocol_text(found: Found) -> str:
    """Return the same in words."""
    return plain_text(protocol_of(found))
