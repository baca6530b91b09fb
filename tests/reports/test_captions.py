"""The text below a figure."""

import math
from dataclasses import replace

import pytest

from ganbench.reports.asked import Asked
from ganbench.reports.captions import caption
from ganbench.reports.panels import TOLD_APART, panels_of

FALLING = [9, 7, 5, 4, 3]


def text(store, quantity="fid", records=None, **more):
    asked = Asked(quantity, **more)
    return caption(panels_of(store, records or store.records()[0], asked), asked)


def test_it_names_protocol_samples_table_and_seeds(results):
    store = results({"gan": [FALLING, FALLING]})
    protocol = store.records()[0][0].values["fid"][0].protocol_hash
    assert text(store) == (
        f"fid↓ ({protocol}): 90 samples, over real images. digits, 8 px, dcgan, batch 64, 640-images, fp32. Lines are "
        "means; 2 seeds a row, with 95 % Student-t intervals of the mean. Rows stand best first by fid. "
        "Dashed: real data."
    )


@pytest.mark.parametrize(
    ("quantity", "more", "told"),
    [
        ("loss/D", {}, "loss of D, over real images."),
        ("loss/D", {"over": "seconds"}, "over time of training."),
        ("loss/D", {}, "Each point is the mean of as many updates"),
        ("fid", {"runs": True}, "A line is a run; 1 to 2 seeds a row. "),
        ("fid", {"cost": True, "over": "flops"}, ", against FLOPs of training."),
        ("fid", {"cost": True}, "Points are means; 1 to 2 seeds a row, with 95 %"),
        ("fid", {"cost": True}, "front first, then best first by fid. Dashed: real data. Stairs: the Pareto front"),
        ("fid", {"cost": True}, "Without a point, for want of a run that came through or of room: lost."),
        ("fid", {}, "×: a run diverged there, which is in no mean."),
    ],
)
def test_it_says_what_is_drawn(results, quantity, more, told):
    assert told in text(results({"gan": [FALLING, FALLING], "wgan": [FALLING], "lost": [[9.0]]}), quantity, **more)


def test_marks_that_are_not_there_are_not_explained(results):
    told = text(results({"gan": [FALLING]}))
    assert not any(mark in told for mark in "×+▲") and "Stairs" not in told and "Grey" not in told
    assert "interval" not in told, "one seed has none"


def test_failures_of_several_panels_are_told(results):
    store = results({"gan": [FALLING, [9]]})
    records = store.records()[0]
    records += [replace(run, spec=replace(run.spec, dataset="mnist")) for run in records[:1]]
    assert "Runs that came through: gan 1/2 (digits)." in text(store, records=records)


def test_what_has_no_place_is_counted(results):
    assert "Not above 0, so without a place on this axis: 2 points." in text(
        results({"gan": [[3, 0, -1, 2, 1]]}), log=True
    )
    assert "▲: not a number, infinite, or beyond 1e+100." in text(results({"gan": [[3, 1e200, 1, 2, 1]]}))


def test_grey_rows_are_counted(results):
    store = results({f"v{k}": [FALLING] for k in range(TOLD_APART + 2)})
    assert f"Grey: {TOLD_APART + 2 - 7} other rows." in text(store)


def test_infinite_traces_are_told(results, tmp_path):
    store = results({"gan": [FALLING]})
    (run,) = store.records()[0]
    store.traces_path(run.spec).unlink()
    run = replace(run, checksums={}, curve=run.curve)
    import numpy as np

    store.add(run, {"loss/D": np.array([1, math.inf, 2])})
    assert "▲" in text(store, "loss/D")
