"""Compact letter display: rows that cannot be told apart share a letter."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

LETTERS = string.ascii_lowercase + string.ascii_uppercase


def display(near: Sequence[int]) -> list[str] | None:
    """Return the letters of rows, best first, or None where the alphabet does not suffice.

    `near`: for each row the rows that it cannot be told apart from, itself among them, as bits. Two rows share a
    letter exactly where they are near: a letter is a clique of them that no row can be added to. Cliques are grown one
    by one until they cover all pairs, and those that the others cover too are dropped; to find the fewest is hard.
    """
    cliques: list[int] = []
    covered = [0] * len(near)
    for row, others in enumerate(near):
        while left := others & ~covered[row]:
            if len(cliques) == len(LETTERS):
                return None
            clique = _grown(near, 1 << row | (left & -left))
            cliques.append(clique)
            for member in _bits(clique):
                covered[member] |= clique
    kept = sorted(_needed(cliques), key=lambda clique: list(_bits(clique)))
    return [
        "".join(letter for letter, clique in zip(LETTERS, kept, strict=False) if clique >> row & 1)
        for row in range(len(near))
    ]


def _grown(near: Sequence[int], clique: int) -> int:
    """Add rows to a clique, best first, as long as it stays one."""
    fitting = -1
    for member in _bits(clique):
        fitting &= near[member]
    while more := fitting & ~clique:
        clique |= more & -more
        fitting &= near[(more & -more).bit_length() - 1]
    return clique


def _needed(cliques: Sequence[int]) -> list[int]:
    """Drop each clique whose pairs lie in others, the last first."""
    kept = list(cliques)
    for clique in reversed(cliques):
        others = [other for other in kept if other != clique]
        if all(_union(other for other in others if other >> row & 1) & clique == clique for row in _bits(clique)):
            kept = others
    return kept


def _union(sets: Iterator[int]) -> int:
    whole = 0
    for each in sets:
        whole |= each
    return whole


def _bits(number: int) -> Iterator[int]:
    while number:
        yield (number & -number).bit_length() - 1
        number &= number - 1
