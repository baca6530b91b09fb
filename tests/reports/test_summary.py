"""Mean ranks over several tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from scipy import stats

from ganbench import NUMBERS
from ganbench.contract.types import CONTROL, Value
from ganbench.errors import UserError
from ganbench.reports.summary import render
from ganbench.reports.view import View
from ganbench.results.record import RunRecord

Make = Callable[..., RunRecord]
VARIANTS = ("gan", "wgan", "began", "vae")
NUMBERS_OF = {  # fid by data set: gan is best but once, vae always last
    "a": (1.0, 2.0, 3.0, 4.0),
    "b": (1.0, 3.0, 2.0, 4.0),
    "c": (2.0, 1.0, 3.0, 4.0),
    "d": (1.0, 2.0, 3.0, 4.0),
    "e": (1.0, 2.0, 3.0, 4.0),
}


def of(record: Make, numbers: Mapping[str, Sequence[float]]) -> list[RunRecord]:
    return [
        record(name, 0, {"fid": Value(number, {"data": dataset}, None, False)}, spec={"dataset": dataset})
        for dataset, row in numbers.items()
        for name, number in zip(VARIANTS, row, strict=False)
    ]


def lines(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_mean_ranks_stand_best_first_with_the_critical_difference(record: Make) -> None:
    text = render(of(record, NUMBERS_OF))
    header, _, *table = lines(text)
    assert header == ["variant", "mean rank", "(1)", "(2)", "(3)", "(4)", "(5)"]
    ranks = [[stats.rankdata(row)[place] for row in NUMBERS_OF.values()] for place in range(4)]
    assert [(row[0], float(row[1].split()[0])) for row in table] == [
        (name, sum(of) / 5) for name, of in zip(VARIANTS, ranks, strict=True)
    ]
    assert table[0][2:] == ["1", "1", "2", "1", "1"]
    found = stats.friedmanchisquare(*ranks)
    difference = stats.studentized_range.ppf(0.95, 4, 1e6) / 2**0.5 * (4 * 5 / (6 * 5)) ** 0.5
    told = text.replace("\n  ", " ")
    assert f"- Friedman's statistic {found.statistic:.3g}, p = {found.pvalue:.2g}; critical difference" in told
    assert f"two mean ranks {difference:.3g} (Nemenyi, 5 %)" in told
    letters = {row[0]: row[1].split()[1] for row in table}
    for one, mine in letters.items():
        for other, theirs in letters.items():
            gap = abs(sum(ranks[VARIANTS.index(one)]) - sum(ranks[VARIANTS.index(other)])) / 5
            assert bool(set(mine) & set(theirs)) == (gap < difference)
    assert "(1) a, 8 px, dcgan, batch 64, 640-images, fp32, by fid↓" in text


def test_rows_that_do_not_stand_everywhere_are_named(record: Make) -> None:
    some = {"a": (1.0, 2.0, 3.0), "b": (1.0, 2.0, 3.0, 4.0)}
    control = record(
        "real", 0, {"fid": Value(0.1, {"data": "a"}, None, False)}, spec={"dataset": "a"}, variant={"family": CONTROL}
    )
    text = render([*of(record, some), control])
    assert [row[0] for row in lines(text)[2:]] == ["gan", "wgan", "began"]
    assert "- Left out, since they have no rank in some tables: vae (1 of 2)\n" in text


def test_runs_of_an_older_ganbench_are_not_ranked(record: Make) -> None:
    stale = [record("gan", 0, {"fid": Value(1.0, {}, None, False)}, spec={"numbers": NUMBERS - 1, "dataset": "a"})]
    text = render([*stale, *of(record, {"b": (1.0, 2.0)})])
    assert lines(text) == [] and "no row stands in every table" in text


def test_the_metric_can_be_asked_for(record: Make) -> None:
    records = [
        record(
            name,
            0,
            {"fid": Value(number, {}, None, False), "modes": Value(number, {}, None, True)},
            spec={"dataset": d},
        )
        for d in ("a", "b")
        for name, number in (("gan", 1.0), ("wgan", 2.0), ("vae", 3.0))
    ]
    assert [row[0] for row in lines(render(records))[2:]] == ["gan", "wgan", "vae"]
    assert [row[0] for row in lines(render(records, view=View(sort="modes")))[2:]] == ["vae", "wgan", "gan"]
    with pytest.raises(UserError, match="--sort fdi: no such column"):
        render(records, view=View(sort="fdi"))
    with pytest.raises(UserError, match="no table can be ranked by time"):
        render(records, view=View(sort="time"))
