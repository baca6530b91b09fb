"""What sweeps write about themselves: read back as it was, without trust, and taken away when it is of no more use."""

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ganbench.results.process import this_process
from ganbench.results.progress import (
    KEPT,
    SILENT,
    STILL,
    Memory,
    Plan,
    PlannedRun,
    Progress,
    Running,
    as_json,
    begin_plan,
    find_sweeps,
    folder_of,
    forget,
    number,
    open_folder,
    write_progress,
)
from ganbench.results.store import ResultStore

RUNS = [PlannedRun(f"id{n}", f"gan digits seed {n}", n) for n in range(5)]
NOW = datetime.now(UTC)


def progress(**facts):
    running = [
        Running("id1", NOW, "training", 0.5, 640, 12.5, 3.0, {"D": number(float("nan")), "G": 0.5}, {"fid": 1.0})
    ]
    known = {
        "running": running,
        "ended": {"id0": "done", "id2": "error"},
        "failed": {"id2": "OSError: no"},
        "left": 9.0,
    }
    return Progress(**{"at": datetime.now(UTC), "memory": Memory(1, 2, 3), **known, **facts})


def write(root, plan=None, **facts):
    plan = plan or begin_plan("ganbench run --variants gan", 2, RUNS, known=3)
    folder = open_folder(ResultStore(root), plan)
    write_progress(folder, progress(**facts))
    return folder


def elsewhere(plan):
    return replace(plan, process=replace(plan.process, host="elsewhere"))


def dead(plan):
    return replace(plan, process=replace(plan.process, pid=2**31 - 2, began=1))


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    plan, told = begin_plan("ganbench run", 2, RUNS, known=3), progress()
    folder = open_folder(ResultStore(tmp_path), plan)
    write_progress(folder, told)
    ((sweep,), problems) = find_sweeps(tmp_path)
    assert (sweep.folder, sweep.plan, sweep.progress, sweep.state, problems) == (folder, plan, told, "running", [])
    assert sweep.silent < 60 and not sweep.is_over
    assert told.counts(plan) == {"done": 1, "diverged": 0, "failed": 1, "running": 1, "waiting": 2}
    assert [run.id for run in told.waiting(plan)] == ["id3", "id4"]
    assert sweep.unfinished == {"id1", "id2", "id3", "id4"}
    assert (tmp_path / ".work" / ".gitignore").read_text() == "*\n"
    found = json.loads(json.dumps(as_json(sweep), allow_nan=False))
    assert found["progress"]["running"][0]["losses"] == {"D": "nan", "G": 0.5}
    assert found["plan"]["process"] == asdict(this_process()) and found["waiting"] == ["id3", "id4"]


def test_any_name_can_be_written(tmp_path):
    odd = "folder:\udcff\x1b\0\u2028 é"
    runs = [PlannedRun("id0", odd, 0), PlannedRun("id1", odd, 1)]
    write(tmp_path, begin_plan(odd, 1, runs, known=0), failed={"id2": odd}, why=odd)
    ((sweep,), problems) = find_sweeps(tmp_path)
    assert problems == [] and sweep.plan.command == odd.replace("\udcff", "?") == sweep.plan.runs[0].name


def test_no_sweep_is_none(tmp_path):
    assert find_sweeps(tmp_path / "not there") == ([], [])
    open_folder(ResultStore(tmp_path), begin_plan("ganbench run", 1, RUNS, known=0))
    ((sweep,), _) = find_sweeps(tmp_path)
    assert sweep.progress.counts(sweep.plan)["waiting"] == 5, "it has just begun"


def test_sweeps_are_told_apart_and_stand_in_the_order_of_their_start(tmp_path):
    plan = begin_plan("ganbench run", 2, RUNS, known=0)
    for hours, command in ((1, "second"), (3, "first"), (0, "third")):
        write(tmp_path, replace(plan, started=NOW - timedelta(hours=hours), command=command))
    sweeps, _ = find_sweeps(tmp_path)
    assert [sweep.plan.command for sweep in sweeps] == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("where", "silent", "state"),
    [
        (lambda plan: plan, timedelta(0), "running"),
        (lambda plan: plan, STILL + timedelta(seconds=5), "still"),
        (dead, timedelta(0), "died"),
        (elsewhere, STILL / 2, "running"),
        (elsewhere, STILL + timedelta(seconds=5), "still"),
        (elsewhere, SILENT + timedelta(seconds=5), "died"),
        (elsewhere, -timedelta(days=1), "running"),  # of a clock that is ahead
    ],
)
def test_who_gives_no_sign_of_life_has_died_or_stands_still(where, silent, state, tmp_path):
    write(tmp_path, where(begin_plan("ganbench run", 2, RUNS, known=0)), at=datetime.now(UTC) - silent)
    ((sweep,), _) = find_sweeps(tmp_path)
    assert sweep.state == state and sweep.is_over == (state == "died") and sweep.silent >= 0


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_a_sweep_that_has_ended_has_not_died(state, tmp_path):
    write(tmp_path, dead(begin_plan("ganbench run", 2, RUNS, known=0)), state=state)
    ((sweep,), _) = find_sweeps(tmp_path)
    assert sweep.state == state and sweep.is_over


