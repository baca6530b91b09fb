"""Panels on axes: what is drawn, where it ends, and how far axes reach."""

import math
from dataclasses import replace

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from ganbench.contract.types import Value
from ganbench.reports.asked import Asked
from ganbench.reports.drawing import OTHERS, Style, draw
from ganbench.reports.panels import panels_of

FALLING = [9.0, 7.0, 5.0, 4.0, 3.0]
BLUE = Style("#0072B2", "-", "o")


def drawn(store, quantity="fid", records=None, styles=None, **more):
    asked = Asked(quantity, **more)
    (panel,) = panels_of(store, records or store.records()[0], asked)
    axes = Figure().subplots()
    draw(axes, panel, asked, dict.fromkeys(panel.labels.values(), BLUE) if styles is None else styles)
    return axes


def lines(axes, points=5):
    return [line for line in axes.lines if len(line.get_xdata()) == points]


def test_a_row_is_its_mean_with_its_interval(results):
    seeds = np.array([FALLING, [8.0, 7.0, 6.0, 4.5, 2.0], [9.5, 6.0, 5.5, 4.2, 4.0]])
    axes = drawn(results({"gan": seeds.tolist()}))
    (line,) = lines(axes)
    assert line.get_ydata() == pytest.approx(seeds.mean(0)) and line.get_xdata() == pytest.approx(np.arange(1, 6) * 640)
    low, high = stats.t.interval(0.95, 2, loc=seeds.mean(0), scale=stats.sem(seeds))
    band = axes.collections[0].get_paths()[0].vertices
    for x, *ends in zip(line.get_xdata(), low, high, strict=True):
        at = band[np.isclose(band[:, 0], x), 1]
        assert [at.min(), at.max()] == pytest.approx(ends)


def test_every_run_has_a_line_where_that_is_asked_for(results):
    axes = drawn(results({"gan": [FALLING, FALLING[::-1]]}), runs=True)
    assert [list(line.get_ydata()) for line in lines(axes)] == [FALLING, FALLING[::-1]] and not axes.collections


@pytest.mark.parametrize(("status", "mark"), [("diverged", "x"), ("error", "+"), ("killed", "+")])
@pytest.mark.parametrize(("marks", "height"), [([9.0, 8.0], 8.0), ([], 1.0)])
def test_a_failed_run_is_marked_where_it_ended(results, status, mark, marks, height):
    store = results({"gan": [FALLING, marks]})
    records = [replace(run, status=status) if run.status != "done" else run for run in store.records()[0]]
    axes = drawn(store, records=records)
    (end,) = [line for line in axes.lines if line.get_marker() == mark]
    assert end.get_xdata() == [64 * (10 * len(marks) + 5)] and end.get_ydata() == [height]
    assert (end.get_transform() == axes.transData) == bool(marks), "else at the upper edge"


def test_what_is_no_number_is_marked_at_the_upper_edge(results):
    axes = drawn(results({"gan": [[9.0, 1e200, 5.0, 4.0, 3.0]]}))
    (mark,) = [line for line in axes.lines if line.get_marker() == "^"]
    assert mark.get_xdata() == [1280] and mark.get_ydata() == [1.0] and mark.get_transform() != axes.transData


def test_rows_without_a_style_are_grey_and_have_no_band(results):
    axes = drawn(results({"gan": [FALLING, FALLING[::-1]]}), styles={})
    (line,) = lines(axes)
    assert line.get_color() == OTHERS.colour and not axes.collections and not line.get_marker()


def test_real_data_is_a_dashed_line_with_its_interval(results):
    axes = drawn(results({"gan": [FALLING]}))
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {1.5} and len(axes.patches) == 1


@pytest.mark.parametrize(
    ("better", "near", "told"),
    [
        (False, False, "fid (↓ better)"),
        (True, False, "fid (↑ better)"),
        (None, False, "fid"),
        (None, True, "fid (real is best)"),
    ],
)
def test_the_axis_says_where_it_is_better(results, better, near, told):
    store = results({"gan": [FALLING]})
    (run,) = store.records()[0]

    def of(value: Value) -> Value:
        return replace(value, higher_is_better=better, near_reference=near)

    curve = [replace(mark, values={"fid": of(mark.values["fid"])}) for mark in run.curve]
    axes = drawn(store, records=[replace(run, curve=curve, values={"fid": [of(run.values["fid"][0])]})])
    assert axes.get_ylabel() == told


