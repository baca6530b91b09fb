"""Names of rows in figures."""

from ganbench.contract.types import Value
from ganbench.results.named import named, row_id, seeds_of, short_rows
from ganbench.results.rows import table_of


def names(records, over="images"):
    return [name for name, _ in named(records, over)]


def on(device):
    return {"provenance": {"machine": {"device": device}}}


def test_rows_bear_the_names_of_the_table(record):
    both = {"fid": [Value(1.0, weights="raw"), Value(2.0, weights="ema")]}
    records = [record("gan", 0, both), record("wgan", 0, spec={"options": {"clip": 0.1}}), record("wgan", 1)]
    assert names(records) == ["gan (raw)", "gan (ema)", "wgan", "wgan clip=0.1"]


def test_rows_of_one_name_are_told_apart_within_their_table(record):
    code = [{"code": {"variant": text}} for text in ("a", "b")]
    twice = [record("gan", seed, spec=of) for of in code for seed in range(2)]
    assert names([*twice, record("gan", spec={"dataset": "mnist"})]) == ["gan (1)", "gan (2)", "gan"]
    assert [len(row.runs) for _, row in named(twice)] == [2, 2]


def test_older_numbers_are_said_where_there_are_newer_ones(record):
    old, new = record("gan", spec={"numbers": 1}), record("gan")
    assert sorted(names([old, new])) == ["gan", "gan (numbers 1)"]
    assert names([old]) == ["gan"]


def test_devices_are_told_apart_where_seconds_are_compared(record):
    records = [record("gan", 0, **on("cpu")), record("gan", 1, **on("H100")), record("gan", 2, **on("cpu"))]
    assert names(records) == ["gan"]
    assert names(records, "seconds") == ["gan on H100", "gan on cpu"]
    assert [len(row.runs) for _, row in named(records, "seconds")] == [1, 2]
    assert names(records[::2], "seconds") == ["gan"]
    assert names([record("gan", provenance={"machine": "odd"})], "seconds") == ["gan"]


def test_rows_of_a_table_stand_together(record):
    records = [record("gan", 0, spec={"batch": batch}, **on(device)) for batch in (8, 9) for device in ("a", "b")]
    tables = [table_of(row.spec) for _, row in named(records, "seconds")]
    assert len(tables) == 4 and tables == sorted(tables, key=tables.index) and tables[0] == tables[1]


def test_seeds_stand_under_a_name_that_says_in_what_their_runs_differ(record):
    specs = [record(name, seed).spec for name in ("wgan", "gan") for seed in (1, 0)]
    assert {name: [spec.seed for spec in of] for name, of in seeds_of(specs).items()} == {"wgan": [1, 0], "gan": [1, 0]}
    other = record("gan", spec={"options": {"lr": 0.1}, "dataset": "mnist", "size": 28}).spec
    assert list(seeds_of([*specs, other])) == ["wgan digits 8", "gan digits 8", "gan lr=0.1 mnist 28"]
    twice = [record("gan", spec={"code": {"variant": text}}).spec for text in "ab"]
    assert list(seeds_of(twice)) == ["gan (1)", "gan (2)"]
    assert seeds_of([]) == {}


def test_a_row_is_what_differs_in_the_seed_alone(record):
    assert row_id(record("gan", 0).spec) == row_id(record("gan", 7).spec)
    others = [record("gan", spec=of).spec for of in ({"batch": 9}, {"options": {"lr": 1}}, {"numbers": 1})]
    assert len({row_id(spec) for spec in [record("gan").spec, *others]}) == 4


def test_short_names_say_what_not_all_rows_of_a_variant_have_in_common():
    rows = {"unrolled lr=1 steps=0 ring": 1, "unrolled lr=1 steps=5 ring": 2, "gan lr=2 ring": 3}
    assert short_rows(rows) == {"unrolled steps=0": 1, "unrolled steps=5": 2, "gan": 3}
    assert list(short_rows(dict.fromkeys(["gan ring", "gan grid", "gan steps=5 ring"]))) == [
        "gan ring",
        "gan grid",
        "gan steps=5 ring",
    ]
    assert list(short_rows(dict.fromkeys(["gan (1)", "gan (2)"]))) == ["gan (1)", "gan (2)"]
    assert short_rows({}) == {}
