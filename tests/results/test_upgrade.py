"""Records of schema 1: read as they are, and given their new names once, whatever comes between."""

from __future__ import annotations

import csv
import io
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from ganbench.errors import DiskError, UserError
from ganbench.reports.render import render
from ganbench.results.codec import id_in, load
from ganbench.results.lease import Lease
from ganbench.results.record import SCHEMA, RunRecord
from ganbench.results.schemas import Known, id_before, shipped, unknown_plugins
from ganbench.results.store import ResultStore
from ganbench.results.upgrade import bring_all_samples, upgrade
from ganbench.runs.former import lookup_in, table_of
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

BEFORE = Path(__file__).parent / "schema1"
"""Records that ganbench 0.1 wrote, and `before.csv`, its own report of them (`report --format csv --runs`)."""

IDS = {
    "celeba/dcgan/48k-images/gan/seed0-1edd348f.json": "f430b68e465721da",
    "digits-pair/dcgan/8k-images/discogan/seed0-d5a2333c.json": "e9399aeca75322df",
    "digits/dcgan/40k-images/real/seed0-cda104c4.json": "e0456844c7499bb2",
    "grid/pacgan/20k-updates/gan/seed0-7133b8f8.json": "de77bebfb2150f55",
    "mnist/dcgan/64k-images/gan/seed0-3f946c91.json": "359cf09ffbd3b9b7",
    "ring/pacgan/2k-updates/ali/seed0-91abae4f.json": "43609d3267342ce9",
    "ring/pacgan/2k-updates/pacgan/seed0-5b333271.json": "d4c36a56599a78ed",
}
"""The names that these records have had since schema 2. They never change: a failure here is a run made twice."""
SHORTER = {
    "betas=[0.8,0.999] lr=0.0001": {"ali": "betas=[0.8,0.999]"},
    "betas=[0.8,0.999] lr=0.0001 packing=2": {"pacgan": "betas=[0.8,0.999] lr=0.0001"},
}
"""Options that are said no longer, because they were set to their defaults, by variant."""
REAL = "digits/dcgan/40k-images/real/seed0-cda104c4.json"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of schema 1, one of whose runs has kept what a working folder may hold."""
    root = tmp_path / "results"
    shutil.copytree(BEFORE, root)
    (root / "before.csv").unlink()
    work = root / ".work" / before_id(root / REAL)
    (work / "samples").mkdir(parents=True)
    for name in ("checkpoint.pt", "final.pt", "samples/100.png"):
        (work / name).write_text(name)
    return root


def before_id(path: Path) -> str:
    return {row["id"][:8]: row["id"] for row in before()}[path.stem.partition("-")[2]]


def before() -> list[dict[str, str]]:
    with (BEFORE / "before.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def report(root: Path) -> list[dict[str, str]]:
    records, problems = ResultStore(root).records()
    assert problems == []
    return list(csv.DictReader(io.StringIO(render(records, [], "csv", runs=True))))


def tree(root: Path) -> dict[str, bytes]:
    """What lies in a folder, without temporary files and locks."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith((".part", "/lock"))}


def put(path: Path, *keys: str, value: Any) -> None:
    """Change one value of a stored record."""
    content = json.loads(path.read_text("utf-8"))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content), "utf-8")


# Names and numbers


def test_every_record_gets_its_name_in_its_folder(results: Path) -> None:
    store = ResultStore(results)
    moved, problems = upgrade(store, shipped)
    assert problems == []
    assert {f"{path.rpartition('-')[0]}-{new[:8]}.json" for path, new in IDS.items()} == {
        path.relative_to(results).as_posix() for path in results.rglob("seed*.json")
    }
    assert sorted(record.spec.id for record in moved) == sorted(IDS.values())
    assert all(store.get(record.spec) == record for record in moved)
    assert all(record.schema == SCHEMA and record.spec.numbers == 1 for record in moved)


