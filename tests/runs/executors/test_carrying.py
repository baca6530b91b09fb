"""A run that is made where the folder of results is not seen: what comes of it is carried there, and looked at."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ganbench import Depot, UserError
from ganbench.errors import DiskError
from ganbench.results import upkeep
from ganbench.results.store import ResultStore
from ganbench.runs.executors import carrying
from ganbench.runs.executors.local import run_all
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

TINY = Path(__file__).parents[2] / "tiny_plugin.py"


class Line(Depot):
    """Carries calls as an engine does, and remembers what it carried. `spoil`: what becomes of it on the way."""

    def __init__(self, depot, spoil=lambda files: files):
        self.depot, self.spoil, self.carried = depot, spoil, []

    def lend(self, maker):
        return pickle.loads(pickle.dumps(self.depot.lend(maker)))

    def take(self, maker, files):
        self.carried.append(sorted(files))
        return self.depot.take(maker, self.spoil(pickle.loads(pickle.dumps(dict(files)))))

    def close(self, maker=""):
        self.depot.close(maker)


class Watched(Line):
    """Looks, after each take, at what was told of a run and at what is kept of it."""

    def __init__(self, order):
        super().__init__(order.depot())
        self.order, self.files, self.heard, self.ahead = order, [], [], []

    def take(self, maker, files):
        self.files.append(files)
        going_on = super().take(maker, files)
        self.heard += self.order.news()
        told, record = shares(self.heard), ResultStore(self.order.results).get(self.order.job.spec)
        self.ahead += [share for share in told[-1:] if record.curve[-1].share < share]
        return going_on


@pytest.fixture(scope="module")
def jobs():
    asked = Request(("slow", "raises"), ("tiny",), budget="1280-images", seeds=1, marks=5, plugins=(TINY,))
    return {job.spec.variant: job for job in plan(asked, discover((TINY,))).jobs}


@pytest.fixture(scope="module")
def whole(jobs, tmp_path_factory):
    """What the local executor makes of a run."""
    results = tmp_path_factory.mktemp("whole")
    for _ in run_all([jobs["slow"]], results, parallel=1, threads=1):
        pass
    return kept(results)


@pytest.fixture(scope="module")
def carried(jobs, tmp_path_factory):
    """The line on which all of the run was carried."""
    line = Watched(RunOrder(jobs["slow"], tmp_path_factory.mktemp("carried")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carrying, "LOOK_SECONDS", 0.02)
        assert line.order.make(threads=1, depot=line)
    return line


@pytest.fixture(scope="module")
def parcels(carried):
    return [files for files in carried.files if "record" in files]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.1)


def shares(events):
    return [event.mark.share for event in events if event.mark is not None]


def kept(results):
    store, found = ResultStore(results), {}
    for record in store.records()[0]:
        curve = [mark.values for mark in record.curve]
        meters = replace(record.meters, seconds=0.0, peak_bytes=0)
        pictures = sorted(path.name for path in store.samples(record.spec).glob("*.png"))
        facts = (record.status, record.values, curve, meters, record.checksums.get("weights"), pictures)
        found[record.spec.variant] = facts
        store.traces(record)  # raises where they are not its own
    return found


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_is_carried_is_the_run_that_is_not(carried, whole):
    assert shares(carried.heard) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert carried.heard[-1].record.status == "done"
    results, run = carried.order.results, carried.order.run
    assert kept(results) == whole
    assert sorted(path.name for path in (results / ".work" / run).iterdir()) == ["final.pt", "lease-000001"]
    assert not list((results / ".work" / "executors").iterdir())


def test_what_is_told_is_kept_already_and_what_has_not_changed_is_not_carried_again(carried):
    assert carried.ahead == []
    for name in ("work/final.pt", "picture/020.png"):
        assert sum(name in names for names in carried.carried) == 1


def test_a_run_that_fails_names_its_traceback_where_it_is_found(jobs, tmp_path):
    order = RunOrder(jobs["raises"], tmp_path)
    assert order.make(threads=1, depot=order.depot())
    told = order.news()[-1].record.error
    (named,) = [word for word in told.replace(")", " ").split() if word.endswith("error.txt")]
    assert Path(named).is_relative_to(tmp_path) and "the plugin broke" in Path(named).read_text()
    assert ResultStore(tmp_path).get(order.job.spec).error == told


def test_another_machine_goes_on_from_what_was_carried(jobs, whole, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path)
    depot, spec = order.depot(), order.job.spec

    def is_half_way():
        record = ResultStore(tmp_path).get(spec)
        return record is not None and len(record.curve) >= 2

    assert not order.make(threads=1, depot=depot, stopping=is_half_way)
    record = ResultStore(tmp_path).get(spec)
    assert record.status == "killed" and 2 <= len(record.curve) < 5
    assert (tmp_path / ".work" / spec.id / "checkpoint.pt").exists()
    assert order.make(threads=1, depot=depot)
    assert shares(order.news()) == [0.2, 0.4, 0.6, 0.8, 1.0], "none is made twice"
    assert kept(tmp_path) == whole
    assert not (tmp_path / ".work" / spec.id / "checkpoint.pt").exists()


def test_a_run_is_lent_to_nobody_else_and_only_the_last_maker_is_heard(jobs, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path)
    depot, other = order.depot(), order.depot()
    assert depot.lend("one") == {}
    assert other.lend("stranger") is None
    assert not other.take("stranger", {"news": b"{}\n"})
    assert depot.lend("two") == {}
    assert not depot.take("one", {"news": b"{}\n"})
    assert depot.take("two", {"news": b"{}\n"})
    depot.close("one")
    assert other.lend("stranger") is None
    depot.close("two")
    assert other.lend("stranger") == {}
    other.close()


def test_a_maker_whose_run_was_lent_to_another_stops(jobs, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path)
    depot = order.depot()

    class Moves(Line):
        def take(self, maker, files):
            if len(self.carried) == 1:
                depot.lend("another")
            return super().take(maker, files)

    line = Moves(depot)
    assert not order.make(threads=1, depot=line)
    assert not any(event.ended for event in order.news())
    depot.close()


class Evil:
    def __reduce__(self):
        return print, ("it was unpickled",)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    """A file of which some bytes in the middle are others."""
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 200]) + content[middle + 200 :]


def edited(record: bytes) -> bytes:
    content = json.loads(record)
    content["spec"]["seed"] = 77
    return json.dumps(content).encode()


def foreign(traces: bytes) -> bytes:
    """An archive that holds a pickle."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("evil.npy", pickle.dumps(Evil()))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("record", cut, "is damaged"),
        ("record", edited, "is the record of another run"),
        ("record", lambda content: b"[]", "is not a record of a run"),
        ("traces", altered, "traces.npz is damaged"),
        ("traces", cut, "traces.npz is damaged"),
        ("traces", foreign, "traces.npz does not say that it is of this run"),
        ("work/checkpoint.pt", altered, "checkpoint.pt is damaged"),
        ("work/checkpoint.pt", lambda content: pickle.dumps(Evil()), "checkpoint.pt is damaged"),
        ("picture/020.png", lambda content: b"no picture", "020.png is damaged"),
    ],
)
def test_what_is_damaged_on_the_way_ends_the_run_and_nothing_of_it_is_kept(
    jobs, parcels, name, spoil, told, tmp_path, capfd
):
    files = next(files for files in parcels if name in files)
    order = RunOrder(jobs["slow"], tmp_path)
    depot = order.depot()
    depot.lend("one")
    before = files_in(tmp_path)
    with pytest.raises(UserError, match=f"cannot be kept: .*{told}"):
        depot.take("one", {**files, name: spoil(files[name])})
    assert files_in(tmp_path) == before
    assert "unpickled" not in "".join(capfd.readouterr())
    assert depot.take("one", files), "what is whole is kept"
    depot.close()


