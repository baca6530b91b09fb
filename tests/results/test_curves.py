"""Curves of metrics and traces, bands over seeds, and what can be drawn."""

import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ganbench.contract.types import Value
from ganbench.results.curves import bands, collapse, curves, quantities
from ganbench.results.record import STOPPED, Mark
from ganbench.results.rows import rows, table_of
from ganbench.results.store import ResultStore
from ganbench.training.budget import Meters

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def spent(share, seconds=1.0):
    steps = round(20 * share)
    return Meters(steps, 50 * steps, {"D": steps, "G": steps}, 1e6 * steps, seconds * share)


def fid(number, n=9, weights=""):
    return Value(number, {"n": n}, None, False, weights=weights)


def marks(numbers, seconds=1.0, n=9):
    shares = [(k + 1) / len(numbers) for k in range(len(numbers))]
    return [Mark(share, spent(share, seconds), {"fid": fid(y, n)}) for share, y in zip(shares, numbers, strict=True)]


@pytest.fixture
def trained(record):
    """Make a run that had so many values of fid along its way, the last of which its record holds."""

    def make(variant, seed, numbers, n=9, /, *, seconds=1.0, **more):
        curve = marks(numbers, seconds, n)
        done = more.get("status", "done") == "done"
        facts = {"meters": spent(1, seconds), "curve": curve, **more}
        return record(variant, seed, {"fid": [fid(numbers[-1], n)]} if done else {}, **facts)

    return make


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path)


def test_a_metric_stands_at_its_marks(store, trained):
    (curve,) = curves(store, [trained("gan", 3, [9.0, 5.0])], "fid")
    assert (curve.row, curve.options, curve.seed, curve.ended) == ("gan", "", 3, "")
    assert (curve.x, curve.y, curve.at, curve.until) == ([500, 1000], [9.0, 5.0], [0.5, 1.0], 1000)
    assert curve.protocol == fid(0).protocol_hash


@pytest.mark.parametrize(("over", "x"), [("updates", [10, 20]), ("seconds", [2.0, 4.0]), ("flops", [1e7, 2e7])])
def test_any_currency_can_be_below(store, trained, over, x):
    (curve,) = curves(store, [trained("gan", 0, [9.0, 5.0], seconds=4.0)], "fid", over)
    assert curve.x == x and all(isinstance(each, float) for each in curve.x)


def test_what_was_asked_for_later_has_its_end_alone(store, record):
    run = record("gan", 0, {"kid": [fid(2.0)], "fid": [fid(1.0)]}, meters=spent(1), curve=marks([3.0, 1.0]))
    (later,), (known,) = (curves(store, [run], name) for name in ("kid", "fid"))
    assert (later.x, later.y) == ([1000], [2.0]) and known.y == [3.0, 1.0]


def test_controls_have_no_curve(store, trained):
    assert curves(store, [trained("real", 0, [1.0], variant={"family": "control"})], "fid") == []


def test_weights_make_rows_that_are_not_mixed(store, record):
    curve = [Mark(s, spent(s), {"fid": fid(2 * s, 9, "ema")}, {"fid": fid(9 * s, 9, "raw")}) for s in (0.5, 1.0)]
    run = record("gan", 0, {"fid": [fid(9.0, 9, "raw"), fid(2.0, 9, "ema")]}, meters=spent(1), curve=curve)
    found = {curve.row: curve.y for curve in curves(store, [run], "fid")}
    assert found == {"gan (raw)": [4.5, 9.0], "gan (ema)": [1.0, 2.0]}


def test_protocols_are_not_mixed(store, trained):
    """The last one counts; but one that was measured at the end alone does not hide a curve."""
    old, new = trained("gan", 0, [9.0, 5.0], 1, made="2026-01-01"), trained("wgan", 0, [8.0, 4.0], 2, made="2026-02-01")
    by_row = {curve.row: curve for curve in curves(store, [old, new], "fid")}
    assert by_row.keys() == {"wgan"} and by_row["wgan"].y == [8.0, 4.0]
    late = trained("wgan", 0, [4.0], 3, made="2026-03-01")
    assert [curve.row for curve in curves(store, [old, late], "fid")] == ["gan"]
    other = trained("gan", 0, [7.0, 6.0], 7, spec={"dataset": "mnist"})
    assert {curve.table[0]: curve.y for curve in curves(store, [new, other], "fid")} == {
        "digits": [8.0, 4.0], "mnist": [7.0, 6.0]
    }  # fmt: skip


