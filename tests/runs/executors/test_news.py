"""News of a run comes over as it was told, once, whole, and is read without trust."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from ganbench.errors import DiskError
from ganbench.results.record import Mark, RunRecord
from ganbench.runs.executors import news
from ganbench.runs.executors.news import Follower, Journal
from ganbench.runs.executors.worker import Event
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training.budget import Meters, Tick

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
METERS = Meters(3, 192, {"D": 3, "G": 3}, 1e9, 0.5, 100)


@pytest.fixture(scope="module")
def job():
    asked = Request(("plain",), ("tiny",), budget="640-images", seeds=1, marks=2, plugins=(TINY,))
    return plan(asked, discover((TINY,))).jobs[0]


@pytest.fixture
def both(job, tmp_path):
    return Journal(tmp_path / "news"), Follower(tmp_path / "news", job)


def test_each_event_comes_over_as_it_was_and_once(both, job):
    journal, follower = both
    told = [
        Event(job),
        Event(job, 0.5, tick=Tick(METERS, {"D": 0.1 + 0.2, "G": -math.inf})),
        Event(job, 0.5, mark=Mark(0.5, METERS, {})),
        Event(job, note="a note of two\nlines"),
        Event(job, put_off=True),
        Event(job, record=RunRecord(job.spec, "killed", error="stopped")),
    ]
    for number, event in enumerate(told):
        journal.write(event)
        if number % 2:
            assert follower.read() == told[number - 1 : number + 1]
    assert follower.read() == []


def test_values_that_are_no_numbers_stay_what_they_are(both, job):
    journal, follower = both
    journal.write(Event(job, 0.5, tick=Tick(METERS, {"D": math.nan})))
    (event,) = follower.read()
    assert math.isnan(event.tick.losses["D"])


def test_nothing_is_told_before_there_is_a_journal_and_ticks_are_thinned(job, tmp_path, monkeypatch):
    follower = Follower(tmp_path / "news", job)
    (tmp_path / "news").unlink()
    assert follower.read() == []
    journal = Journal(tmp_path / "news")
    for share in (0.1, 0.2, 0.3):
        journal.write(Event(job, share, tick=Tick(METERS, {})))
    assert [event.share for event in follower.read()] == [0.1]
    monkeypatch.setattr(news, "TICK_SECONDS", 0.0)
    journal.write(Event(job, 0.4, tick=Tick(METERS, {})))
    assert [event.share for event in follower.read()] == [0.4]


def test_half_a_line_waits_for_its_end(both, job, tmp_path):
    journal, follower = both
    journal.write(Event(job, note="whole"))
    content = (tmp_path / "news").read_bytes()
    for end in (0, 5, len(content) - 1):
        (tmp_path / "news").write_bytes(content[:end])
        assert follower.read() == []
    (tmp_path / "news").write_bytes(content)
    assert follower.read() == [Event(job, note="whole")]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"told": 3}', b'{"told": {"mark": 1}}', b'{"told": {}, "record": {}}', b"\xff"]
)
def test_what_is_damaged_says_so_and_hides_nothing_else(line, both, job, tmp_path):
    journal, follower = both
    with (tmp_path / "news").open("ab") as file:
        file.write(line + b"\n")
    journal.write(Event(job, note="whole"))
    damaged, whole = follower.read()
    assert "is damaged" in damaged.note and damaged.record is None
    assert whole.note == "whole"


def test_the_end_of_another_run_is_no_end(both, job):
    journal, follower = both
    other = replace(job.spec, seed=1)
    journal.write(Event(job, record=RunRecord(other, "killed")))
    (event,) = follower.read()
    assert event.record is None and "news of another run" in event.note


def test_what_could_not_be_made_is_told_in_place_of_an_end(both):
    journal, follower = both
    journal.fail("the disk is full")
    assert follower.read() == ["the disk is full"]


def test_a_disk_that_refuses_is_one_sentence(job, tmp_path):
    (tmp_path / "news").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        Journal(tmp_path / "news").write(Event(job))
    with pytest.raises(DiskError, match="cannot read"):
        Follower(tmp_path / "news", job).read()


def test_a_line_is_json(both, job, tmp_path):
    journal, _ = both
    journal.write(Event(job, note="ü"))
    assert json.loads((tmp_path / "news").read_text()) == {"told": {"note": "ü"}}
