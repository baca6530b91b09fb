"""Records of before, whose protocols speak of sampling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganbench.contract.types import Value
from ganbench.reports.former import settled
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore

Make = Callable[..., RunRecord]
RULE = {"n_fake": 100, "metric": "fid@1"}
AVERAGED = {
    "weights": "average, half-life 5e+06 images or 5% of those served",
    "batch_norm": "statistics of 4096 samples",
}
RAW = {"weights": "raw", "batch_norm": "running statistics"}


def test_what_a_protocol_says_of_sampling_moves_to_where_it_is_now(record: Make) -> None:
    trace = Value(1.0, {"statistic": "median"})
    old = record("r3gan", 0, {"fid": Value(3.0, {**RULE, **AVERAGED}, 0.5, False), "grad-norm-g": trace})
    raw = record("gan", 0, {"fid": Value(4.0, {**RULE, **RAW})})
    new, plain = settled([old, raw])
    (value,), (other,) = new.values["fid"], plain.values["fid"]
    assert value == Value(3.0, RULE, 0.5, False, weights="ema") and other == Value(4.0, RULE, weights="raw")
    assert value.protocol_hash == other.protocol_hash == Value(0.0, RULE).protocol_hash
    assert new.values["grad-norm-g"] == [trace]
    assert new.sampling == {"ema": {**AVERAGED, "half_life_images": 5e6}} and plain.sampling == {"raw": RAW}


@pytest.mark.parametrize("weights", ["raw", "ema", ""])
def test_records_of_today_stay_as_they_are(weights: str, record: Make) -> None:
    today = record("gan", 0, {"fid": Value(3.0, RULE, weights=weights)}, sampling={weights: {}})
    assert settled([today])[0] is today


@pytest.mark.parametrize("odd", [None, 3, ["raw"], {"raw": 1}])
def test_odd_weights_are_left_alone(odd: Any, record: Make) -> None:
    strange = record("gan", 0, {"fid": Value(3.0, {**RULE, "weights": odd})})
    assert settled([strange]) == [strange]


def test_rows_of_the_committed_records_share_a_column_for_each_metric() -> None:
    """Only the within-class form of MS-SSIM is another measurement."""
    zoo = Path(__file__).parents[2] / "results" / "zoo"
    protocols: dict[str, set[str]] = {}
    for record in settled(ResultStore(zoo).records()[0]):
        for name, values in record.values.items():
            protocols.setdefault(name, set()).update(value.protocol_hash for value in values)
    assert len(protocols["fd-classifier"]) == len(protocols["fd-pixels"]) == 1 and len(protocols["ms-ssim"]) <= 2
