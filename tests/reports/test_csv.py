"""CSV: nothing in it is run as a formula, and it holds what is asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from ganbench.contract.types import Value
from ganbench.reports.csv import harmless, render
from ganbench.reports.view import View
from ganbench.results.record import RunRecord

Make = Callable[..., RunRecord]
FORMULA = "=HYPERLINK(\"http://e.vil\",'x')"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize("runs", [False, True])
def test_no_text_of_a_record_begins_like_a_formula(start: str, runs: bool, record: Make) -> None:
    text = f"{start}1+1"
    spec = {"dataset": text, "backbone": text, "precision": text, "preset": text, "options": {text: text}}
    odd = record(text, 0, {text: Value(-1.0, {text: text})}, spec=spec, error=text)
    for row in csv.reader(io.StringIO(render([odd], View(runs=runs)))):
        for cell in row:
            assert not cell.startswith(start) or cell.replace("-", "", 1).replace(".", "", 1).isdigit(), cell


def test_numbers_and_other_texts_stay_what_they_are() -> None:
    assert harmless(FORMULA) == f"'{FORMULA}" and harmless(-1.5) == -1.5 and harmless(None) is None
    assert harmless("gan") == "gan" and harmless("a=b") == "a=b"


def test_columns_can_be_chosen(record: Make) -> None:
    one = record("gan", 0, {"fid": Value(1.0), "kid": Value(2.0)})
    header = render([one], View(columns=("kid", "time"))).splitlines()[0].split(",")
    assert "kid" in header and "kid_n" in header and "seconds" in header
    assert "fid" not in header and "flops" not in header
    assert render([one], View(columns=("all",))) == render([one])


def test_points_have_no_size_and_weights_are_said(record: Make) -> None:
    points = record("gan", 0, {"fid": Value(1.0, weights="ema")}, spec={"size": 0})
    (row,) = csv.DictReader(io.StringIO(render([points])))
    assert row["size"] == "" and row["weights"] == "ema"
