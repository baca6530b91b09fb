"""Plugins that are files come along to a machine that does not have them, with what they import from beside them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ganbench.errors import UserError
from ganbench.results.store import ResultStore
from ganbench.results.upkeep import rubbish
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.executors.travelling import packed, unpacked
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

TINY = Path(__file__).parents[2] / "tiny_plugin.py"


@pytest.fixture
def planned(tmp_path):
    """A job whose plugin imports a file from beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    helper = f"helper_of_{tmp_path.name}"  # another in each test, since this process keeps what it imports
    (folder / "mine.py").write_text(TINY.read_text().replace("import time\n", f"import time\nimport {helper}\n", 1))
    (folder / f"{helper}.py").write_text("KNOWN = 1\n")
    plugins = (folder / "mine.py",)
    asked = Request(("plain",), ("tiny",), budget="640-images", seeds=1, marks=1, plugins=plugins)
    (job,) = plan(asked, discover(plugins)).jobs
    return job, folder


def test_they_are_left_where_they_are_as_long_as_they_are_the_same(planned):
    job, folder = planned
    luggage = packed(job.plugins)
    with unpacked(luggage, job) as same:
        assert same is job
    (helper,) = folder.glob("helper*")
    helper.write_text("KNOWN = 2\n")
    with unpacked(luggage, job) as other:
        (plugin,) = other.plugins
        assert plugin.parent != folder and plugin.name == "mine.py"
        assert (plugin.parent / helper.name).read_text() == "KNOWN = 1\n"
    assert not plugin.parent.exists()


def test_a_run_is_made_where_its_plugins_are_not(planned, tmp_path):
    job, folder = planned
    results = tmp_path / "results"
    order = RunOrder(job, results, luggage=packed(job.plugins))
    taken = pickle.dumps(order)
    folder.rename(tmp_path / "gone")
    call = [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer).make(threads=1))"]
    done = subprocess.run(call, input=taken, capture_output=True, check=True)
    assert done.stdout == b"True\n", done.stderr
    *_, last = order.news()
    assert last.record.status == "done" and last.record == ResultStore(results).get(job.spec)
    assert list(order.news()) == [] and not list(results.rglob("news-*"))


def test_one_that_cannot_be_read_is_named(planned, monkeypatch):
    job, folder = planned

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=f"--plugin: {folder}/.*.py cannot be read: Permission denied"):
        packed(job.plugins)


def test_what_executors_keep_is_no_rubbish(planned, tmp_path):
    job, _ = planned
    results = tmp_path / "results"
    kept = results / ".work" / "executors" / "slurm"
    kept.mkdir(parents=True)
    (kept / "a.job").write_text("7")
    (results / ".work" / "unknown").mkdir()
    assert [each.path.name for each in rubbish(ResultStore(results), stale=False)] == ["unknown"]
    assert job is not None
