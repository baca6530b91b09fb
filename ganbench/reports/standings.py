"""Notes on how rows of a table compare: what bold and letters mean, seeds that count as bad, kinds of spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ganbench.reports.grid import Column
from ganbench.reports.labels import Label

FEW = 6
"""Of more rows than these only the least and the largest spread is told."""


def standings(columns: Sequence[Column], labels: Sequence[Label], letters: Sequence[str]) -> Iterator[str]:
    """Say what ranks rest on, what bold and letters mean where there are any, and which rows have bad seeds.

    `letters`: the metrics beside which there are any.
    """
    told: dict[str, list[str]] = {}
    for column in columns:
        if column.ranking and column.ranking.note:
            told.setdefault(column.ranking.note, []).append(column.metric)
    for note, names in told.items():
        everywhere = len(told) == 1
        yield note if everywhere else f"{', '.join(dict.fromkeys(names))}: {note}"
    ranked = [standing for column in columns if column.ranking for standing in column.ranking.standings]
    if any(standing.best for standing in ranked):
        yield "Bold: the best, and what cannot be told from it, where others can"
    if letters:
        yield f"{', '.join(letters)}: rows that share a letter cannot be told apart"
    for column in columns:
        bad = [
            f"{label.text} {column.standing(index).counted_worst}"
            for index, label in enumerate(labels)
            if column.standing(index).counted_worst
        ]
        if bad:
            yield f"{column.metric}: seeds that rank as bad, since they have no value: {', '.join(bad)}"


def spreads(columns: Sequence[Column], labels: Sequence[Label]) -> Iterator[str]:
    """Tell the spread of training seeds from that of evaluation samples, where the latter is known.

    Of many rows from the least to the largest.
    """
    for column in columns:
        found = {
            label.text: score.spreads
            for score, label in zip(column.scores, labels, strict=True)
            if score and score.spreads is not None and score.spreads.evaluation
        }
        known = {text: spread for text, spread in found.items() if spread is not None}
        title = f"{column.metric}, standard deviation between training seeds / evaluations"
        if len(known) > FEW:
            seeds, evaluations = ([getattr(each, of) for each in known.values()] for of in ("seeds", "evaluation"))
            yield f"{title}: {_range(seeds)} / {_range(evaluations)}"
        elif known:
            told = [
                f"{text} {each.seeds:.2g} / {each.evaluation:.2g}"
                f"{' (less than evaluation alone)' if each.floored else ''}"
                for text, each in known.items()
            ]
            yield f"{title}: {', '.join(told)}"


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.2g} to {max(numbers):.2g}"
