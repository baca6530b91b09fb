"""Orders are followed until each has ended, by its own news or because its job is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest

from ganbench import News, Order, follow
from ganbench.toolbox import orders


@dataclass
class Told(News):
    of: str
    text: str

    @property
    def run(self):
        return self.of

    @property
    def ended(self):
        return self.text.startswith("end")


@dataclass
class Planned(Order):
    """An order that tells what it is given, one list each time it is asked."""

    of: str
    tells: list[list[str]] = field(default_factory=list)
    asked: int = 0

    @property
    def run(self):
        return self.of

    name = run
    distributions = ()

    def make(self, **_):
        raise AssertionError("nobody makes it")

    def depot(self):
        raise AssertionError("nobody makes it elsewhere")

    def news(self):
        self.asked += 1
        return [Told(self.of, text) for text in (self.tells.pop(0) if self.tells else [])]

    def note(self, text):
        return Told(self.of, text)

    def lost(self, why):
        return Told(self.of, f"end: {why}")


@pytest.fixture
def clock(monkeypatch):
    """Time that goes by in sleep alone."""
    slept = []
    monkeypatch.setattr(orders.time, "sleep", slept.append)
    monkeypatch.setattr(orders.time, "monotonic", lambda: sum(slept))
    return slept


def test_news_comes_in_order_and_nobody_is_asked_after_his_end(clock):
    a = Planned("a", [["start", "tick"], [], ["end"], ["never"]])
    b = Planned("b", [["start", "end"]])
    told = [(news.run, news.text) for news in follow([a, b], lambda order: None)]
    assert told == [("a", "start"), ("a", "tick"), ("b", "start"), ("b", "end"), ("a", "end")]
    assert (a.asked, b.asked) == (3, 1)


def test_an_end_that_comes_late_is_waited_for_and_one_that_does_not_come_is_a_loss(clock):
    late, never = Planned("late", [[], [], [], ["end"]]), Planned("never", [["start"]])
    told = [news.text for news in follow([late, never], lambda order: "its node is gone")]
    assert told == ["start", "end", "end: its node is gone"]
    assert orders.LAG_SECONDS <= sum(clock) <= orders.LAG_SECONDS + 2 * orders.LOOK_SECONDS


def test_a_job_that_lives_again_is_not_lost(clock):
    asked = count()
    order = Planned("a", [[]] * 40 + [["end"]])
    told = list(follow([order], lambda order: "gone" if next(asked) == 3 else None))
    assert [news.text for news in told] == ["end"]


def test_what_else_there_is_to_say_is_said_though_no_run_tells_anything(clock):
    said = [["one has no room"], [], ["one has joined"]]

    def more():
        return [Told("a", text) for text in said.pop(0)] if said else []

    told = follow([Planned("a", [[], [], ["start"], ["end"]])], lambda order: None, more)
    assert [news.text for news in told] == ["one has no room", "start", "one has joined", "end"]


def test_many_are_looked_at_less_often(clock):
    many = [Planned(str(number), [[], ["end"]]) for number in range(2000)]
    assert len(list(follow(many, lambda order: None))) == 2000
    assert clock == [2000 / orders.LOOKS_A_SECOND]