def test_the_names_are_those_that_the_same_commands_give_today() -> None:
    registry, checked = discover(), 0
    for record in ResultStore(BEFORE).records()[0]:
        spec = record.spec
        code = {kind: registry.get(kind, getattr(spec, kind)).code for kind in ("variant", "backbone")}
        if spec.dataset not in ("digits", "digits-pair", "ring", "grid") or spec.code != code:
            continue
        options = {**spec.options, **({"packing": 2} if spec.variant == "pacgan" else {})}
        request = Request(
            [spec.variant],
            [spec.dataset],
            spec.backbone,
            str(spec.budget),
            seeds=1,
            size=spec.size,
            batch=spec.batch,
            settings=[f"{spec.variant}.{key}={json.dumps(value)}" for key, value in options.items()],
            preset=spec.preset,
        )
        (job,) = plan(request, registry).jobs
        assert replace(job.spec, numbers=spec.numbers, data=spec.data) == spec  # digits are divided otherwise since
        checked += 1
    if not checked:
        pytest.skip("the code of all these plugins has changed since")


def test_former_names_are_found_from_new_ones() -> None:
    names = {path.rpartition("-")[2].removesuffix(".json"): new for path, new in IDS.items()}
    found = {str(id_before(record.spec))[:8]: record.spec.id for record in ResultStore(BEFORE).records()[0]}
    set_to_defaults = {"91abae4f", "5b333271"}  # of these, what was set is no longer known
    assert {old: new for old, new in names.items() if old not in set_to_defaults}.items() <= found.items()


@pytest.mark.parametrize("upgraded", [False, True])
def test_reports_show_the_same_numbers(upgraded: bool, results: Path) -> None:
    untouched = tree(results)
    if upgraded:
        upgrade(ResultStore(results), shipped)
    after = report(results)
    assert upgraded or tree(results) == untouched
    assert len(after) == len(before())
    for old, new in zip(before(), after, strict=True):
        old, new = ({key: cell for key, cell in row.items() if not key.endswith("_protocol")} for row in (old, new))
        assert new.pop("numbers", "1") == "1" and new.pop("weights") in ("", "raw", "ema")
        new["size"] = new["size"] or "0"  # of points
        assert {**old, "id": "", "options": ""} == {**new, "id": "", "options": ""}
        assert new["options"] == SHORTER.get(old["options"], {}).get(old["variant"], old["options"])


def test_the_second_time_does_nothing(results: Path) -> None:
    upgrade(ResultStore(results), shipped)
    after = tree(results)
    assert upgrade(ResultStore(results), shipped) == ([], [])
    assert tree(results) == after


def test_traces_and_working_folder_go_along(results: Path) -> None:
    traces = np.load(results / REAL.replace(".json", ".traces.npz")).files
    old = before_id(results / REAL)
    upgrade(ResultStore(results), shipped)
    store = ResultStore(results)
    (record,) = [record for record in store.records()[0] if record.spec.variant == "real"]
    assert list(store.traces(record)) == traces and store.traces_path(record.spec).exists()
    work = store.work(record.spec)
    kept = {path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()}
    assert kept == {"checkpoint.pt", "final.pt", "samples/100.png"}
    assert bring_all_samples(store) == 1 and bring_all_samples(store) == 0
    assert {path.name for path in store.samples(record.spec).iterdir()} == {"100.png", ".gitignore"}
    assert (store.samples(record.spec) / "100.png").read_text() == "samples/100.png"
    assert not (work / "samples").exists()
    assert not (results / ".work" / old).exists()
    assert len(list(results.rglob("*.npz"))) == 1


def test_a_working_folder_is_found_above_a_folder_of_some_of_its_runs(results: Path) -> None:
    upgrade(ResultStore(results / "digits"), shipped)
    assert (results / ".work" / IDS[REAL] / "final.pt").read_text() == "final.pt"


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions here")
def test_what_others_may_read_they_may_read_afterwards(results: Path) -> None:
    upgrade(ResultStore(results), shipped)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in results.rglob("seed*.json")}
    assert modes == {0o644}


# What is left as it is


def foreign(path: Path) -> None:
    path.write_text('{"name": "not ours"}')


