"""What rows of a table are called: the variant, with letters for its options and marks for what notes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganbench.results.rows import Row, flatten, plain_text

OWN, STALE = "†", "‡"


@dataclass(frozen=True)
class Label:
    """`text`: as it stands in the table. `name`: with its options in words, the same in all tables.

    `options`: what a note says of its letter.
    """

    text: str
    name: str
    letter: str = ""
    options: str = ""
    number: int = 0


def labels_of(rows: Sequence[Row]) -> tuple[list[Label], str]:
    """Return the labels of rows, and the options that all of them share."""
    options = [flatten(row.spec.shown_options) for row in rows]
    first = options[0]
    common = {name for name in first if all(name in of and of[name] == first[name] for of in options)}
    if len(rows) == 1:
        common = set()
    own = [plain_text({name: value for name, value in of.items() if name not in common}) for of in options]
    letters = {text: _letter(number) for number, text in enumerate(dict.fromkeys(filter(None, own)))}
    groups, mixed = namesakes(rows), len({row.spec.numbers for row in rows}) > 1
    labels = []
    for row, text in zip(rows, own, strict=True):
        others = groups[key_of(row)]
        number = others.index(row.facts) + 1 if len(others) > 1 else 0
        parts = [
            row.spec.variant,
            weights_of(row),
            f"({letters[text]})" if text else "",
            f"({number})" if number else "",
            OWN if row.own_architecture else "",
            f"{STALE}{row.spec.numbers}" if row.spec.is_stale and mixed else "",
        ]
        name = " ".join(filter(None, (row.spec.variant, weights_of(row), text)))
        labels.append(Label(" ".join(filter(None, parts)), name, letters.get(text, ""), text, number))
    return labels, plain_text({name: first[name] for name in common})


def weights_of(row: Row) -> str:
    """Return which weights a row's samples are of, where a reader must know it."""
    return row.mark or ("ema" if row.weights == "ema" else "")


def _letter(number: int) -> str:
    """Return a, b, … z, aa, ab, …"""
    text = ""
    while number >= 0:
        number, place = divmod(number, 26)
        text = chr(ord("a") + place) + text
        number -= 1
    return text


def key_of(row: Row) -> tuple[str, str, str, int]:
    """Return what rows of one label share."""
    return row.spec.variant, row.options, row.weights, row.spec.numbers


def namesakes(rows: Sequence[Row]) -> dict[tuple[str, str, str, int], list[Mapping[str, Any]]]:
    """Return the facts of rows that would bear one label."""
    groups: dict[tuple[str, str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        group = groups.setdefault(key_of(row), [])
        if row.facts not in group:
            group.append(row.facts)
    return groups
