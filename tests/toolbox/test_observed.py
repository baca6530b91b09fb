"""Events by flat names, and as JSON."""

import json
import math
from types import MappingProxyType as Frozen

import pytest

from ganbench import (
    Measured,
    ObservedRun,
    RunEnded,
    RunMarked,
    RunTicked,
    Spent,
    SweepEnded,
    end_of,
    finals_of,
    plain,
    scalars_of,
    settings_of,
    table_of,
)

VARIANT = Frozen({"lr": 1e-4, "betas": (0.5, None)})
RUN = ObservedRun(
    "ab",
    "gan tiny seed 0",
    "gan",
    "tiny",
    0,
    3,
    Frozen({"variant": "gan", "compiled": False, "config": Frozen({"variant": VARIANT})}),
    Frozen({"device": "cpu", "metrics": ("fid", "kid"), "weights": None}),
)
SPENT = Spent(2, 128, Frozen({"D": 2, "G": 1}), 1e12, 0.5, 1024)


def measured(value: float, protocol: str = "p1", weights: str = "raw") -> Measured:
    return Measured(value, protocol, Frozen({"n": 5}), 0.25, False, weights)


def ended(values: dict, error: str = "", status: str = "done") -> RunEnded:
    unscored = Frozen({"modes": "it has none"})
    return RunEnded(RUN, status, error, SPENT, Frozen(values), unscored, Frozen({"id": "ab"}))


def test_settings_are_flat_and_of_plain_types():
    assert settings_of(RUN) == {
        "variant": "gan",
        "compiled": False,
        "config/variant/lr": 1e-4,
        "config/variant/betas": "0.5,none",
        "asked/device": "cpu",
        "asked/metrics": "fid,kid",
        "asked/weights": "none",
    }


def test_numbers_of_a_tick_and_a_mark_have_the_names_of_charts():
    tick = RunTicked(RUN, 0.5, SPENT, Frozen({"D": math.inf}))
    assert scalars_of(tick) == {
        "share": 0.5,
        "meters/steps": 2.0,
        "meters/images": 128.0,
        "meters/flops": 1e12,
        "meters/seconds": 0.5,
        "meters/peak_bytes": 1024.0,
        "meters/updates/D": 2.0,
        "meters/updates/G": 1.0,
        "loss/D": math.inf,
    }
    mark = RunMarked(RUN, 0.5, SPENT, Frozen({"fid": measured(2.0)}), Frozen({"fid": measured(3.0)}), Frozen({}))
    assert scalars_of(mark) == {"metric/fid": 2.0, "metric/fid/raw": 3.0}


def test_values_at_the_end_are_told_apart_where_a_metric_has_several():
    values = {"fid": (measured(1.0), measured(2.0, "p2", "ema")), "grad": (measured(3.0, "p3", ""),)}
    found = {name: value.value for name, value in finals_of(ended(values)).items()}
    assert found == {"final/fid/p1/raw": 1.0, "final/fid/p2/ema": 2.0, "final/grad": 3.0}


def test_the_end_is_a_table_that_no_text_breaks():
    told = end_of(ended({"a|b": (measured(0.1),)}, "no\nluck", "error"))
    assert told.splitlines() == [
        "error: no",
        "luck",
        "",
        "| metric | value | weights | protocol | real data |",
        "| --- | --- | --- | --- | --- |",
        "| a&#124;b | 0.1 | raw | p1 | 0.25 |",
        "",
        "- modes: it has none",
    ]
    assert table_of(("x",), [(None,), ("two\nlines",)]).splitlines()[2:] == ["|  |", "| two lines |"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        ((1, Frozen({"a": (math.inf,)})), [1, {"a": ["Infinity"]}]),
        (b"12345", "5 bytes"),
        (None, None),
        (SweepEnded(Frozen({"done": 2}), True), {"event": "sweep-ended", "statuses": {"done": 2}, "stopped": True}),
    ],
)
def test_plain_content_is_what_json_can_hold(content, expected):
    assert plain(content) == expected
    json.dumps(plain(content), allow_nan=False)


def test_an_event_is_named_and_holds_its_run():
    found = plain(RunTicked(RUN, 0.5, SPENT, Frozen({"D": math.nan})))
    assert found["event"] == "run-ticked" and found["losses"] == {"D": "NaN"}
    assert found["run"]["spec"]["config"] == {"variant": {"lr": 1e-4, "betas": [0.5, None]}}
    assert "event" not in found["run"] and "event" not in found["spent"]
