"""Which panels, rows and names a figure has."""

from dataclasses import replace

import pytest

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.reports.asked import Asked
from ganbench.reports.panels import LARGEST, SHOWN, TOLD_APART, coloured, panels_of
from ganbench.reports.table import tables
from ganbench.reports.view import View
from ganbench.results.rows import rows
from ganbench.results.store import ResultStore

FALLING = [9, 7, 5, 4, 3]


def shown(store: ResultStore, quantity="fid", records=None, **more):
    return panels_of(store, records or store.records()[0], Asked(quantity, **more))


def refused(store, quantity="fid", **more) -> str:
    with pytest.raises(UserError) as error:
        shown(store, quantity, **more)
    return str(error.value)


def falling(end):
    return [*FALLING[:-1], end]


def test_rows_stand_as_in_the_table(results):
    store = results({name: [falling(end), falling(end + 1)] for name, end in (("c", 1), ("a", 2), ("b", 3), ("d", 0))})
    (panel,), records = shown(store), store.records()[0]
    (table,) = tables(rows(records), View())
    assert list(panel.labels.values()) == [line.label for line in table.lines if line.kind == "variant"]
    assert list(panel.labels.values()) == ["d", "c", "a", "b"] and panel.sorted_by == "fid"
    assert table.title == panel.title


def test_a_trace_is_sorted_by_the_metric_of_the_table(results):
    (panel,) = shown(results({"b": [falling(1)], "a": [falling(2)]}), "loss/D")
    assert list(panel.labels) == ["b", "a"] and panel.sorted_by == "fid" and panel.column is None and panel.real is None


def test_real_data_has_the_interval_of_its_draws(results):
    (panel,) = shown(results({"gan": [FALLING]}))
    centre, half = panel.real
    assert centre == 1.5 and half == pytest.approx(4.302652729749462 * 0.1 / 3**0.5)


def test_the_front_comes_first(results):
    store = results({"dear": [falling(1)], "cheap": [falling(2)], "beaten": [falling(3)]})
    records = [
        replace(run, meters=replace(run.meters, flops={"dear": 9.0, "cheap": 1.0, "beaten": 2.0}[run.spec.variant]))
        for run in store.records()[0]
    ]
    (panel,) = shown(store, records=records, over="flops", cost=True)
    assert list(panel.labels) == ["dear", "cheap", "beaten"] and not panel.curves
    assert {cost.row: cost.on_front for cost in panel.costs} == {"dear": True, "cheap": True, "beaten": False}


def test_long_options_become_letters_that_are_the_same_in_all_panels(results):
    long = {"options": {"discriminator_learning_rate": 0.0002, "lr": 0.1}}
    store = results({"gan": [FALLING]})
    records = store.records()[0]
    records += [replace(run, spec=replace(run.spec, **long)) for run in records]
    records += [replace(run, spec=replace(run.spec, dataset="mnist")) for run in records[1:]]
    digits, mnist = shown(store, records=records)
    assert list(digits.labels.values()) == ["gan", "gan (a)"] and list(mnist.labels.values()) == ["gan (a)"]
    assert digits.letters == mnist.letters == {"a": "discriminator_learning_rate=0.0002 lr=0.1"}


def test_short_options_are_written_out_unless_all_rows_share_them(results):
    records = results({"gan": [FALLING]}, options={"width": 9, "lr": 1}).records()[0]
    records += [replace(run, spec=replace(run.spec, options={"width": 9, "lr": 2})) for run in records]
    (panel,) = shown(results({}), records=records)
    assert list(panel.labels.values()) == ["gan lr=1", "gan lr=2"] and not panel.letters


def test_failures_are_counted(results):
    store = results({"gan": [FALLING, [9, 8], FALLING], "lost": [[], [5]]})
    (panel,) = shown(store)
    assert panel.partial == {"gan": "2/3", "lost": "0/2"} and [len(band.x) for band in panel.bands] == [5]
    (panel,) = shown(store, cost=True)
    assert panel.partial == {"gan": "2/3"} and panel.lost == ["lost"]