def cut(path: Path) -> None:
    path.write_text(path.read_text("utf-8")[:500], "utf-8")


def newer(path: Path) -> None:
    put(path, "schema", value=SCHEMA + 1)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (foreign, "is not a record of a run"),
        (cut, "is damaged"),
        (newer, "written by a newer ganbench"),
    ],
)
def test_what_is_no_record_of_schema_1_is_left_with_a_sentence(
    harm: Callable[[Path], None], said: str, results: Path
) -> None:
    path = results / REAL
    harm(path)
    left = path.read_bytes()
    moved, (problem,) = upgrade(ResultStore(results), shipped)
    assert len(moved) == len(IDS) - 1
    assert str(path) in problem and said in problem and "\n" not in problem
    assert path.read_bytes() == left and (results / ".work" / before_id(path) / "final.pt").exists()


def test_a_record_whose_name_is_taken_is_left_and_told_of(results: Path) -> None:
    path = results / REAL
    (record,) = [record for record in ResultStore(results).records()[0] if record.spec.variant == "real"]
    ResultStore(results).add(RunRecord(record.spec, "diverged"))
    left = path.read_bytes()
    moved, (problem,) = upgrade(ResultStore(results), shipped)
    assert str(path) in problem and "a record of the same run" in problem
    assert path.read_bytes() == left and record.spec not in [other.spec for other in moved]
    kept = ResultStore(results).get(record.spec)
    assert kept is not None and kept.status == "diverged"


def test_of_two_records_that_are_one_run_today_the_one_that_ended_gets_the_name(results: Path) -> None:
    ended = results / "ring/pacgan/2k-updates/ali/seed0-91abae4f.json"
    stopped = ended.with_name("seed0-00000000.json")  # comes first by name
    shutil.copy(ended, stopped)
    put(stopped, "spec", "options", value={"betas": [0.8, 0.999]})
    put(stopped, "status", value="killed")
    store = ResultStore(results)
    spec = next(record.spec for record in store.records()[0] if record.spec.variant == "ali")
    assert (found := store.get(spec)) is not None and found.status == "done"
    _, (problem,) = upgrade(store, shipped)
    assert str(stopped) in problem
    assert (found := store.get(spec)) is not None and found.status == "done"


def test_a_copy_is_left_beside_the_record(results: Path) -> None:
    copy = (results / REAL).with_name("copy of it.json")
    shutil.copy(results / REAL, copy)
    _, (problem,) = upgrade(ResultStore(results), shipped)
    assert str(copy) in problem and copy.read_bytes() == (BEFORE / REAL).read_bytes()
    assert not (results / REAL).exists()


@contextmanager
def leased(folder: Path) -> Iterator[None]:
    lease = Lease(folder)
    assert lease.acquire()
    yield
    lease.release()


@pytest.mark.parametrize("kept", [lambda folder: FileLock(folder / "lock"), leased])
def test_a_run_that_another_command_makes_is_left(results: Path, kept: Any) -> None:
    old = before_id(results / REAL)
    with kept(results / ".work" / old):
        moved, (problem,) = upgrade(ResultStore(results), shipped)
    assert len(moved) == len(IDS) - 1 and "another command is at work on its run" in problem
    assert (results / REAL).exists() and (results / ".work" / old / "final.pt").exists()
    assert len(upgrade(ResultStore(results), shipped)[0]) == 1


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results in"):
        upgrade(ResultStore(tmp_path / "missing"), shipped)


# Odd records