@pytest.mark.parametrize("name", ["work/../../x", "work/.hidden", "/etc/x", "work/lease", "picture/a/b", "x", "work/"])
def test_a_name_that_no_file_of_a_run_has_is_refused(jobs, parcels, name, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path / "results")
    depot = order.depot()
    depot.lend("one")
    before = files_in(tmp_path)
    with pytest.raises(UserError, match="which no run keeps"):
        depot.take("one", {**parcels[0], name: b"x"})
    assert files_in(tmp_path) == before
    depot.close()


def test_a_disk_that_refuses_is_told_and_the_run_can_still_be_kept(jobs, parcels, monkeypatch, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path)
    depot, spec = order.depot(), order.job.spec
    depot.lend("one")

    def refuse(path, write, **_):
        raise DiskError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "write_atomically", refuse)
        with pytest.raises(DiskError, match="No space left on device"):
            depot.take("one", parcels[-1])
    assert ResultStore(tmp_path).get(spec) is None and order.news() == []
    assert depot.take("one", parcels[-1])
    assert ResultStore(tmp_path).get(spec).status == "done"
    depot.close()


def test_what_goes_wrong_on_the_line_stops_the_run_and_is_raised(jobs, tmp_path):
    order = RunOrder(jobs["slow"], tmp_path)

    def fails(files):
        if len(line.carried) > 2:
            raise ConnectionError("the line is cut")
        return files

    line = Line(order.depot(), fails)
    with pytest.raises(ConnectionError, match="the line is cut"):
        order.make(threads=1, depot=line)
    assert not any(event.ended for event in order.news())
    line.close()
