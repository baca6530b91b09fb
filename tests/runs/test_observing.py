"""Events reach each observer in their order; one that is slow, fails or hangs costs the others and the runs nothing."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ganbench import ObservedRun, Observer, RunTicked, Spent, SweepEnded, UserError, Value
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs import observing
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.runs.observers import Asked, find
from ganbench.runs.observing import Delivery, observed
from ganbench.runs.registry import Entry, Origin
from ganbench.training.budget import Budget, Meters, Tick

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


SPEC = RunSpec("gan", "tiny", "mlp", Budget.parse("2k-images"), 4, 8, 64)


def job() -> Job:
    more: dict[str, Any] = {"settings": {}, "extractors": (), "marks_metrics": (), "plugins": (), "weights": None}
    return Job(SPEC, "tiny", metrics=("fid",), marks=5, samples=64, data_root=Path("data"), device="cpu", **more)


def kept(*shares: float, status: str = "killed") -> RunRecord:
    """Return a record of a run that was scored at these shares."""
    curve = [Mark(share, Meters(images=round(1000 * share)), {"fid": Value(share)}) for share in shares]
    return RunRecord(SPEC, status, meters=Meters(images=round(1000 * max(shares, default=0))), curve=curve)


def heard_of(store: ResultStore, *news: Event | RunRecord | BaseException) -> list[str]:
    """Return what an observer hears of news; a record among them is what the run has kept, an error ends the sweep."""
    observer = Heard()
    observer.may.set()
    asked = Asked(observer, "", Entry(observer, Origin("heard", "file", "", "")))
    with suppress(KeyboardInterrupt), observed([asked], [job()], store, "ganbench run") as hear:
        for each in news:
            if isinstance(each, BaseException):
                raise each
            store.add(each) if isinstance(each, RunRecord) else hear(each)
    return [_words(event) for event in observer.events]


def _words(event: Any) -> str:
    share = f" {event.share:g}" if hasattr(event, "share") else ""
    before = f" after {event.before.images}" if hasattr(event, "before") else ""
    status = f" {event.status}" if hasattr(event, "status") else ""
    counts = f" {dict(event.statuses)}" if hasattr(event, "statuses") else ""
    return f"{type(event).__name__}{share}{before}{status}{counts}"


def test_marks_and_ends_that_nobody_told_of_are_told_as_the_record_has_them(tmp_path):
    ticked = Event(job(), 0.1, tick=Tick(Meters(images=100), {}))
    marked = Event(job(), 0.2, mark=kept(0.2).curve[0])
    news = [Event(job()), ticked, marked, kept(0.2, 0.4), KeyboardInterrupt()]
    assert heard_of(ResultStore(tmp_path), *news) == [
        "SweepStarted",
        "RunStarted after 0",
        "RunTicked 0.1",
        "RunMarked 0.2",
        "RunMarked 0.4",
        "RunEnded killed",
        "SweepEnded {'killed': 1}",
    ]


def test_what_was_told_before_a_run_goes_on_is_not_told_again(tmp_path):
    ticked = Event(job(), 0.5, tick=Tick(Meters(images=500), {}))
    news = [kept(0.2, 0.4), Event(job()), ticked, kept(0.2, 0.4, 0.6), KeyboardInterrupt()]
    assert heard_of(ResultStore(tmp_path), *news) == [
        "SweepStarted",
        "RunStarted after 400",
        "RunTicked 0.5",
        "RunMarked 0.6",
        "RunEnded killed",
        "SweepEnded {'killed': 1}",
    ]


def test_a_run_that_fails_at_once_had_spent_nothing_before_and_one_that_never_began_is_not_told(tmp_path):
    failed = kept(0.2, status="error")
    assert heard_of(ResultStore(tmp_path), Event(job()), failed, Event(job(), record=failed)) == [
        *("SweepStarted", "RunStarted after 0", "RunEnded error", "SweepEnded {'error': 1}")
    ]
    assert heard_of(ResultStore(tmp_path / "other"), Event(job()), KeyboardInterrupt()) == [
        "SweepStarted",
        "SweepEnded {}",
    ]
