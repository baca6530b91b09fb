"""A lease is one process's at a time, of all machines, and is taken over when its holder is gone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ganbench.results import lease
from ganbench.results.lease import TERM_SECONDS, Holder, Lease, is_held
from ganbench.results.process import this_process

ELSEWHERE = replace(this_process(), host="elsewhere")
FIRST, SECOND = "lease-000001", "lease-000002"
RACE = """
import sys, time
from pathlib import Path
from ganbench.results.lease import Lease
folder, me = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + float(sys.argv[3])
while time.monotonic() < until:
    held = Lease(folder)
    if held.acquire():
        inside = folder / "inside"
        with inside.open("x"):  # fails where another is inside
            pass
        with (folder / "turns").open("a") as turns:
            turns.write(me)
        time.sleep(0.002)
        inside.unlink()
        if int(time.monotonic() * 1000) % 3:
            held.release()
        else:  # as one that stands still for ever, on another machine
            held._over.set(), held._beat.join()
            text = held._path.read_text().replace('"host": "', '"host": "no ')
            held._path.write_text(text)
            import os
            os.utime(held._path, (1, 1))
"""


def left_behind(folder: Path, seconds: float, holder: Holder | None = None) -> None:
    """Leave a lease that was last renewed so many seconds ago."""
    content = json.dumps(asdict(holder or Holder("theirs", ELSEWHERE, TERM_SECONDS)))
    (folder / FIRST).write_text(content)
    at = time.time() - seconds
    os.utime(folder / FIRST, (at, at))


def got(folder: Path) -> bool:
    """Whether the lease can be got now; it is given back."""
    mine = Lease(folder)
    found = mine.acquire()
    mine.release()
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_alone_has_it_and_leaves_one_small_file_behind(tmp_path):
    mine = Lease(tmp_path)
    assert not is_held(tmp_path) and mine.acquire() and is_held(tmp_path)
    assert not got(tmp_path), "not even this process gets it twice"
    assert names(tmp_path) == [FIRST]
    mine.release()
    assert not is_held(tmp_path) and got(tmp_path)
    assert names(tmp_path) == [SECOND] and not is_held(tmp_path)
    assert (tmp_path / SECOND).stat().st_size < 1000


@pytest.mark.parametrize(("seconds", "free"), [(0.0, False), (TERM_SECONDS - 5, False), (TERM_SECONDS + 5, True)])
def test_that_of_another_machine_is_void_after_its_term(seconds, free, tmp_path, monkeypatch):
    left_behind(tmp_path, seconds)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the clock of this machine is not asked
    assert is_held(tmp_path) is not free
    assert got(tmp_path) is free


def test_a_holder_names_its_own_term(tmp_path):
    left_behind(tmp_path, 100, Holder("theirs", ELSEWHERE, 200.0))
    assert not got(tmp_path)
    left_behind(tmp_path, 100, Holder("theirs", ELSEWHERE, 50.0))
    assert got(tmp_path)


def test_that_of_this_machine_is_void_as_soon_as_its_process_is_gone_and_never_before(tmp_path):
    left_behind(tmp_path, 10 * TERM_SECONDS, Holder("theirs", this_process(), TERM_SECONDS))
    assert not got(tmp_path), "a process that computes without a pause is alive"
    with subprocess.Popen([sys.executable, "-c", "pass"]) as other:
        pass
    gone = replace(this_process(), pid=other.pid, began=1)
    left_behind(tmp_path, 0, Holder("theirs", gone, TERM_SECONDS))
    assert not is_held(tmp_path) and got(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": 1}', b"\xff" * 20_000, b"[" * 9_000])
def test_a_damaged_one_is_void_after_the_usual_term(content, tmp_path):
    (tmp_path / FIRST).write_bytes(content)
    assert is_held(tmp_path) and not got(tmp_path), "its holder may just be writing it"
    old = time.time() - TERM_SECONDS - 5
    os.utime(tmp_path / FIRST, (old, old))
    assert got(tmp_path)


def test_it_is_renewed_as_long_as_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setenv("GANBENCH_LEASE_SECONDS", "1")
    mine = Lease(tmp_path)
    assert mine.acquire()
    for _ in range(5):
        os.utime(tmp_path / FIRST, (1, 1))
        time.sleep(0.4)
        assert (tmp_path / FIRST).stat().st_mtime > 1
    mine.release()


@pytest.mark.parametrize("how", ["removed", "overwritten", "taken over"])
def test_whoever_loses_it_is_told_once_and_leaves_that_of_the_other_alone(how, tmp_path, monkeypatch):
    monkeypatch.setenv("GANBENCH_LEASE_SECONDS", "1")
    told = []
    mine = Lease(tmp_path, lambda: told.append(1))
    assert mine.acquire()
    if how == "removed":
        (tmp_path / FIRST).unlink()
    elif how == "overwritten":
        left_behind(tmp_path, 0)
    else:
        (tmp_path / SECOND).write_text("another's")
    until = time.monotonic() + 10
    while not told and time.monotonic() < until:
        time.sleep(0.05)
    mine.release()
    assert told == [1]
    assert names(tmp_path) == {"removed": [], "overwritten": [FIRST], "taken over": [FIRST, SECOND]}[how]
    assert '"given_back": true' not in "".join(path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize("holders", [1, 2, 3])
def test_whoever_saw_a_void_one_and_comes_late_takes_nothing_away(holders, tmp_path, monkeypatch):
    """However many have had the lease in between, and have given it back but for the last."""
    left_behind(tmp_path, 2 * TERM_SECONDS)
    late, others = Lease(tmp_path), [Lease(tmp_path) for _ in range(holders)]
    link = late._link

    def slowly(*arguments):
        for number, other in enumerate(others if others[-1]._beat is None else []):
            assert other.acquire()
            if number < holders - 1:
                other.release()
        return link(*arguments)

    monkeypatch.setattr(late, "_link", slowly)
    assert not late.acquire()
    assert others[-1]._is_mine() and is_held(tmp_path)
    late.release()
    assert others[-1]._is_mine() and names(tmp_path) == [f"lease-{1 + holders:06}"]
    others[-1].release()
    assert got(tmp_path)


def test_what_others_left_on_the_way_is_cleared_away_after_a_day(tmp_path):
    for name, days in (("lease-draft-new", 0), ("lease-draft-old", 2), ("lease-now-old", 2)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 86_400 * days,) * 2)
    assert got(tmp_path)
    assert names(tmp_path) == [FIRST, "lease-draft-new"]


def test_a_disk_without_links_has_leases_as_well(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    mine = Lease(tmp_path)
    assert mine.acquire() and not got(tmp_path)
    mine.release()
    os.utime(tmp_path / FIRST, (1, 1))
    assert got(tmp_path) and names(tmp_path) == [SECOND]


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EIO])
def test_a_link_that_was_made_though_the_answer_says_otherwise_counts(error, tmp_path, monkeypatch):
    link = os.link

    def lose_the_answer(*arguments):
        link(*arguments)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", lose_the_answer)
    mine = Lease(tmp_path)
    assert mine.acquire()
    mine.release()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError):
        Lease(tmp_path / "nowhere").acquire()


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("", 60), ("0", 60), ("nan", 60), ("much", 60), ("1e9", 60)])
def test_the_term_is_that_of_the_environment_where_it_can_be_one(text, seconds, monkeypatch):
    monkeypatch.setenv("GANBENCH_LEASE_SECONDS", text)
    assert lease.term() == seconds


def test_many_processes_are_never_inside_at_the_same_time_though_holders_vanish(tmp_path):
    commands = [[sys.executable, "-c", RACE, str(tmp_path), name, "4"] for name in "abcd"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    racing = [subprocess.Popen(command, **pipes) for command in commands]
    for each in racing:
        assert each.stdout.readline() == "ready\n"
    for each in racing:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in racing:
        _, error = each.communicate(timeout=60)
        assert each.returncode == 0, error
    turns = Counter((tmp_path / "turns").read_text())
    assert set(turns) == set("abcd") and sum(turns.values()) > 50
