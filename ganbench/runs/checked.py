"""Whether what an experiment returns is a finding, brought into plain values that any process can be handed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ganbench.contract.experiments import Claim, Finding, Plain, Table
from ganbench.errors import UserError, brief
from ganbench.results.findings import plain_of

FIGURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a figure may be called: it becomes a file beside the others, whatever the disk."""


def checked(name: str, finding: Any) -> Finding:
    """Return a finding in plain values, its figures as they are. Raises `UserError` for what is none.

    `name`: the experiment's. Nothing of what was measured is changed: NaN stays NaN.
    """
    if not isinstance(finding, Finding):
        raise UserError(f"the experiment {name!r} returns {_told(finding)} instead of a ganbench.Finding")
    try:
        return replace(
            finding,
            tables=[_table(table) for table in _list("tables", finding.tables)],
            measured=[_row(number, row) for number, row in enumerate(_list("measured", finding.measured), 1)],
            claims=[_claim(claim) for claim in _list("claims", finding.claims)],
            figures=dict(_figures(_mapping("figures", finding.figures))),
            protocol=plain_of(_mapping("protocol", finding.protocol)),
            left_out={str(key): str(why) for key, why in _mapping("left_out", finding.left_out).items()},
            notes=[str(note) for note in _list("notes", finding.notes)],
        )
    except UserError as error:
        raise UserError(f"the finding of {name!r} cannot be kept: {error}") from None


def _list(what: str, found: Any) -> Iterable[Any]:
    if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
        raise UserError(f"its {what} are {_told(found)} instead of a list")
    return found


def _mapping(what: str, found: Any) -> Mapping[Any, Any]:
    if not isinstance(found, Mapping):
        raise UserError(f"its {what} are {_told(found)} instead of a mapping")
    return found


def _table(table: Any) -> Table:
    if not isinstance(table, Table):
        raise UserError(f"among its tables is {_told(table)} instead of a ganbench.Table")
    columns, rows = list(map(str, table.columns)), [list(map(str, row)) for row in table.rows]
    if wrong := next((row for row in rows if len(row) != len(columns)), None):
        raise UserError(f"the table {table.title!r} has {len(columns)} columns, and a row of {len(wrong)}: {wrong}")
    return Table(str(table.title), columns, rows, str(table.note))


def _row(number: int, row: Any) -> dict[str, Plain]:
    if not isinstance(row, Mapping):
        raise UserError(f"row {number} of what was measured is {_told(row)} instead of a mapping")
    return {str(column): _cell(f"row {number}, {column!r}", value) for column, value in row.items()}


def _cell(where: str, value: Any) -> Plain:
    plain = plain_of(value)  # of a number of NumPy's, a tensor of one, an enumeration
    if plain is None or isinstance(plain, bool | int | float) or isinstance(value, str):
        return plain
    raise UserError(f"what was measured in {where} is {_told(value)}, no number, text, truth value or None")


def _claim(claim: Any) -> Claim:
    if not isinstance(claim, Claim):
        raise UserError(f"among its claims is {_told(claim)} instead of a ganbench.Claim")
    holds: Any = claim.holds
    holds = holds.tolist() if hasattr(holds, "tolist") else holds
    if not (holds is None or isinstance(holds, bool)):
        raise UserError(f"the claim {brief(str(claim.said))!r} has holds={_told(holds)}: write True, False or None")
    return Claim(str(claim.said), str(claim.found), holds, str(claim.reason))


def _figures(figures: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    names = set[str]()
    for name, found in figures.items():
        if not isinstance(name, str) or not FIGURE.fullmatch(name):
            raise UserError(f"a figure is called {_told(name)}: write letters, digits, hyphens and dots")
        if name.lower() in names:
            raise UserError(f"two figures are called {name!r} where a disk does not tell letters by their case")
        if not isinstance(found, tuple) or len(found) != 2 or not hasattr(found[0], "savefig"):
            raise UserError(f"the figure {name!r} is {_told(found)} instead of a Figure with its caption")
        names.add(name.lower())
        yield name, (found[0], str(found[1]))


def _told(value: Any) -> str:
    return brief(repr(value), 100)