def test_failures_are_there_and_where_they_ended(store, trained, record):
    runs = [
        trained("gan", 0, [9.0, 5.0]),
        trained("gan", 1, [8.0], status="diverged", meters=spent(0.7)),
        record("gan", 2, status="error", meters=spent(0.1)),
        record("gan", 3, status="killed", error=STOPPED, meters=spent(0.2)),
        record("lost", 0, status="diverged", meters=spent(0.3)),
        record("waiting", 0, status="killed", error=STOPPED),
    ]
    found = curves(store, runs, "fid")
    assert [(curve.row, curve.seed, curve.ended, len(curve.x), curve.until) for curve in found] == [
        ("gan", 0, "", 2, 1000),
        ("gan", 1, "diverged", 1, 700),
        ("gan", 2, "error", 0, 100),
        ("gan", 3, "stopped", 0, 200),
        ("lost", 0, "diverged", 0, 300),
    ]
    (band,) = bands(found)
    assert (band.row, band.n, band.runs, band.mean) == ("gan", [1, 1], 4, [9.0, 5.0])
    assert band.low == band.high == [None, None]


def test_bands_are_intervals_of_means(store, trained):
    numbers = [[9.0, 5.0], [7.0, 4.5], [8.5, 6.0], [8.0, 3.0]]
    (band,) = bands(curves(store, [trained("gan", seed, each) for seed, each in enumerate(numbers)], "fid"))
    for place, column in enumerate(zip(*numbers, strict=True)):
        low, high = stats.t.interval(0.95, 3, loc=np.mean(column), scale=stats.sem(column))
        assert (band.low[place], band.high[place]) == pytest.approx((low, high), rel=1e-12)
        assert band.mean[place] == pytest.approx(statistics.fmean(column))
    assert band.n == [4, 4]


def test_bands_of_seeds_that_took_other_times_meet_at_the_marks(store, trained):
    runs = [trained("gan", seed, [9.0, 5.0 + seed], seconds=4.0 + 2 * seed) for seed in range(2)]
    (band,) = bands(curves(store, runs, "fid", "seconds"))
    assert (band.x, band.mean) == ([2.5, 5.0], [9.0, 5.5])


def test_a_seed_without_a_value_is_missing_at_its_mark_alone(store, trained, record):
    gap = record("gan", 1, {"fid": [fid(7.0)]}, meters=spent(1), curve=marks([1.0, 7.0])[1:])
    (band,) = bands(curves(store, [trained("gan", 0, [9.0, 5.0]), gap], "fid"))
    assert (band.mean, band.n, band.runs) == ([9.0, 6.0], [1, 2], 2)


@pytest.fixture
def kept(store, record):
    """Keep runs of 20 updates with their losses, and return them."""

    def keep(**losses):
        made = []
        for name, trace in losses.items():
            status = "done" if len(trace) == 20 else "diverged"
            run = record(name, 0, status=status, meters=spent(len(trace) / 20))
            traces = {"loss/D": np.asarray(trace, np.float32), "log/k": np.arange(len(trace), dtype=np.float32)}
            made.append(store.add(run, traces))
        return made

    return keep


def test_a_trace_is_thinned_to_means(store, kept):
    (whole,) = curves(store, kept(gan=range(20)), "loss/D")
    assert whole.y == list(range(20)) and whole.x == pytest.approx([50.0 * k for k in range(1, 21)])
    (thin,) = curves(store, kept(gan=range(20)), "loss/D", points=7)
    assert thin.y == [1, 4, 7, 10, 13, 16, 18.5] and thin.at == [0, 3, 6, 9, 12, 15, 18]
    assert thin.x == pytest.approx([50 * (y + 1) for y in thin.y])


@pytest.mark.parametrize(("odd", "shown"), [(math.nan, math.isnan), (math.inf, math.isinf)])
def test_what_is_no_number_can_be_seen_in_a_curve_and_a_band(store, kept, odd, shown):
    trace = [1.0] * 20
    trace[9] = odd
    found = curves(store, kept(gan=trace), "loss/D", points=5)
    (curve,), (band,) = found, bands(found)
    for numbers in (curve.y, band.mean):
        assert [shown(y) for y in numbers] == [False, False, True, False, False]
    assert band.low == [None] * 5


