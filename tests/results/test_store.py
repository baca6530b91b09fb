"""Records on disk: where they lie, what survives, and what is said of files that cannot be used."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganbench.contract.types import Value
from ganbench.errors import DiskError, UserError
from ganbench.results.record import SCHEMA, Mark, RunRecord, RunSpec
from ganbench.results.schemas import UPGRADES, Lookup
from ganbench.results.store import APART, ResultStore
from ganbench.training.budget import Budget, Meters


def make_spec(**changes: Any) -> RunSpec:
    facts = {
        "variant": "gan",
        "dataset": "digits",
        "backbone": "dcgan",
        "budget": Budget(200_000, "images"),
        "seed": 0,
        "size": 8,
        "batch": 64,
        "config": {"variant": {"lr": 2e-4, "betas": [0.5, 0.999]}},
    }
    return RunSpec(**(facts | changes))


def make_record(status: Any = "done", value: float = 0.1 + 0.2, **changes: Any) -> RunRecord:
    values = {"fd-classifier": [Value(value, {"n_fake": 360, "extractor": "digits"}, 1 / 3, False)]}
    meters = Meters(3125, 200_000, {"D": 3125, "G": 625}, 1.23456789e13, 75.123456789, 2**29)
    return RunRecord(
        make_spec(**changes),
        status,
        meters=meters,
        values=values,
        unscored={"ms-ssim": "a folder «ü» is missing"},
        curve=[Mark(0.5, meters, {"fd-classifier": values["fd-classifier"][0]})],
        variant={"own_architecture": False},
        provenance={"torch": "2.11", "threads": 2},
    )


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


# Places


def test_a_record_lies_where_a_person_would_look(tmp_path: Path) -> None:
    spec = make_spec(seed=2, dataset="folder:cats")
    path = ResultStore(tmp_path).path(spec)
    assert path == tmp_path / "folder-cats" / "dcgan" / "200k-images" / "gan" / f"seed2-{spec.id[:8]}.json"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        ".hidden",
        "../../etc/passwd",
        "folder:/a/b",
        r"a\b",
        "con",
        "NUL.txt",
        "a\x00b",
        "x" * 500,
        "ends. ",
        "日本",
    ],
)
def test_no_name_leaves_its_folder_or_breaks_a_file_system(name: str, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    record = make_record(variant=name, dataset=name)
    store.add(record)
    parts = store.path(record.spec).relative_to(tmp_path).parts
    assert len(parts) == 5
    for part in parts:
        assert not set(part) & set('<>:"/\\|?*\0 ') and part.isascii() and len(part) <= 100
        assert not part.startswith(".") and not part.endswith(".")
        assert part.split(".")[0].lower() not in {"con", "nul", "prn", "aux"}
    assert store.records() == ([record], [])


def test_runs_that_differ_in_anything_have_their_own_files(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    specs = [make_spec(), make_spec(batch=32), make_spec(precision="bf16"), make_spec(options={"lr": 1})]
    assert len({store.path(spec) for spec in specs}) == len(specs)


def test_work_is_ignored_by_git_and_by_reports(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record())
    work = store.work(make_spec())
    assert work == tmp_path / ".work" / make_spec().id and work.is_dir()
    assert (tmp_path / ".work" / ".gitignore").read_text() == "*\n"
    shutil.copy(store.path(make_spec()), work / "log.json")
    assert len(store.records()[0]) == 1 and store.records()[1] == []


# Round trips


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    record = make_record()
    store.add(record)
    again = ResultStore(tmp_path).get(record.spec)
    assert again == record
    assert again is not None and again.values["fd-classifier"][0].value == 0.1 + 0.2 and again.spec.id == record.spec.id


@pytest.mark.parametrize("value", [5e-324, math.pi * 1e300, -0.0, 1 / 3, 123456789.123456789])
def test_floats_survive_to_the_last_bit(value: float, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record(value=value))
    (record,), _ = store.records()
    assert record.values["fd-classifier"][0].value.hex() == value.hex()


def test_equal_records_are_equal_bytes_in_sorted_lines(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    first = store.path(record.spec).read_bytes()
    shuffled = replace(record, provenance=dict(reversed(record.provenance.items())))
    store.add(shuffled)
    assert store.path(record.spec).read_bytes() == first
    keys = [line.split('"')[1] for line in first.decode().splitlines() if line.startswith(' "')]
    assert keys == sorted(keys) and len(first.splitlines()) > 50 and first.endswith(b"}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_not_written(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?i)not JSON compliant"):
        ResultStore(tmp_path).add(make_record(value=value))
    assert list(tmp_path.rglob("*.*")) == []


def test_wrong_types_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="status"):
        ResultStore(tmp_path).add(make_record("finished"))


def test_an_error_that_quotes_an_undecodable_path_is_kept(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(replace(make_record("error"), error="cannot read \udcff.png"))
    assert store.records()[0][0].error == "cannot read ?.png"


# Traces


def test_traces_come_back_by_name_and_bit(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    traces = {
        "grad_norm/G": np.array([1.5, np.nan, 3e-8], np.float32),
        "file": np.arange(3),
        "loss/D": np.zeros(0),
    }
    store.add(record, traces)
    again = store.traces(record)
    assert again.keys() == traces.keys()
    for name, trace in traces.items():
        assert again[name].dtype == trace.dtype
        np.testing.assert_array_equal(again[name], trace)


def test_equal_traces_are_equal_bytes(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record, {"a": np.arange(9.0), "b": np.ones(2)})
    first = store.traces_path(record.spec).read_bytes()
    store.add(record, {"b": np.ones(2), "a": np.arange(9.0)})
    assert store.traces_path(record.spec).read_bytes() == first


def test_a_record_added_without_traces_keeps_those_that_are_there(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    assert store.traces(record) == {}
    store.add(record, {"a": np.arange(3)})
    store.add(replace(record, unscored={}))
    assert list(store.traces(record)) == ["a"]


def test_traces_are_never_pickled(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    with pytest.raises(ValueError, match="allow_pickle"):
        store.add(record, {"a": np.array([object()])})
    assert store.get(record.spec) is None  # traces first: no record without them
    store.path(record.spec).parent.mkdir(parents=True, exist_ok=True)
    np.savez(store.traces_path(record.spec), a=np.array([{}]))
    with pytest.raises(UserError, match=r"traces\.npz is damaged"):
        store.traces(record)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "array"])
def test_damaged_traces_are_named(damage: str, tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record, {"a": np.arange(1000)})
    path = store.traces_path(record.spec)
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    else:
        path.write_bytes({"truncated": path.read_bytes()[:-40], "empty": b"", "text": b"no zip"}[damage])
    with pytest.raises(UserError, match=r"traces\.npz is damaged"):
        store.traces(record)


# Damaged, newer and foreign files


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "NaN": lambda text: text.replace("0.30000000000000004", "NaN"),
    "Infinity": lambda text: text.replace("0.30000000000000004", "-Infinity"),
    "overflow": lambda text: text.replace("0.30000000000000004", "1e999"),
    "wrong type": lambda text: text.replace('"seed": 0', '"seed": "zero"'),
    "number as text": lambda text: text.replace('"seed": 0', '"seed": "0"'),
    "wrong status": lambda text: text.replace('"done"', '"finished"'),
    "missing field": lambda text: text.replace('"seed": 0,', ""),
    "null": lambda text: text.replace("0.30000000000000004", "null"),
    "deep": lambda text: "[" * 100_000,
    "a list": lambda text: "[1, 2]",
    "another thing": lambda text: '{"name": "not ours"}',
    "unknown old schema": lambda text: text.replace(f'"schema": {SCHEMA}', '"schema": 0'),
    "schema as text": lambda text: text.replace(f'"schema": {SCHEMA}', '"schema": "one"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_and_the_rest_is_used(damage: str, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record(seed=0))
    store.add(make_record(seed=1))
    path = store.path(make_spec(seed=0))
    text = path.read_text("utf-8")
    path.write_text(DAMAGE[damage](text), "utf-8")
    assert path.read_text("utf-8") != text
    records, problems = store.records()
    assert records == [make_record(seed=1)]
    (problem,) = problems
    assert str(path) in problem and "\n" not in problem and len(problem) < 400


@pytest.mark.parametrize("damage", ["truncated", "NaN", "wrong type", "another thing"])
def test_a_damaged_record_counts_as_absent_and_is_set_aside_by_the_next(damage: str, tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    path = store.path(record.spec)
    path.write_text(DAMAGE[damage](path.read_text("utf-8")), "utf-8")
    damaged = path.read_bytes()
    with pytest.warns(UserWarning, match="counts as not made yet"):
        assert store.get(record.spec) is None
    assert path.read_bytes() == damaged
    store.add(record)
    assert store.get(record.spec) == record
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
    assert store.records() == ([record], [])


def test_bytes_that_are_not_text_are_damage(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record())
    store.path(make_spec()).write_bytes(b"\xff\xfe\x00")
    assert "is damaged" in store.records()[1][0]


def test_a_newer_record_is_named_skipped_and_never_replaced(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    path = store.path(record.spec)
    edit(path, schema=SCHEMA + 1, spec={"unknown": 1})
    newer = path.read_bytes()
    said = f"written by a newer ganbench (schema {SCHEMA + 1}, this one reads {SCHEMA}): upgrade"
    records, problems = store.records()
    assert records == [] and said in problems[0]
    with pytest.raises(UserError, match="newer ganbench"):
        store.get(record.spec)
    with pytest.raises(UserError, match="newer ganbench"):
        store.add(record)
    assert path.read_bytes() == newer


def test_an_old_record_is_upgraded_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    content = json.loads(store.path(record.spec).read_text("utf-8"))
    old = {key: value for key, value in content.items() if key != "status"} | {"schema": SCHEMA - 1, "outcome": "done"}
    store.path(record.spec).write_text(json.dumps(old), "utf-8")

    def upgrade(content: dict[str, Any], lookup: Lookup) -> dict[str, Any]:
        return content | {"status": content.pop("outcome"), "schema": SCHEMA}

    monkeypatch.setitem(UPGRADES, SCHEMA - 1, upgrade)
    assert store.records() == ([record], [])


def test_a_record_edited_into_another_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    content = json.loads(store.path(record.spec).read_text("utf-8"))
    edit(store.path(record.spec), spec=content["spec"] | {"batch": 128})
    with pytest.warns(UserWarning, match="another run"):
        assert store.get(record.spec) is None


def test_a_copy_of_a_record_is_not_counted_twice(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), make_record()
    store.add(record)
    copy = tmp_path / "zz copy.json"
    shutil.copy(store.path(record.spec), copy)
    records, problems = store.records()
    assert records == [record] and str(copy) in problems[0] and "not counted" in problems[0]


def test_traces_temporary_and_hidden_files_are_not_records(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    record = store.add(make_record(), {"a": np.ones(1)})
    folder = store.path(make_spec()).parent
    (folder / ".seed0.json.abc.part").write_text("half")
    (folder / ".hidden.json").write_text("half")
    (folder / "table.md").write_text("| a |")
    assert store.records() == ([record], [])


def test_records_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    names = ["wgan", "gan", "began", "gan-minimax"]
    for name in names:
        store.add(make_record(variant=name))
    assert [record.spec.variant for record in store.records()[0]] == sorted(names)


# Statuses


@pytest.mark.parametrize("late", ["error", "killed"])
@pytest.mark.parametrize("final", ["done", "diverged"])
def test_a_failure_does_not_replace_a_final_record(final: str, late: str, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record(final))
    store.add(make_record(late))
    assert store.records()[0][0].status == final


def test_a_failure_is_replaced_by_what_comes_next(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for status in ("killed", "error", "done"):
        store.add(make_record(status))
        assert store.records()[0][0].status == status


# Folders that refuse


def test_a_folder_without_results_says_what_to_do(tmp_path: Path) -> None:
    for root in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError) as caught:
            ResultStore(root).records()
        assert str(caught.value) == f"no results in {root}: run `ganbench run` first"
    assert ResultStore(tmp_path / "missing").get(make_spec()) is None
    assert not (tmp_path / "missing").exists()


def test_a_file_in_place_of_the_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="is a file: name a folder"):
        ResultStore(tmp_path / "results")


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    # A file where a subfolder belongs refuses also root, whom permissions do not stop.
    (tmp_path / "digits").write_text("")
    (tmp_path / ".work").write_text("")
    store = ResultStore(tmp_path)
    with pytest.raises(DiskError, match="cannot read"):
        store.get(make_spec())
    for attempt in (lambda: store.add(make_record()), lambda: store.work(make_spec())):
        with pytest.raises(DiskError, match=r"cannot (read|write)") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    with pytest.raises(DiskError), store.lock(make_spec()):
        pass


FULL_DISK = """
import resource, sys
from pathlib import Path
from ganbench.errors import DiskError
from ganbench.results.store import APART, ResultStore
store = ResultStore(Path(sys.argv[1]))
(record,), _ = store.records()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    store.add(record)
except DiskError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes here")
def test_a_full_disk_harms_nothing_that_stood_there(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    record = store.add(make_record(), {"a": np.arange(3)})
    before = sorted(tmp_path.rglob("*"))
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("cannot write ")
    assert sorted(tmp_path.rglob("*")) == before and store.get(record.spec) == record


# Never poorer, never another's


def at(images: int, status: Any = "killed", marks: int = 0, values: int = 0, **changes: Any) -> RunRecord:
    meters = Meters(images // 64, images)
    value = Value(1.0, {"n_fake": 360})
    return RunRecord(
        make_spec(**changes),
        status,
        error="" if status == "done" else f"{status} at {images}",
        meters=meters,
        values={f"metric-{k}": [value] for k in range(values)},
        curve=[Mark(0.1 * k, meters, {}) for k in range(marks)],
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (at(1024, marks=2), at(0, "error")),
        (at(1024, marks=2), at(0)),
        (at(1024, marks=2), at(512, "error", marks=1)),
        (at(1024, "error", marks=2), at(1024, marks=1)),
    ],
)
def test_a_failure_that_came_to_less_leaves_what_was_measured(old: RunRecord, new: RunRecord, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(old, {"loss/G": np.arange(16.0)})
    kept = store.add(new, {"loss/G": np.zeros(0)})
    assert store.get(old.spec) == kept and (kept.status, kept.error) == (new.status, new.error)
    assert (kept.meters, kept.curve) == (old.meters, old.curve)
    assert store.traces(kept)["loss/G"].shape == (16,)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (at(2048, "done", 5, 2), at(2048, "done", 5, 1)),
        (at(2048, "done", 5, 2), at(0, "done")),
        (at(2048, "done", 5, 2), at(1024, "diverged")),
        (at(2048, "done", 5, 2), at(4096, "killed", 9, 9)),
        (at(1024, "diverged"), at(512, "diverged")),
    ],
)
def test_an_end_is_not_replaced_by_a_poorer_one(old: RunRecord, new: RunRecord, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    old = store.add(old, {"a": np.ones(3)})
    assert store.add(new, {"a": np.zeros(3)}) == old == store.get(old.spec)
    assert store.traces(old)["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (at(1024, marks=2), at(1088, "error", 2)),
        (at(4096, marks=2), at(2048, "done", 5, 2)),
        (at(4096, marks=2), at(512, "diverged")),
        (at(2048, "done", 5, 1), at(2048, "done", 5, 2)),
        (at(0), at(0, "error")),
    ],
)
def test_a_richer_record_takes_its_place(old: RunRecord, new: RunRecord, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(old)
    assert store.add(new) == new == store.get(new.spec)


@pytest.mark.parametrize("status", ["done", "diverged", "killed"])
def test_the_record_of_another_run_is_moved_and_never_replaced(status: Any, tmp_path: Path) -> None:
    store, mine = ResultStore(tmp_path), at(2048, "done", 5, 2)
    other = ResultStore(tmp_path / "elsewhere").add(at(4096, status, 5, 2, batch=128), {"a": np.ones(3)})
    place, foreign = store.path(mine.spec), ResultStore(tmp_path / "elsewhere").path(other.spec)
    place.parent.mkdir(parents=True)
    shutil.copy(foreign, place)
    shutil.copy(foreign.with_suffix(".traces.npz"), place.with_suffix(".traces.npz"))
    shutil.rmtree(tmp_path / "elsewhere")
    mine = store.add(mine, {"a": np.zeros(2)})
    assert store.get(mine.spec) == mine and len(store.traces(mine)["a"]) == 2
    found, problems = store.records()
    assert problems == [] and {record.spec.id: record for record in found} == {r.spec.id: r for r in (mine, other)}


def test_traces_of_another_run_or_edited_ones_are_refused(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    first = store.add(make_record(), {"a": np.ones(3)})
    second = store.add(make_record(seed=1), {"a": np.zeros(3)})
    mine, other = store.traces_path(first.spec), store.traces_path(second.spec)
    shutil.copy(other, mine)
    with pytest.raises(UserError, match=f"traces of another run .{second.spec.id}, not {first.spec.id}"):
        store.traces(first)
    np.savez_compressed(mine, a=np.ones(3) * 2)
    with pytest.raises(UserError, match="damaged or was edited"):
        store.traces(first)
    np.savez_compressed(mine, a=np.ones(3))  # what they hold is right, whoever wrote them
    assert store.traces(first)["a"].tolist() == [1, 1, 1]
    np.savez_compressed(mine, a=np.ones(3) * 2)
    assert store.traces(replace(first, checksums={}))["a"].tolist() == [2, 2, 2]  # as records of before have it


# Two processes


ADD = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from ganbench.results.store import APART, ResultStore
store = ResultStore(Path(sys.argv[1]))
(record, *_), problems = store.records()
assert not problems
for round in range(60):
    for seed in range(3):
        spec = replace(record.spec, seed=seed)
        store.add(replace(record, spec=spec, error=sys.argv[2] * 20_000), {"a": np.full(5000, round)})
        other, problems = store.records()
        assert not problems, problems
        assert store.get(spec) is not None and len(store.traces(replace(record, checksums={}))["a"]) == 5000
"""


def test_two_processes_that_add_the_same_runs_never_show_a_half_record(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record(), {"a": np.zeros(5000)})
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", ADD, str(tmp_path), name], stderr=subprocess.PIPE, text=True
        )
        for name in "xy"
    ]
    for run in runs:
        _, said = run.communicate(timeout=120)
        assert run.returncode == 0, said
    records, problems = store.records()
    assert problems == [] and [record.spec.seed for record in records] == [0, 1, 2]
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


LOCK = """
import sys
from pathlib import Path
from ganbench.results.store import APART, ResultStore
store = ResultStore(Path(sys.argv[1]))
spec = store.records()[0][0].spec
with store.lock(spec) as got:
    print(got, flush=True)
    sys.stdin.readline()
"""


def test_a_run_is_locked_to_one_process(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add(make_record())
    command = [sys.executable, "-c", LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "True\n"
        with store.lock(make_spec(), blocking=False) as got:
            assert not got
        with store.lock(make_spec(seed=1), blocking=False) as got:
            assert got
        other.communicate("\n")
    with store.lock(make_spec(), blocking=False) as got:
        assert got
    with store.lock(make_spec()) as got:
        assert got


# Folders of their own


def test_a_folder_of_its_own_is_seen_by_those_alone_who_name_it(tmp_path: Path) -> None:
    mine, published = ResultStore(tmp_path), ResultStore(tmp_path / "published")
    mine.add(make_record())
    for seed in (1, 2):
        ResultStore(published.root / "zoo").add(make_record(seed=seed))
    assert [record.spec.seed for record in mine.records()[0]] == [0, 1, 2]
    (published.root / APART).touch()
    assert [record.spec.seed for record in mine.records()[0]] == [0]
    assert [record.spec.seed for record in mine.summaries(curves=True)[0]] == [0]
    for root in (published.root, published.root / "zoo"):
        assert [record.spec.seed for record in ResultStore(root).records()[0]] == [1, 2]
    mine.path(make_spec()).unlink()
    with pytest.raises(UserError, match="no results in"):
        mine.records()


# Pictures


def test_pictures_lie_beside_their_record_and_git_ignores_them(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path / "results"), make_record()
    assert store.samples(record.spec) == store.path(record.spec).with_suffix(".samples")
    assert not store.samples(record.spec).exists()
    folder = store.make_samples(record.spec)
    (folder / "100.png").write_bytes(b"x")
    store.add(record)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    said = subprocess.run(["git", "-C", str(tmp_path), "status", "-s", "-uall"], capture_output=True, text=True)
    (line,) = said.stdout.splitlines()
    assert line.endswith(store.path(record.spec).name)
    assert store.records() == ([record], [])


def test_a_record_that_makes_room_takes_its_pictures_along(tmp_path: Path) -> None:
    store, mine, other = ResultStore(tmp_path), make_record(), make_record(seed=1)
    store.add(other)
    (store.make_samples(other.spec) / "100.png").write_bytes(b"the other's")
    for place in (store.path, store.samples):
        place(other.spec).rename(place(mine.spec))
    store.add(mine)
    assert not store.samples(mine.spec).exists()
    moved = store.path(mine.spec).with_name(f"seed1-{other.spec.id}.samples")
    assert (moved / "100.png").read_bytes() == b"the other's" and moved.with_suffix(".json").exists()
