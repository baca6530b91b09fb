"""A disk that refuses at any moment of any write: one sentence, nothing is harmed, the next attempt is whole.

Each operation is done with its first write-like call refused, then its second, until it passes untouched; once where
only that call fails, and once where all that follow fail as well.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from disk import CODES, content, parts, refusing
from ganbench_plugins.backbones.mlp import MLP

from ganbench.cli.following import Following
from ganbench.cli.group import main
from ganbench.cli.publish import published
from ganbench.contract.data import ImageSet
from ganbench.contract.types import Value
from ganbench.errors import DiskError
from ganbench.files import write_atomically
from ganbench.results.codec import id_in, load
from ganbench.results.progress import PlannedRun, begin_plan, find_sweeps, open_folder
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.schemas import shipped
from ganbench.results.store import ResultStore
from ganbench.results.upgrade import upgrade
from ganbench.runs import run as running
from ganbench.runs.checkpoint import Checkpoints, load_state, save_state
from ganbench.runs.execute import execute
from ganbench.runs.executors import apart
from ganbench.runs.executors.news import Journal
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.executors.travelling import Luggage, unpacked
from ganbench.runs.executors.worker import Event
from ganbench.runs.export import new_folder, write_arrays, write_pictures
from ganbench.runs.former import installed
from ganbench.runs.gallery import draw_last, draw_mark
from ganbench.runs.names import remember, remembered
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover, load_file
from ganbench.runs.steps import unwatched
from ganbench.scoring.features import write_cached
from ganbench.scoring.pictures import write_picture, write_rows
from ganbench.toolbox.prepared import prepared
from ganbench.toolbox.sources import Download, digest_of, fetch
from ganbench.training import trainer
from ganbench.training.bench import Bench
from ganbench.training.budget import Budget, Meters

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
tiny = load_file(PLUGIN)
SCHEMA_1 = Path(__file__).parents[1] / "results" / "schema1"

pytestmark = pytest.mark.usefixtures("switches")

Act = Callable[[Path], Any]
Look = Callable[[Path], Any]


def survives(
    folder: Path,
    prepare: Act,
    act: Act,
    *,
    look: Look = content,
    later: Act | None = None,
    every: int = 1,
    mild: bool = False,
) -> int:
    """Do `act` on a folder as `prepare` leaves it, with one call after the other refused; return how many there are.

    `look`: what of the folder an undisturbed `act` and a second attempt must agree on. `later`: another write, which
    sweeps what is left. `every`: only the first of so many calls is refused. `mild`: a refusal costs nothing but time.
    """
    before, root, codes = folder / "before", folder / "root", list(CODES.values())
    before.mkdir()
    prepare(before)

    def fresh() -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(before, root)

    fresh()
    wanted, whole = act(root), look(root)
    complete = content(root)
    for nth in count(1, every):
        for lasting in (False, True):
            fresh()
            stood, told = content(root), None
            with refusing(root, nth, codes[nth % len(codes)], lasting=lasting) as disk:
                try:
                    found = act(root)
                except DiskError as error:
                    told = str(error)
            if not disk.refused:
                assert found == wanted and look(root) == whole
                assert len(disk.calls) < nth
                return len(disk.calls)
            where = f"call {nth} ({disk.calls[nth - 1]}{' and all that follow' if lasting else ''}) refused: {told}"
            if told is None:  # what failed was a cache, or what was to be swept
                assert found == wanted, where
            else:
                assert not mild, where
                assert told.strip() and "\n" not in told.strip(), where
                now = content(root)
                for name, kept in stood.items():  # as it was, whole as it was to be, or moved as a whole
                    allowed = (kept, complete.get(name), None) if kept in now.values() else (kept, complete.get(name))
                    assert now.get(name) in allowed, f"{where}: {name} was harmed"
            assert act(root) == wanted, where
            assert look(root) == whole, where
            if later is not None:
                later(root)
            assert parts(root) == [], where
    raise AssertionError


def call(*arguments: str) -> int:
    """Give a command. Raises `DiskError` with its sentence where it ends with 2."""
    result = CliRunner().invoke(main, list(arguments))
    assert "Traceback" not in result.output, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code == 2:
        told = [line for line in result.stderr.splitlines() if not line.startswith(("Note: ", "Skipped: "))]
        assert len(told) == 1 and told[0].startswith("Error: "), result.stderr
        raise DiskError(told[0])
    return result.exit_code


def nothing(folder: Path) -> None:
    """Leave a folder as it is."""


# Files


@pytest.mark.parametrize("size", [0, 10, 300_000])
@pytest.mark.parametrize("there", [False, True])
def test_one_file(size: int, there: bool, tmp_path: Path) -> None:
    name = "record.json" if there else "a/b/record.json"

    def prepare(root: Path) -> None:
        if there:
            (root / ".record.json.0123abcd.part").write_bytes(b"left by a killed write")
            (root / name).write_bytes(b"old")

    calls = survives(tmp_path, prepare, lambda root: write_atomically(root / name, lambda f: f.write(b"x" * size)))
    assert calls >= 4  # open, fsync, rename, close


@pytest.mark.parametrize("shape", [(9, 1, 8, 8), (9, 2)])
def test_a_picture(shape: tuple[int, ...], tmp_path: Path) -> None:
    samples = torch.randint(0, 255, shape, dtype=torch.uint8) if len(shape) == 4 else torch.randn(shape)
    survives(tmp_path, nothing, lambda root: write_picture(samples, root / "samples" / "020.png"))


def test_rows_of_pictures(tmp_path: Path) -> None:
    rows = torch.randint(0, 255, (3, 5, 1, 8, 8), dtype=torch.uint8)
    survives(tmp_path, nothing, lambda root: write_rows(rows, root / "samples" / "nearest.png", (1, 4)))


def test_the_pictures_of_the_last_mark(tmp_path: Path) -> None:
    data = tiny.Tiny().load(Path(), 8)
    variant = Bench(tiny.Tiny(), data, MLP()).build(tiny.Plain, None, 0).requires_grad_(False).eval()
    drawn, rows = data.test.images[:16], torch.arange(64)

    def act(root: Path) -> None:
        folder = ResultStore(root).make_samples(record().spec)
        draw_mark(folder, 1, drawn, data)
        draw_last(folder, variant, drawn, data, served=rows, classify=lambda images: None, seed=0)

    assert survives(tmp_path, nothing, act, every=11) > 5 * 4  # three pictures, what is left out and ignored


def test_pictures_that_are_moved(tmp_path: Path) -> None:
    """Those of an earlier ganbench, with some that are in their place already."""

    def prepare(root: Path) -> None:
        store = ResultStore(root)
        hidden = store.work(record().spec) / "samples"
        hidden.mkdir()
        for name in ("020.png", "040.png", "100.png"):
            (hidden / name).write_bytes(name.encode())
        (store.make_samples(record().spec) / "020.png").write_bytes(b"of today")

    assert survives(tmp_path, prepare, lambda root: ResultStore(root).adopt(record().spec)) >= 4
    found = {path.name: path.read_bytes() for path in ResultStore(tmp_path / "root").samples(record().spec).iterdir()}
    assert found == {".gitignore": b"*\n", "020.png": b"of today", "040.png": b"040.png", "100.png": b"100.png"}


@pytest.mark.parametrize("name", ["out", "out.npz"])
@pytest.mark.parametrize("labels", [None, torch.arange(6) % 2])
def test_samples_in_files(name: str, labels: torch.Tensor | None, tmp_path: Path) -> None:
    pieces = [ImageSet(torch.randint(0, 255, (3, 1, 8, 8), dtype=torch.uint8))] * 2
    if labels is not None:
        pieces = [piece._replace(cond=part) for piece, part in zip(pieces, labels.split(3), strict=True)]

    def act(root: Path) -> dict[str, bytes]:
        output = root / name
        if not output.exists():
            if output.suffix:
                write_atomically(output, lambda file: write_arrays(file, iter(pieces), 6))
            else:
                with new_folder(output) as folder:
                    write_pictures(folder, iter(pieces))
        return look(root)

    def look(root: Path) -> dict[str, bytes]:
        return {name: kept for name, kept in content(root).items() if ".part" not in name}

    def swept(root: Path) -> None:  # a disk that refuses everything leaves the folder under its hidden name
        for part in parts(root):
            shutil.rmtree(part)

    assert survives(tmp_path, nothing, act, look=look, later=swept) > 3


def test_what_is_noted_or_kept_to_be_quick_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data" * 100)
    torch.utils.data  # noqa: B018 (imported before the disk fails)
    import os

    os.utime(source, (1e9, 1e9))
    monkeypatch.setattr("ganbench.toolbox.sources._SETTLED", -1)
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "root" / "cache"))
    assert survives(tmp_path, nothing, lambda root: digest_of(source), mild=True) >= 6
    shutil.rmtree(tmp_path / "before")
    write = partial(write_cached, save=lambda file: file.write(b"features"))
    assert survives(tmp_path, nothing, lambda root: write(root / "cache" / "features" / "a.npz"), mild=True) >= 6
    shutil.rmtree(tmp_path / "before")
    assert survives(tmp_path, nothing, lambda root: remember({"variant": ["gan", "wgan"]}), mild=True) >= 6
    assert remembered() == {"variant": ["gan", "wgan"]}


def test_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    source = tmp_path / "there"
    source.write_bytes(bytes(range(256)) * 8000)
    checksum = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    file = Download("archive.zip", checksum, source.stat().st_size, (source.as_uri(),))
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "root" / "cache"))
    survives(tmp_path, nothing, lambda root: fetch(root / "data", file)[0].read_bytes() == source.read_bytes())


@pytest.mark.parametrize("there", ["nothing", "a damaged one"])
def test_prepared_arrays(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "root" / "cache"))
    monkeypatch.setattr("ganbench.toolbox.sources._SETTLED", 10**30)  # digests are not noted

    def build(folder: Path) -> dict[str, Any]:
        for name in ("train", "test"):
            np.save(folder / f"{name}.npy", np.arange(5000))
        return {"kind": "numbers"}

    def act(root: Path, source: str = "x") -> Any:
        found = prepared({"source": source}, build)
        return {name: array.sum().item() for name, array in found.arrays.items()}, dict(found.notes)

    def prepare(root: Path) -> None:
        if there != "nothing":
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GANBENCH_CACHE", str(root / "cache"))
                act(root)
            (array,) = root.rglob("train.npy")
            array.write_bytes(array.read_bytes()[:-8])

    def look(root: Path) -> Any:
        return {name: kept for name, kept in content(root).items() if ".part" not in name}

    survives(tmp_path, prepare, act, look=look, later=lambda root: act(root, "y"))


# States


def test_weights_and_checkpoints(tmp_path: Path) -> None:
    states = [
        {"trainer": {"x": torch.full((500,), float(n))}, "curve": "[]", "unscored": {}, "threads": 1} for n in (1, 2, 3)
    ]

    def prepare(root: Path) -> None:
        for state in states[:2]:
            Checkpoints(root, "run").save(state)

    def look(root: Path) -> Any:
        found = {path.name: load_state(path, "run") for path in root.glob("*.pt")}
        return {name: state["trainer"]["x"][0].item() for name, state in found.items() if state}

    def act(root: Path) -> Any:
        if look(root) == {"checkpoint.pt": 3.0, "checkpoint-before.pt": 2.0}:
            return None  # it was saved although its sentence says otherwise
        return Checkpoints(root, "run").save(states[2])

    def never_lost(root: Path) -> None:
        assert Checkpoints(root, "run").load() is not None
        act(root)

    survives(tmp_path, prepare, never_lost, look=look)
    shutil.rmtree(tmp_path / "before")
    survives(tmp_path, nothing, lambda root: save_state(root / "work" / "final.pt", {"x": torch.ones(9)}, "run"))


# Records


def record(seed: int = 0, images: int = 640, **facts: Any) -> RunRecord:
    spec = RunSpec("gan", "digits", "dcgan", Budget(1280, "images"), seed, 8, 64, data="d" * 64)
    return RunRecord(spec, "done", meters=Meters(images // 64, images, {"D": 1, "G": 1}, 1e9, 1.0, 1), **facts)


TRACES = {"loss/G": np.arange(1000, dtype=np.float32), "loss/D": np.ones(1000, np.float32)}


def poorer(root: Path) -> None:
    ResultStore(root).add(replace(record(images=320), status="killed"), {"loss/G": np.ones(5)})


def damaged(root: Path) -> None:
    poorer(root)
    ResultStore(root).path(record().spec).write_bytes(b"{")


def pictured(root: Path, of: RunRecord) -> None:
    (ResultStore(root).make_samples(of.spec) / "100.png").write_bytes(b"a picture")


def anothers(root: Path) -> None:
    store = ResultStore(root)
    other = record(seed=1, values={"fid": [Value(1.0)]})
    store.add(other, {"loss/G": np.zeros(3)})
    target = store.path(record().spec)
    store.path(other.spec).rename(target)
    store.traces_path(other.spec).rename(target.with_suffix(".traces.npz"))
    pictured(root, record())  # they have the name of the other's record, and are its


@pytest.mark.parametrize("prepare", [nothing, poorer, damaged, anothers])
def test_a_record_with_its_traces(prepare: Act, tmp_path: Path) -> None:
    def act(root: Path) -> Any:
        kept = ResultStore(root).add(record(values={"fid": [Value(2.0, {"n": 5})]}), TRACES)
        assert kept.status == "done"
        return kept

    def look(root: Path) -> Any:
        found = content(root)
        return {name: kept for name, kept in found.items() if not name.endswith(".damaged")}

    survives(tmp_path, prepare, act, look=look)


def test_the_lock_and_the_folder_of_a_run(tmp_path: Path) -> None:
    def act(root: Path) -> bool:
        with ResultStore(root).lock(record().spec, blocking=False) as free:
            return free

    survives(tmp_path, nothing, act)


def test_orders_and_news_of_a_run(tmp_path: Path) -> None:
    (job,) = plan(Request(("plain",), ("tiny",), seeds=1, plugins=(PLUGIN,)), discover((PLUGIN,))).jobs

    def act(root: Path) -> list[str]:
        order = RunOrder(job, root)
        path = ResultStore(root).work(job.spec) / f"news-{order.attempt}.jsonl"
        Journal(path).write(Event(job, note="begun"))
        Journal(path).fail("no such folder")
        return [event.note or event.record.error for event in order.news()]  # type: ignore[union-attr]

    def look(root: Path) -> dict[str, bytes]:  # each attempt has a file of its own
        return {name: text for name, text in content(root).items() if "news-" not in name}

    survives(tmp_path, nothing, act, look=look)


def test_plugins_that_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = plan(Request(("plain",), ("tiny",), seeds=1, plugins=(PLUGIN,)), discover((PLUGIN,))).jobs
    luggage = Luggage({"/not/here": {PLUGIN.name: b"", "beside.py": b""}})
    there = replace(job, plugins=(Path("/not/here") / PLUGIN.name,))

    def act(root: Path) -> list[str]:
        monkeypatch.setattr("tempfile.tempdir", str(root))
        with unpacked(luggage, there) as made:
            return sorted(path.name for path in made.plugins[0].parent.iterdir())

    # A disk that refuses to the end keeps what cannot be removed, in the folder of the system for such things.
    survives(tmp_path, nothing, act, look=lambda root: None)


@pytest.mark.parametrize("form", ["markdown", "csv", "json"])
@pytest.mark.parametrize("there", [False, True])
def test_report_to_a_file(form: str, there: bool, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for seed in range(40):
        ResultStore(results).add(record(seed, values={"fid": [Value(2.0 + seed, {"n": 5})]}))

    def prepare(root: Path) -> None:
        if there:
            (root / "report").write_text("the report of before")

    act = partial(call, "report", "--results", str(results), "--format", form, "--output")
    survives(tmp_path, prepare, lambda root: act(str(root / "report")))


def test_merge(tmp_path: Path) -> None:
    def prepare(root: Path) -> None:
        one, two = ResultStore(root / "here"), ResultStore(root / "there")
        for seed in (1,):
            one.add(record(seed, values={"fid": [Value(2.0, {"n": 5})]}), TRACES)
        for seed in (1, 2):  # one known, one new
            of = record(seed, values={"fid": [Value(2.0, {"n": 5})], "kid": [Value(3.0)]})
            two.add(of, TRACES)
            save_state(
                two.work(of.spec) / "checkpoint.pt",
                {"trainer": {}, "curve": "", "unscored": {}, "threads": 1},
                of.spec.id,
            )
        pictured(root / "there", of)

    survives(
        tmp_path, prepare, lambda root: call("results", "merge", str(root / "there"), "--results", str(root / "here"))
    )


def test_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Writing is the command's own part; to look for plugins in a process each time would take minutes.
    known = installed((), unwatched)
    monkeypatch.setattr(apart, "survive", lambda function, *arguments: (known, {}))

    def prepare(root: Path) -> None:
        (path,) = SCHEMA_1.rglob("digits/*/*/real/seed0-*.json")
        target = root / path.relative_to(SCHEMA_1)
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
        with target.with_suffix(".traces.npz").open("wb") as file:
            np.savez(file, **TRACES)  # type: ignore[arg-type]
        work = root / ".work" / id_in(load(path))
        work.mkdir(parents=True)
        for name in ("final.pt", "lock", "error.txt"):
            (work / name).write_bytes(name.encode())
        for folder in (work / "samples", target.with_suffix(".samples")):
            folder.mkdir()
            (folder / f"{folder.name}.png").write_bytes(b"a picture")

    assert survives(tmp_path, prepare, lambda root: call("results", "upgrade", "--results", str(root))) > 8
    (moved,) = (tmp_path / "root" / ".work").glob("*/final.pt")
    assert moved.parent.name == ResultStore(tmp_path / "root").records()[0][0].spec.id


def test_upgrade_of_records_that_keep_their_names(tmp_path: Path) -> None:
    known = {"defaults": {"variant": {}, "backbone": {}, "dataset": {}}}
    of = [record(seed, variant=known, values={"fid": [Value(2.0, {"weights": "raw"})]}) for seed in (0, 1)]

    def prepare(root: Path) -> None:
        for each in of:
            path = ResultStore(root).path(each.spec)
            ResultStore(root).add(each, TRACES)
            path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))

    def act(root: Path) -> None:
        upgrade(ResultStore(root), shipped)
        for each in of:  # whatever was refused, all are read, and of one run each
            assert ResultStore(root).get(each.spec) is not None

    assert survives(tmp_path, prepare, act) >= 8
    assert upgrade(ResultStore(tmp_path / "root"), shipped) == ([], [])


@pytest.mark.parametrize("stale", [False, True])
def test_prune(stale: bool, tmp_path: Path) -> None:
    def prepare(root: Path) -> None:
        store = ResultStore(root)
        old = record(0)
        old = replace(old, spec=replace(old.spec, numbers=0))
        for of in (old, record(1)):
            store.add(of, TRACES)
            pictured(root, of)
            for name in ("checkpoint.pt", "checkpoint-before.pt", "final.pt", "checkpoint.damaged"):
                (store.work(of.spec) / name).write_bytes(b"x")
        pictured(root, record(2))  # of no record
        (root / ".work" / "nobodys" / "samples").mkdir(parents=True)
        (root / ".work" / "nobodys" / "samples" / "1.png").write_bytes(b"x")

    def act(root: Path) -> int:
        return call("results", "prune", "--results", str(root), *(["--stale"] if stale else []))

    survives_removal(tmp_path, prepare, act)


def test_cache_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "root"))

    def prepare(root: Path) -> None:
        for name in ("features/a.npz", "data/abc/train.npy", "data/abc/meta.json", "digests/0", "others/kept"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")

    survives_removal(tmp_path, prepare, lambda root: call("cache", "prune"))
    assert list(content(tmp_path / "root")) == ["others/kept"]


def survives_removal(folder: Path, prepare: Act, act: Act) -> None:
    """Do so with an operation that removes: what it is not to remove stays, and what remains goes the next time."""
    before, root = folder / "before", folder / "root"
    before.mkdir()
    prepare(before)
    shutil.copytree(before, root)
    act(root)
    whole, stood = content(root), content(before)
    for nth in count(1):
        for lasting in (False, True):
            shutil.rmtree(root)
            shutil.copytree(before, root)
            with refusing(root, nth, list(CODES.values())[nth % 5], lasting=lasting) as disk:
                try:
                    act(root)
                    told = None
                except DiskError as error:
                    told = str(error)
            if not disk.refused:
                assert content(root) == whole
                return
            assert told is not None, nth
            now = content(root)
            assert whole.items() <= now.items() <= stood.items()
            act(root)
            assert content(root) == whole


# Runs


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


def timeless(of: RunRecord | None) -> Any:
    assert of is not None
    marks = [replace(mark, meters=replace(mark.meters, seconds=0.0, peak_bytes=0)) for mark in of.curve]
    return replace(of, meters=replace(of.meters, seconds=0.0, peak_bytes=0), curve=marks)


def weights(path: Path) -> Any:
    state = torch.load(path, weights_only=True)
    return {name: tensor.tolist() for name, tensor in state["raw"].items()}


@pytest.mark.parametrize(
    ("variant", "every"),
    [
        ("plain", 29),
        ("raises", 17),
        ("makes-nan", 23),
        pytest.param("plain", 1, marks=pytest.mark.slow),
        pytest.param("raises", 1, marks=pytest.mark.slow),
        pytest.param("makes-nan", 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the run (goes on|starts anew):UserWarning")
def test_a_run(variant: str, every: int, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "root" / "cache"))
    request = Request([variant], ["tiny"], budget="384-images", seeds=1, marks=2, samples=16, settings=("mlp.width=4",))
    (job,) = plan(request, registry).jobs

    def act(root: Path) -> Any:
        return timeless(execute(job, ResultStore(root / "results"), registry, threads=1))

    def look(root: Path) -> Any:
        store = ResultStore(root / "results")
        found = store.get(job.spec)
        traces = {name: repr(trace.tolist()) for name, trace in store.traces(found).items()} if found else {}
        final = store.work(job.spec) / "final.pt"
        # Checkpoints of a run that has ended may be left: `ganbench results prune` removes them.
        names = sorted(name for name in content(root / "results") if "/checkpoint" not in name)
        return timeless(found), traces, weights(final) if final.exists() else None, names

    survives(tmp_path, nothing, act, look=look, every=every)


def test_what_a_sweep_writes_about_itself(tmp_path: Path) -> None:
    """What cannot be written, or taken away, stops nothing; what it says of an earlier moment stays whole."""
    sweep = begin_plan("ganbench run", 1, [PlannedRun("a", "gan", 0)], known=0)

    def act(root: Path) -> None:
        with published(Following([], {}, 1), sweep, ResultStore(root)):
            pass

    def prepare(root: Path) -> None:
        act(root)
        open_folder(ResultStore(root), replace(sweep, process=replace(sweep.process, host="elsewhere")))

    def look(root: Path) -> list[str]:
        return sorted(each.state for each in find_sweeps(root)[0])

    before, root = tmp_path / "before", tmp_path / "root"
    prepare(before)
    for nth in count(1):
        for lasting in (False, True):
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(before, root)
            with refusing(root, nth, list(CODES.values())[nth % len(CODES)], lasting=lasting) as disk:
                act(root)
            sweeps, problems = find_sweeps(root)
            assert problems == [] and {each.state for each in sweeps} <= {"running", "finished"}
            assert parts(root) == [] or disk.refused
        if not disk.refused:
            break
    assert nth > 5 and look(root) == ["finished", "running"]


def test_every_kind_of_write_is_among_these() -> None:
    """A module that writes and is not known here is to be damaged as well."""
    known: Sequence[str] = (
        "files.py", "toolbox/prepared.py", "toolbox/sources.py", "cli/report.py", "results/upkeep.py",
        "results/moving.py", "results/store.py", "results/upgrade.py", "results/progress.py", "cli/plot.py",
        "cli/page.py",
        "runs/export.py", "runs/names.py", "scoring/pictures.py", "scoring/features.py",
        "runs/lab.py", "results/findings.py",
        "runs/gallery.py", "runs/blame.py", "runs/checkpoint.py", "runs/executors/limits.py", "results/lease.py",
        "runs/executors/orders.py", "runs/executors/travelling.py", "runs/executors/carrying.py",
    )  # fmt: skip
    root = Path(main.callback.__code__.co_filename).parents[1]  # type: ignore[union-attr]
    writing = ("write_atomically(", ".write_bytes(", ".write_text(", "mkdir(", "unlink(", "rmtree(")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(word in path.read_text("utf-8") for word in writing)
    }
    assert found == set(known)