def places(content: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of nested mappings, as a path."""
    for key, value in content.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


def test_an_odd_record_is_read_or_named_in_one_sentence(tmp_path: Path) -> None:
    root = tmp_path / "results"
    path = root / "ring" / "seed0-91abae4f.json"
    path.parent.mkdir(parents=True)
    text = (BEFORE / "ring/pacgan/2k-updates/ali/seed0-91abae4f.json").read_text("utf-8")
    content = json.loads(text)
    content["curve"] = content["curve"][:1]
    odd = [(*place, value) for place in places(content) for value in (None, [1, 2], {}, "ab", 7)]
    assert len(odd) > 500
    read = 0
    for *keys, value in odd:
        path.write_text(json.dumps(content), "utf-8")
        put(path, *keys, value=value)
        before_it = path.read_bytes()
        store = ResultStore(root)
        records, problems = store.records()
        moved, also = upgrade(store, shipped)
        assert len(records) + len(problems) == 1 and problems == also and len(records) == len(moved), keys
        if problems:
            assert str(path) in problems[0] and "\n" not in problems[0] and len(problems[0]) < 400
            assert path.read_bytes() == before_it
        else:
            read += 1
            (again,), _ = store.records()
            assert again == records[0]
            (upgraded,) = root.rglob("*.json")
            upgraded.unlink()
    assert 0 < read < len(odd)


# Plugins that nothing is known of


def test_a_plugin_that_is_not_known_keeps_the_hash_of_its_file(results: Path) -> None:
    put(results / REAL, "spec", "code", "variant", value="5" * 64)
    put(results / REAL, "spec", "options", value={"a": 1})
    put(results / REAL, "spec", "config", "variant", value={"a": 1.0, "b": 2})
    former = results / ".work" / id_in(load(results / REAL))
    (results / ".work" / before_id(results / REAL)).rename(former)
    moved, problems = upgrade(ResultStore(results), shipped)
    (record,) = [record for record in moved if record.spec.variant == "real"]
    assert problems == [] and record.spec.code["variant"] == "5" * 64 and record.spec.options == {"a": 1}
    assert unknown_plugins(record) == ["variant real"]
    assert [unknown for other in moved if other is not record for unknown in unknown_plugins(other)] == []
    assert any(row["variant"] == "real" and row["options"] == "a=1" for row in report(results))

    def lookup(kind: str, name: str, sha256: str) -> Known | None:
        return Known("6" * 64, {"a": 1, "b": 3}) if sha256 == "5" * 64 else shipped(kind, name, sha256)

    (record,), problems = upgrade(ResultStore(results), lookup)  # once it is at hand
    assert problems == [] and unknown_plugins(record) == []
    assert record.spec.code["variant"] == "6" * 64 and record.spec.options == {}
    assert record.spec.config["variant"] == {"a": 1, "b": 2}
    assert ResultStore(results).get(record.spec) == record
    assert (results / ".work" / record.spec.id / "final.pt").exists()
    assert upgrade(ResultStore(results), lookup) == ([], [])


def test_an_installed_plugin_and_a_single_file_are_known_by_the_hash_of_their_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from ganbench import Variant, hookimpl\n"
        "class Mine(Variant):\n"
        "    @dataclass(frozen=True)\n"
        "    class Config:\n"
        "        lr: float = 2e-4\n"
        "        betas: tuple[float, float] = (0.5, 0.999)\n"
        "    config: Config\n"
        "    name, summary = 'mine', 'a variant of a file'\n"
        "    def build(self, parts): ...\n"
        "    def optimizers(self): return {}\n"
        "    def step(self, batch, clock): yield\n"
        "@hookimpl\n"
        "def ganbench_variants(): return [Mine]\n"
    )
    registry = discover([file])
    entry = registry.get("variant", "mine")
    lookup = lookup_in(table_of([("variant", entry)]))
    assert lookup("variant", "mine", entry.origin.sha256) == Known(entry.code, {"lr": 2e-4, "betas": [0.5, 0.999]})
    assert lookup("variant", "mine", "0" * 64) is None and lookup("variant", "mine", "") is None
    assert lookup("variant", "no such", entry.origin.sha256) is None
    backbone = registry.get("backbone", "mlp")
    known = lookup_in(table_of([("backbone", backbone)]))("backbone", "mlp", backbone.origin.sha256)
    assert known is not None and known.code == backbone.code and "width" in known.defaults


# Runs that are looked for


def test_a_run_is_found_under_its_former_name_and_adopted(results: Path) -> None:
    store = ResultStore(results)
    (record,) = [record for record in store.records()[0] if record.spec.variant == "real"]
    untouched = tree(results)
    assert store.get(record.spec) == record and store.find(record.spec) == record
    assert tree(results) == untouched
    with store.lock(record.spec):
        store.adopt(record.spec)
    assert not (results / REAL).exists() and store.path(record.spec).exists()
    assert store.get(record.spec) == record
    assert (store.work(record.spec) / "checkpoint.pt").read_text() == "checkpoint.pt"


def test_adopting_never_replaces_what_is_newer(results: Path) -> None:
    store = ResultStore(results)
    (record,) = [record for record in store.records()[0] if record.spec.variant == "real"]
    store.add(RunRecord(record.spec, "killed", "continued"))
    store.adopt(record.spec)
    assert (results / REAL).exists()
    found = store.get(record.spec)
    assert found is not None and found.error == "continued"


def test_a_run_of_today_that_left_no_facts_has_no_former_name(results: Path) -> None:
    store = ResultStore(results)
    spec = replace(store.records()[0][0].spec, seed=7)
    store.add(RunRecord(spec, "killed"))
    with store.lock(spec):
        store.adopt(spec)
    assert store.get(spec) == RunRecord(spec, "killed")


# Interruptions


CHANGES = """
import os, shutil, sys
from pathlib import Path
from ganbench.results.schemas import shipped
from ganbench.results.store import ResultStore
from ganbench.results.upgrade import bring_all_samples, upgrade

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
left = 0

def end_at_a_change(event, args):
    global left
    if event in CHANGES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
        left -= 1
        if left == 0:
            os._exit(9)

sys.addaudithook(end_at_a_change)
source, target = map(Path, sys.argv[1:])
reference, _ = ResultStore(source).records()
for step in range(1, 1000):
    root = target / str(step)
    shutil.copytree(source, root)
    child = os.fork()
    if child == 0:
        left = step
        upgrade(ResultStore(root), shipped)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found, _ = ResultStore(root).records()
    assert found == reference, step
    _, problems = upgrade(ResultStore(root), shipped)
    assert problems == [], (step, problems)
    if code == 0:
        break
print(step)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_ended_at_any_step_it_goes_on_where_it_was(results: Path, tmp_path: Path) -> None:
    for path in results.rglob("seed*.json"):
        if path != results / REAL:
            path.unlink()
    ends = subprocess.run(
        [sys.executable, "-c", CHANGES, str(results), str(tmp_path / "ends")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ends.returncode == 0, ends.stderr
    assert int(ends.stdout) > 10
    upgrade(ResultStore(results), shipped)
    for root in (tmp_path / "ends").iterdir():
        assert tree(root) == tree(results)


TOGETHER = """
import os, shutil, sys
from pathlib import Path
from ganbench.results.schemas import shipped
from ganbench.results.store import ResultStore
from ganbench.results.upgrade import bring_all_samples, upgrade

source, target = map(Path, sys.argv[1:])
for number in range(12):
    root = target / str(number)
    shutil.copytree(source, root)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            _, problems = upgrade(ResultStore(root), shipped)
            strange = [problem for problem in problems if "another command" not in problem]
            print(*strange, sep="\\n", end="", flush=True)
            os._exit(bool(strange))
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_several_at_once_do_no_harm(results: Path, tmp_path: Path) -> None:
    together = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(results), str(tmp_path / "together")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert together.returncode == 0, together.stdout + together.stderr
    upgrade(ResultStore(results), shipped)
    for root in (tmp_path / "together").iterdir():
        upgrade(ResultStore(root), shipped)
        assert tree(root) == tree(results)


def test_a_disk_that_refuses_is_one_sentence_and_harms_nothing(results: Path) -> None:
    # A file where the working folders belong refuses also root, whom permissions do not stop.
    work = results / ".work"
    (work / IDS[REAL]).write_text("")
    untouched = tree(results)
    with pytest.raises(DiskError, match="cannot move") as caught:
        upgrade(ResultStore(results / "digits"), shipped)
    assert "\n" not in str(caught.value) and tree(results) == untouched
