"""Events reach each observer in their order; one that is slow, fails or hangs costs the others and the runs nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from ganbench import ObservedRun, Observer, RunTicked, Spent, SweepEnded, UserError
from ganbench.runs import observing
from ganbench.runs.observers import Asked, find
from ganbench.runs.observing import Delivery
from ganbench.runs.registry import Entry, Origin

PLUGIN = Path(__file__).parents[1] / "observing_plugin.py"
EMPTY = MappingProxyType({})
RUN = ObservedRun("ab", "gan", "gan", "tiny", 0, 3, EMPTY, EMPTY)


def tick(number: int) -> RunTicked:
    return RunTicked(RUN, 0.1, Spent(number, number, EMPTY, 0.0, 0.0, 0), EMPTY)


def end(number: int) -> SweepEnded:
    return SweepEnded(MappingProxyType({"done": number}), False)


class Heard(Observer):
    """Keeps what it hears, from the moment at which it may."""

    name = "heard"

    def __init__(self) -> None:
        self.events: list[object] = []
        self.may = threading.Event()

    def open(self, argument):
        self.may.wait(10)
        return self.events.append


def delivered(observer: Observer, argument: str = "") -> tuple[Delivery, list[str]]:
    told: list[str] = []
    asked = Asked(observer, argument, Entry(observer, Origin("heard", "file", "", "")))
    return Delivery(asked, told.append), told


def test_events_arrive_in_their_order_in_another_thread():
    observer = Heard()
    observer.may.set()
    delivery, told = delivered(observer)
    events = [tick(1), end(1), tick(2), end(2)]
    for event in events:
        delivery.put(event)
    delivery.end()
    assert delivery.wait(5)
    assert observer.events == events and told == []


def test_a_slow_one_holds_nobody_up_and_loses_ticks_alone(monkeypatch):
    monkeypatch.setattr(observing, "MOST_WAITING", 5)
    observer = Heard()
    delivery, told = delivered(observer)
    begun = time.perf_counter()
    for number in range(20):
        delivery.put(tick(number))
        delivery.put(end(number))
    delivery.end()
    assert time.perf_counter() - begun < 1
    observer.may.set()
    assert delivery.wait(5)
    ticks = [event.spent.images for event in observer.events if isinstance(event, RunTicked)]
    assert [event.statuses["done"] for event in observer.events if isinstance(event, SweepEnded)] == list(range(20))
    assert ticks == sorted(ticks) and len(ticks) + delivery.left_out == 20 and delivery.left_out >= 14
    assert told == []


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("open", "RuntimeError: no luck at all (observing_plugin.py, line"),
        ("sweep-ended", "RuntimeError: no luck (observing_plugin.py, line"),
    ],
)
def test_one_that_fails_is_named_once_and_hears_no_more(argument, sentence):
    (asked,), _ = find([f"fails:{argument}"], [PLUGIN])
    told: list[str] = []
    delivery = Delivery(asked, told.append)
    for number in range(3):
        delivery.put(end(number))
    delivery.end()
    assert delivery.wait(5)
    assert len(told) == 1
    assert told[0].startswith(f"Note: --observe fails:{argument} is left out from here on")
    assert sentence in told[0]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), UserError("a sentence")])
def test_whatever_it_raises_stays_with_it(error):
    class Raises(Observer):
        name = "raises"

        def open(self, argument):
            raise error

    delivery, told = delivered(Raises())
    delivery.end()
    assert delivery.wait(5) and len(told) == 1
    assert told[0].endswith(": a sentence" if isinstance(error, UserError) else str(error) or type(error).__name__)


def test_what_is_secret_is_told_nowhere():
    (asked,), _ = find(["secret:https://host/token"], [PLUGIN])
    told: list[str] = []
    delivery = Delivery(asked, told.append)
    delivery.put(end(1))
    delivery.end()
    assert delivery.wait(5)
    assert "token" not in told[0] and told[0].startswith("Note: --observe secret:… is left out")


def test_one_that_hangs_is_left_at_the_end(monkeypatch, capsys):
    monkeypatch.setattr(observing, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(observing, "CLOSE_SECONDS", 0.2)
    observer = Heard()
    delivery, told = delivered(observer)
    other = Heard()
    other.may.set()
    prompt, _ = delivered(other)
    for each in (delivery, prompt):
        each.put(end(1))
        each.end()
    observing._wait([delivery, prompt])
    assert "Waiting for --observe heard to write what it heard" in capsys.readouterr().err
    assert told == [
        "Note: --observe heard is left out from here on, and the runs go on without it: it had not ended 0.2 seconds "
        "after the runs"
    ]
    assert other.events == [end(1)]
    observer.may.set()
    assert delivery.wait(5) and observer.events == []


def test_ticks_that_were_left_out_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(observing, "MOST_WAITING", 0)
    observer = Heard()
    observer.may.set()
    delivery, _ = delivered(observer)
    delivery.put(tick(1))
    delivery.end()
    observing._wait([delivery])
    assert "--observe heard: 1 ticks were left out, because it is slower than the runs" in capsys.readouterr().err
    assert observer.events == []