def test_infinities_of_both_signs_have_no_mean(store, record):
    runs = [record("gan", seed, meters=spent(1)) for seed in range(2)]
    for run, number in zip(runs, (math.inf, -math.inf), strict=True):
        store.add(run, {"loss/D": np.array([number, 1.0])})
    (band,) = bands(curves(store, store.records()[0], "loss/D"))
    assert math.isnan(band.mean[0]) and band.mean[1] == 1.0 and band.low[0] is None


def test_a_trace_of_a_run_that_diverged_ends_early_and_is_in_no_band(store, kept):
    found = curves(store, kept(gan=range(20), wgan=[1, 2, math.inf]), "loss/D")
    assert [(curve.row, len(curve.x), curve.ended) for curve in found] == [("gan", 20, ""), ("wgan", 3, "diverged")]
    assert [band.row for band in bands(found)] == ["gan"]


def test_seeds_of_one_row_are_binned_alike(store, record):
    for seed, entries in enumerate((20, 13)):
        run = record("gan", seed, meters=spent(entries / 20))
        store.add(run, {"loss/D": np.arange(entries, dtype=np.float32)})
    (band,) = bands(curves(store, store.records()[0], "loss/D", points=5))
    assert band.n == [2, 2, 2, 2, 1] and band.mean[:3] == [1.5, 5.5, 9.5] and band.mean[4] == 17.5


def test_a_run_is_traced_once_whatever_is_sampled(store, record):
    both = {"fid": [fid(1.0, 9, "raw"), fid(2.0, 9, "ema")]}
    store.add(record("gan", 0, both, meters=spent(1)), {"loss/D": np.ones(20)})
    assert [curve.row for curve in curves(store, store.records()[0], "loss/D")] == ["gan (raw)"]


def test_damaged_traces_are_left_out_with_a_warning(store, kept):
    runs = kept(gan=range(20), wgan=range(20))
    path = store.traces_path(runs[0].spec)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(UserWarning, match=r"traces\.npz is damaged.*left out"):
        assert [curve.row for curve in curves(store, runs, "loss/D")] == ["wgan"]


def test_what_can_be_drawn(store, kept, trained):
    runs = [trained("began", 0, [1.0, 2.0]), *kept(gan=range(20))]
    assert quantities(runs) == ["fid"]
    assert quantities(runs, store) == ["fid", "log/k", "loss/D"]
    assert curves(store, runs, "kid") == [] and curves(store, runs, "loss/G") == []


@pytest.mark.parametrize("folder", ["mnist", "zoo", "ring"])
def test_the_ends_of_committed_curves_are_the_numbers_of_the_table(folder):
    store = ResultStore(PUBLISHED / folder)
    records, _ = store.records()
    shown = 0
    for metric in quantities(records):
        found = {(band.table, band.row): band for band in bands(curves(store, records, metric))}
        for row in rows(records):
            for score in row.scores.get(metric, []):
                if not row.is_control:
                    band = found[table_of(row.spec), row.name]
                    low, high = (None, None) if score.half_width is None else (score.low, score.high)
                    assert (band.mean[-1], band.low[-1], band.high[-1]) == (score.mean, low, high)
                    shown += 1
    assert shown > 20


@pytest.mark.parametrize(
    ("y", "higher", "place"),
    [
        ([8, 4, 2, 1], False, None),
        ([8, 4, 2, 5, 6], False, 3),
        ([8, 4, 2, 5, 3, 6], False, 5),
        ([8, 4, 2, 5, 3], False, None),  # it has come back
        ([1, 5, 8, 2, 2], True, 3),
        ([1, 5, 8, 5, 5], True, None),
        ([1, 6, 0, 0], True, 2),
        ([0, 0, 5], True, None),
        ([0, 0, 5], False, None),  # of nothing nobody is twice
        ([4, math.nan, 9], False, None),
        ([-1, -2, -9], True, None),
        ([], False, None),
    ],
)
def test_a_run_has_collapsed_where_it_gets_twice_as_bad_and_stays_so(y, higher, place):
    assert collapse(y, higher_is_better=higher) == place
