"""Rows: which weights they are of, which seeds they lack, what has no value and never will."""

import math

import pytest

from ganbench.contract.types import UNAVAILABLE, Value
from ganbench.results.record import NOT_TRAINED, STOPPED
from ganbench.results.rows import last_line, reasons, rows, undefined
from ganbench.training.budget import Meters


def values(raw=None, ema=None, training=None):
    fid = [Value(number, {"n": 9}, weights=of) for number, of in ((raw, "raw"), (ema, "ema")) if number is not None]
    return {"fid": fid, **({"grad": [Value(training)]} if training is not None else {})}


def test_two_kinds_of_weights_make_two_rows_that_share_what_is_of_training(record):
    found = rows([record("r3gan", seed, values(10.0 + seed, 5.0 + seed, 0.5 * seed)) for seed in range(2)])
    assert [row.name for row in found] == ["r3gan (raw)", "r3gan (ema)"]
    assert [row.weights for row in found] == ["raw", "ema"]
    assert [row.scores["fid"][0].mean for row in found] == [10.5, 5.5]
    assert [len(row.scores["fid"]) for row in found] == [1, 1], "one protocol, whatever is sampled"
    assert [row.scores["grad"][0].mean for row in found] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("held", "name", "weights"),
    [
        (values(ema=3.0), "gan (ema)", "ema"),
        (values(raw=3.0), "gan", "raw"),
        ({"fid": [Value(3.0)]}, "gan", ""),
        ({}, "gan", ""),
    ],
)
def test_averaged_weights_are_marked_where_they_are_alone(record, held, name, weights):
    (row,) = rows([record("gan", 0, held)])
    assert (row.name, row.weights, row.mark) == (name, weights, "ema" if weights == "ema" else "")
    assert all(len(scores) == 1 for scores in row.scores.values()) and row.scores.keys() == held.keys()


def test_a_seed_without_one_kind_of_weights_is_missing_there(record):
    raw, ema = rows(
        [record("gan", 0, values(1.0, 2.0)), record("gan", 1, values(3.0)), record("gan", 2, status="diverged")]
    )
    assert sorted(raw.scores["fid"][0].by_seed) == [0, 1] and sorted(ema.scores["fid"][0].by_seed) == [0]
    assert raw.diverged == ema.diverged == 1


def test_rows_of_single_runs_are_of_one_kind_each(record):
    found = rows([record("gan", seed, values(1.0, 2.0)) for seed in range(2)], runs=True)
    assert [(row.spec.seed, row.mark) for row in found] == [(0, "raw"), (0, "ema"), (1, "raw"), (1, "ema")]


def test_options_stand_before_the_mark(record):
    (row,) = rows([record("gan", 0, values(ema=1.0), spec={"options": {"lr": 0.1}})])
    assert row.name == "gan lr=0.1 (ema)"


def test_how_samples_were_made_is_that_of_the_row(record):
    sampling = {"raw": {"batch_norm": "running"}, "ema": {"half_life_images": 500.0}}
    raw, ema = rows([record("gan", 0, values(1.0, 2.0), sampling=sampling)])
    assert (raw.sampling, ema.sampling) == (sampling["raw"], sampling["ema"])
    (old,) = rows([record("gan", 0, {"fid": [Value(1.0)]})])
    assert old.sampling == {}


def on(record, seed, device, seconds, at_once=1, **more):
    machine = {"machine": {"device": device}, "at_once": at_once, **more}
    return record("gan", seed, meters=Meters(steps=1, images=50, seconds=seconds, peak_bytes=100), provenance=machine)


def test_time_and_memory_are_averaged_over_runs_of_one_device(record):
    (row,) = rows([on(record, 0, "H100", 1.0), on(record, 1, "cpu", 50.0), on(record, 2, "H100", 3.0)])
    assert [run.spec.seed for run in row.timed] == [0, 2]
    assert row.meters["seconds"] == 2.0 and row.meters["images"] == 50


def test_runs_that_shared_their_device_are_timed_apart(record):
    (row,) = rows([on(record, 0, "H100", 1.0), on(record, 1, "H100", 8.0, 4), on(record, 2, "H100", 6.0, 4)])
    assert row.meters["seconds"] == 7.0


def test_a_run_that_changed_its_device_has_no_time(record):
    moved = on(record, 0, "cpu", 9.0, devices=["H100", "cpu"])
    (row,) = rows([moved, on(record, 1, "cpu", 5.0)])
    assert row.meters["seconds"] == 5.0
    (alone,) = rows([moved])
    assert alone.timed == [] and alone.meters["seconds"] is None and alone.meters["images"] == 50


def test_a_row_is_complete_where_it_has_the_seeds_of_its_table(record):
    """Seeds of controls, of other numbers and of other tables are not asked of anyone; a failure is no gap."""
    records = [
        *(record("all", seed) for seed in range(3)),
        *(record("few", seed) for seed in range(2)),
        *(record("failing", seed, status=status) for seed, status in enumerate(("done", "diverged", "error"))),
        *(record("open", seed, status="done" if seed < 2 else "killed", error=STOPPED) for seed in range(3)),
        record("control", 7, variant={"family": "control"}),
        record("older", 8, spec={"numbers": 1}),
        record("elsewhere", 9, spec={"batch": 7}),
    ]
    complete = {row.name: row.complete for row in rows(records)}
    assert complete == {
        "all": True, "few": False, "failing": True, "open": False, "control": False, "older": False, "elsewhere": True
    }  # fmt: skip
    assert {row.seeds for row in rows(records) if row.spec.batch == 50} == {frozenset(range(3))}


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("fid", "fid came out as nan", "fid came out as nan"),
        ("fid", UNAVAILABLE + "no network", None),
        ("fid", NOT_TRAINED, None),
        ("modes", "no sample is near a mode", None),
    ],
)
def test_only_what_will_never_have_a_value_is_undefined(record, name, reason, told):
    assert undefined(record(unscored={name: reason}), "fid") == told


def test_a_companion_has_the_reason_of_its_metric(record):
    run = record(unscored={"modes": "none"})
    assert (undefined(run, "modes-5"), undefined(run, "modest"), undefined(run, "mode")) == ("none", None, None)


def test_a_companion_of_a_metric_asked_for_in_a_form_has_the_reason_of_that_form(record):
    run = record(unscored={"prdc@classifier": "none"})
    assert undefined(run, "prdc-density@classifier") == "none" and undefined(run, "prdc-density") is None


def test_reasons_are_of_the_weights_that_they_name(record):
    sampling = {"raw": {}, "ema": {}}
    run = record(unscored={"fid": "of the average", "is of raw weights": "of the others"}, sampling=sampling)
    assert reasons(run) == {("fid", "ema"): "of the average", ("is", "raw"): "of the others"}
    assert undefined(run, "fid", "ema") == "of the average" and undefined(run, "fid", "raw") is None
    assert undefined(run, "is", "raw") == "of the others" and undefined(run, "is", "ema") is None
    assert reasons(record(unscored={"fid": "why", "rate of weights": "so"})) == {
        ("fid", ""): "why",
        ("rate of weights", ""): "so",
    }


def test_an_error_is_told_in_one_line():
    assert last_line("the loss is NaN\nmore") == "the loss is NaN"
    assert last_line("Traceback (most recent call last):\n  File x\nOSError: gone") == "OSError: gone"
    assert last_line("") == ""


def test_means_do_not_mix_weights(record):
    for row in rows([record("gan", seed, values(1e9, 1.0)) for seed in range(3)]):
        assert not math.isclose(row.scores["fid"][0].mean, (1e9 + 1) / 2)
