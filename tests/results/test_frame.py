"""Records as a table for pandas: every run and metric has its rows, those that came to nothing among them."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import ganbench
from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.frame import COLUMNS
from ganbench.results.record import STOPPED
from ganbench.results.store import ResultStore
from ganbench.training.budget import Meters

RESULTS = Path(__file__).parents[2] / "results" / "published" / "zoo"
ASKED = {"plugins": {"metric:fid": {}, "metric:modes": {}, "variant:gan": {}}}


@pytest.fixture
def loaded(tmp_path):
    def of(*records):
        for each in records:
            ResultStore(tmp_path).add(each)
        return ganbench.load(tmp_path)

    return of


def test_a_row_says_what_the_record_does(record, loaded):
    value = Value(3.5, {"n": 9}, 1.5, False, spread=0.25, weights="ema")
    run = record(
        "wgan", 3, {"fid": [value]}, made="2026-01-01T00:00:00+00:00", meters=Meters(20, 1000, seconds=2.5),
        spec={"options": {"clip": 0.1}, "preset": "table", "precision": "bf16"},
    )  # fmt: skip
    (row,) = loaded(run).to_dict("records")
    assert row == {
        "dataset": "digits", "size": 8, "backbone": "dcgan", "budget": "1k-images", "batch": 50, "precision": "bf16",
        "preset": "table", "variant": "wgan", "options": "clip=0.1", "seed": 3, "status": "done", "metric": "fid",
        "weights": "ema", "value": 3.5, "spread": 0.25, "reference": 1.5, "higher_is_better": False,
        "protocol": value.protocol_hash, "images": 1000, "seconds": 2.5, "id": run.spec.id, "made": run.made,
        "numbers": ganbench.NUMBERS, "error": "",
    }  # fmt: skip


def test_each_protocol_and_kind_of_weights_has_its_row(record, loaded):
    values = [Value(float(k), {"n": n}, weights=of) for k, (n, of) in enumerate([(1, "raw"), (1, "ema"), (2, "raw")])]
    frame = loaded(record("gan", 0, {"fid": values, "grad": [Value(9.0)]}))
    assert frame["value"].tolist() == [0, 1, 2, 9] and frame["weights"].tolist() == ["raw", "ema", "raw", ""]
    assert frame["protocol"].nunique() == 3


def test_a_metric_that_came_to_nothing_is_there_with_its_reason(record, loaded):
    frame = loaded(record("gan", 0, {"fid": [Value(1.0)]}, unscored={"modes": "no sample is near a mode"}))
    assert frame["metric"].tolist() == ["fid", "modes"]
    assert frame["value"].isna().tolist() == [False, True]
    assert frame["error"].tolist() == ["", "no sample is near a mode"]


def test_a_reason_is_of_the_weights_that_it_names(record, loaded):
    values = {"fid": [Value(1.0, weights="ema")]}
    unscored = {"fid of raw weights": "fid came out as nan", "is": "gone"}
    frame = loaded(record("gan", 0, values, unscored=unscored, sampling={"raw": {}, "ema": {}}))
    rows = frame[["metric", "weights", "error"]].itertuples(index=False, name=None)
    assert list(rows) == [("fid", "ema", ""), ("fid", "raw", "fid came out as nan"), ("is", "ema", "gone")]


def test_what_a_run_was_asked_for_stands_in_its_record(record, loaded):
    facts = {"headline": ["fid@10k-test", "is"]}
    frame = loaded(record("gan", 0, status="diverged", variant=facts, provenance=ASKED))
    assert frame["metric"].tolist() == ["fid@10k-test", "is"]


@pytest.mark.parametrize(
    ("status", "error", "shown", "reason"),
    [
        ("diverged", "the loss of D is NaN", "diverged", "the loss of D is NaN"),
        ("error", "Traceback (most recent call last):\n  File x\nOSError: gone", "error", "OSError: gone"),
        ("killed", "signal 9", "killed", "signal 9"),
        ("killed", STOPPED, "stopped", STOPPED),
    ],
)
def test_a_run_that_did_not_come_through_has_a_row_for_each_metric(record, loaded, status, error, shown, reason):
    frame = loaded(record("gan", 0, {"fid": [Value(1.0)]}, status=status, error=error, provenance=ASKED))
    assert frame["metric"].tolist() == ["fid", "modes"] and frame["value"].isna().all()
    assert set(frame["status"]) == {shown} and set(frame["error"]) == {reason}


@pytest.mark.parametrize("provenance", [{}, {"plugins": 3}])
def test_no_run_is_dropped_whatever_its_record_lacks(record, loaded, provenance):
    frame = loaded(record("gan", 0, status="error", error="gone", provenance=provenance), record("gan", 1))
    assert frame["seed"].tolist() == [0, 1] and frame["metric"].tolist() == ["", ""]


def test_columns_have_types_that_pandas_can_compute_with(record, loaded):
    frame = loaded(record("gan", 0, {"fid": [Value(1.0)]}), record("gan", 1, status="diverged", provenance=ASKED))
    assert tuple(frame.columns) == COLUMNS
    assert frame["value"].dtype == frame["spread"].dtype == "float64" and frame["higher_is_better"].dtype == "boolean"
    assert frame.groupby("metric")["value"].agg(["count", "size"]).loc["fid"].tolist() == [1, 2]


def test_the_numbers_are_those_of_the_csv_report():
    from io import StringIO

    from ganbench.reports import csv

    records, _ = ResultStore(RESULTS).records()
    report = pd.read_csv(StringIO(csv.render(records))).set_index("variant")["fd_classifier"].dropna()
    frame = ganbench.load(RESULTS)
    means = frame[frame["metric"] == "fd-classifier"].groupby("variant")["value"].mean().dropna()
    pd.testing.assert_series_equal(means.sort_index(), report.sort_index(), check_names=False)


def test_what_cannot_be_read_is_warned_of_and_nothing_at_all_is_an_error(record, tmp_path, loaded):
    (tmp_path / "seed9-00000000.json").write_text("{")
    with pytest.warns(UserWarning, match="seed9-00000000"):
        assert len(loaded(record("gan", 0, {"fid": [Value(1.0)]}))) == 1
    with pytest.raises(UserError, match="no results in"):
        ganbench.load(tmp_path / "nowhere")


def test_torch_is_not_imported():
    code = f"import sys, ganbench; ganbench.load({str(RESULTS)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