def test_every_table_is_a_panel_and_more_than_fit_are_refused(results):
    store = results({"gan": [FALLING]})
    (run,), more = store.records()[0], 7
    records = [replace(run, spec=replace(run.spec, batch=batch)) for batch in range(1, more)]
    assert [panel.title.split(", ")[3] for panel in shown(store, records=records)] == [
        f"batch {k}" for k in range(1, 7)
    ]
    records.append(replace(run, spec=replace(run.spec, batch=more)))
    with pytest.raises(UserError, match=r"7 comparisons have fid, and a figure holds 6: choose with --dataset or"):
        shown(store, records=records)


def test_panels_of_one_title_tell_their_data(results):
    store = results({"gan": [FALLING]})
    (run,) = store.records()[0]
    records = [replace(run, spec=replace(run.spec, data=data * 9)) for data in "ab"]
    assert [panel.title.rpartition(", ")[2] for panel in shown(store, records=records)] == [
        "data aaaaaaaa",
        "data bbbbbbbb",
    ]


def test_older_numbers_are_told(results):
    (panel,) = shown(results({"gan": [FALLING]}, numbers=1))
    assert panel.title.endswith(", numbers 1")


def test_of_too_many_rows_the_best_are_told_apart(results):
    names = [f"v{k:02}" for k in range(TOLD_APART + 1)]
    (panel,) = shown(results({name: [falling(k)] for k, name in enumerate(names)}))
    assert coloured([panel]) == names[:SHOWN]
    fewer = replace(panel, labels=dict(list(panel.labels.items())[:-1]))
    assert coloured([fewer]) == names[:-1]


def test_of_several_panels_the_rows_count_that_most_of_them_have(results):
    (panel,) = shown(results({"gan": [FALLING]}))
    one = replace(panel, labels={f"a{k}": f"a{k}" for k in range(TOLD_APART)})
    other = replace(panel, labels={name: name for name in ("b", "a13", "c")})
    assert coloured([one, other])[-1] == "a13" and len(coloured([one, other])) == SHOWN


@pytest.mark.parametrize(
    ("quantity", "more", "told"),
    [
        ("fdi", {}, "no result has fdi: did you mean 'fid'?; there is fid, grad_norm/G, log/k, loss/D"),
        ("loss/G", {}, "no result has loss/G: did you mean 'loss/D'?"),
        ("loss/D", {"cost": True}, "loss/D is a trace, and --cost is of metrics"),
        ("x" * 999, {}, "[...]"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(results, quantity, more, told):
    assert told in refused(results({"gan": [FALLING]}), quantity, **more)


def test_one_point_is_no_curve(results):
    store = results({"gan": [FALLING]})
    records = [replace(run, curve=run.curve[-1:]) for run in store.records()[0]]
    with pytest.raises(UserError, match=r"fid was measured once in each run.*--cost flops"):
        shown(store, records=records)


def test_a_logarithmic_axis_takes_something_above_zero(results):
    assert "fid is nowhere above 0" in refused(results({"gan": [[0, -1, 0, -1, 0]]}), log=True)


def test_controls_are_not_drawn(results):
    store = results({"real": [FALLING]})
    records = [replace(run, variant={"family": "control"}) for run in store.records()[0]]
    with pytest.raises(UserError, match="no trained run here has fid over images"):
        shown(store, records=records)


def test_what_no_axis_has_room_for_counts_as_infinite(results):
    (panel,) = shown(results({"gan": [[1, 2, 10 * LARGEST, 4, 5], FALLING]}))
    assert panel.curves[0].y == [1, 2, float("inf"), 4, 5] and panel.bands[0].low[2] is None
    store = results({"huge": [falling(10 * LARGEST)], "gan": [FALLING]})
    assert shown(store, cost=True)[0].lost == ["huge"]


def test_the_newest_protocol_is_that_of_the_column(results):
    store = results({"gan": [FALLING]})
    (run,) = store.records()[0]
    later = replace(run, values={"fid": [*run.values["fid"], Value(7.0, {"n_fake": 9}, 2.5, False)]})
    (panel,) = shown(store, records=[later])
    assert panel.column.protocol == panel.curves[0].protocol and panel.real[0] == 1.5