@pytest.mark.parametrize(
    ("over", "told"), [("images", "real images"), ("updates", "updates of G"), ("flops", "FLOPs of training")]
)
def test_the_axis_says_what_curves_run_over(results, over, told):
    assert drawn(results({"gan": [FALLING]}), over=over).get_xlabel() == told


@pytest.mark.parametrize(("seconds", "unit", "size"), [(90, "s", 1), (600, "min", 60), (9000, "h", 3600)])
def test_time_is_in_the_unit_that_suits_it(results, seconds, unit, size):
    store = results({"gan": [FALLING]})
    (run,) = store.records()[0]
    run = replace(run, meters=replace(run.meters, seconds=float(seconds)))
    curve = [replace(mark, meters=replace(mark.meters, seconds=seconds * mark.share)) for mark in run.curve]
    axes = drawn(store, records=[replace(run, curve=curve)], over="seconds")
    assert axes.get_xlabel() == f"time of training ({unit})"
    assert list(lines(axes)[0].get_xdata()) == pytest.approx([seconds * share / 5 / size for share in range(1, 6)])


def test_two_seeds_that_differ_leave_room_to_see_the_means(results):
    """The interval of the end is 4 ± 38."""
    axes = drawn(results({"gan": [[9, 7, 5, 4, 7], [9, 7, 5, 4, 1]]}))
    bottom, top = axes.get_ylim()
    assert bottom == 0 and 9 < top < 15


def test_an_axis_reaches_below_zero_where_numbers_do(results):
    bottom, _ = drawn(results({"gan": [[-3, 7, 5, 4, 7]]})).get_ylim()
    assert bottom < -3


def test_norms_of_gradients_have_a_logarithmic_axis(results):
    assert drawn(results({"gan": [FALLING]}), "grad_norm/G").get_yscale() == "log"
    assert drawn(results({"gan": [FALLING]}), "grad_norm/G", log=False).get_yscale() == "linear"


def test_a_band_down_to_zero_reaches_the_edge_of_a_logarithmic_axis(results):
    axes = drawn(results({"gan": [[9, 7, 5, 4, 7], [9, 7, 5, 4, 1]]}), log=True)
    vertices = axes.collections[0].get_paths()[0].vertices
    assert np.isfinite(vertices).all() and 0 < vertices[:, 1].min() < axes.get_ylim()[0]


def test_points_of_cost_and_the_front_as_stairs(results):
    store = results({"dear": [[9, 9, 9, 9, 1.0]] * 2, "cheap": [[9, 9, 9, 9, 2.0]], "beaten": [[9, 9, 9, 9, 3.0]]})
    flops = {"dear": 9.0, "cheap": 1.0, "beaten": 2.0}
    records = [replace(run, meters=replace(run.meters, flops=flops[run.spec.variant])) for run in store.records()[0]]
    axes = drawn(store, records=records, styles={"dear": BLUE}, cost=True, over="flops")
    points = {
        (line.get_xdata()[0], line.get_ydata()[0]): line.get_color() for line in axes.lines if line.get_marker() == "o"
    }
    assert points == {(9.0, 1.0): BLUE.colour, (1.0, 2.0): OTHERS.colour, (2.0, 3.0): OTHERS.colour}
    (stairs,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(zip(stairs.get_xdata(), stairs.get_ydata(), strict=True)) == [(1.0, 2.0), (9.0, 1.0)]
    assert axes.get_xscale() == "log" and len(axes.collections) == 1, "of one seed there is no interval"


def test_colours_are_those_that_were_given(results):
    (line,) = lines(drawn(results({"gan": [FALLING]}), styles={"gan": Style("#D55E00", (0, (4, 1.2)), "s")}))
    assert matplotlib.colors.same_color(line.get_color(), "#D55E00") and line.get_marker() == "s" and line.is_dashed()


def test_traces_have_no_markers(results):
    axes = drawn(results({"gan": [FALLING, [9.0]]}), "loss/D")
    assert not [line for line in axes.lines if line.get_marker() == "o"]
    assert math.isclose(axes.get_xlim()[1], 3200 * 1.02)