def test_the_next_sweep_takes_away_what_is_over_and_of_no_more_use(tmp_path):
    plan, done = begin_plan("ganbench run", 2, RUNS, known=0), {run.id: "done" for run in RUNS}
    kept = {
        write(tmp_path),
        write(tmp_path, elsewhere(plan)),
        write(tmp_path, dead(replace(plan, runs=[*RUNS, PlannedRun("other", "other", 0)]))),
    }
    write(tmp_path, state="finished", ended=done, running=[])
    write(tmp_path, dead(plan))
    write(tmp_path, elsewhere(replace(plan, runs=[PlannedRun("b", "b", 0)])), at=NOW - KEPT - timedelta(hours=1))
    forget(tmp_path, [run.id for run in RUNS])
    assert set(folder_of(tmp_path).iterdir()) == kept


BROKEN = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"at": 5}', b'{"at": "yesterday"}']


@pytest.mark.parametrize("name", ["plan.json", "progress.json"])
@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
def test_a_damaged_file_is_one_sentence_and_harms_no_other(name, content, tmp_path):
    good, folder = write(tmp_path), write(tmp_path)
    (folder / name).write_bytes(content)
    ((sweep,), (problem,)) = find_sweeps(tmp_path)
    assert sweep.folder == good
    assert problem.startswith(f"{folder / name} is damaged: ") and "\n" not in problem and len(problem) < 500


WRONG = [
    ("plan.json", ("process", "pid"), -1),
    ("plan.json", ("process", "pid"), 2**40),
    ("plan.json", ("process", "pid"), "1"),
    ("plan.json", ("runs",), 3),
    ("progress.json", ("running", 0, "share"), "half"),
    ("progress.json", ("running", 0, "share"), -1.0),
    ("progress.json", ("running", 0, "left"), float("nan")),
    ("progress.json", ("running", 0, "rate"), float("inf")),
    ("progress.json", ("running", 0, "phase"), "dancing"),
    ("progress.json", ("ended", "id0"), "well"),
    ("progress.json", ("state",), "fine"),
    ("progress.json", ("at",), "2026-01-01T00:00:00"),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_a_value_that_none_can_have_is_named(name, place, value, tmp_path):
    folder = write(tmp_path)
    content = json.loads((folder / name).read_text())
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (folder / name).write_text(json.dumps(content))
    (sweeps, (problem,)) = find_sweeps(tmp_path)
    assert sweeps == [] and ".".join(map(str, place)) in problem


def test_a_pipe_is_not_waited_for_and_a_stray_file_no_sweep(tmp_path):
    folder = write(tmp_path)
    (folder / "progress.json").unlink()
    os.mkfifo(folder / "progress.json")
    (folder_of(tmp_path) / "note.txt").write_text("hello")
    assert find_sweeps(tmp_path) == ([], [f"{folder / 'progress.json'} is damaged: it is no regular file"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=8), place=st.floats(0, 1))
def test_no_bytes_make_it_fail(noise, place, tmp_path):
    (tmp_path / "r").mkdir(exist_ok=True)
    if not (sweeps := list(folder_of(tmp_path / "r").glob("*"))):
        sweeps = [write(tmp_path / "r")]
        (tmp_path / "whole").write_bytes((sweeps[0] / "progress.json").read_bytes())
    whole = (tmp_path / "whole").read_bytes()
    at = int(place * len(whole))
    (sweeps[0] / "progress.json").write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    found, problems = find_sweeps(tmp_path / "r")
    assert len(found) + len(problems) == 1
    for sweep in found:
        json.dumps(as_json(sweep), allow_nan=False)


def test_a_plan_of_nothing_is_over_when_it_is_said_to_be(tmp_path):
    write(tmp_path, Plan(this_process(), NOW, "ganbench run", 1, [], 0), state="finished", running=[], ended={})
    ((sweep,), _) = find_sweeps(tmp_path)
    assert sweep.unfinished == set()
