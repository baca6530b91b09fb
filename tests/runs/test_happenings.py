"""What observers are told is a copy that nobody can change, and true to what is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ganbench import plain
from ganbench.contract.types import Value
from ganbench.results.codec import decode, encode
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.executors.worker import Event
from ganbench.runs.happenings import ended, happening, observed_run, started
from ganbench.runs.job import Job
from ganbench.training.budget import Budget, Meters, Tick

SPEC = RunSpec(
    *("gan", "tiny", "mlp", Budget.parse("2k-images"), 4, 8, 64),
    options={"lr": 1e-3},
    config={"variant": {"betas": [0.5, 0.9]}},
)
METERS = Meters(3, 192, {"D": 3, "G": 1}, 1e9, 0.5, 2048)
VALUE = Value(1.5, {"n_fake": 64, "options": {}}, 0.5, False, weights="raw")


def job(spec: RunSpec = SPEC) -> Job:
    more: dict[str, Any] = {"settings": {}, "extractors": (), "marks_metrics": (), "plugins": (), "weights": None}
    place = Path("data")
    return Job(
        spec, "tiny", metrics=("fid",), marks=5, samples=64, data_root=place, device="cpu", parameters={"G": 7}, **more
    )


def record() -> RunRecord:
    curve = [Mark(0.5, METERS, {"fid": VALUE}, {"fid": VALUE})]
    return RunRecord(SPEC, "done", meters=METERS, values={"fid": [VALUE]}, unscored={"kid": "none"}, curve=curve)


def changeable(content: Any, place: str = "event") -> list[str]:
    """Return where in an event something could be changed."""
    if dataclasses.is_dataclass(content):
        frozen = type(content).__dataclass_params__.frozen
        parts = [(f"{place}.{each.name}", getattr(content, each.name)) for each in dataclasses.fields(content)]
    elif isinstance(content, MappingProxyType):
        frozen, parts = True, [(f"{place}[{key}]", value) for key, value in content.items()]
    elif isinstance(content, tuple):
        frozen, parts = True, [(f"{place}[]", value) for value in content]
    else:
        frozen, parts = content is None or isinstance(content, str | int | float | bool | bytes), []
    return ([] if frozen else [f"{place}: {type(content).__name__}"]) + [
        found for name, part in parts for found in changeable(part, name)
    ]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def events(store: ResultStore) -> list[Any]:
    run = observed_run(job())
    news = [
        Event(job(), 0.4, tick=Tick(METERS, {"D": 0.5})),
        Event(job(), 0.5, mark=record().curve[0]),
        Event(job(), record=record()),
    ]
    return [started(run, record(), "ganbench run"), *(happening(run, each, store) for each in news)]


def test_nothing_in_an_event_can_be_changed(store):
    found = events(store)
    assert [type(event).__name__ for event in found] == ["RunStarted", "RunTicked", "RunMarked", "RunEnded"]
    assert [place for event in found for place in changeable(event)] == []


def test_the_check_finds_what_can_be_changed():
    assert changeable(Tick(METERS, {})) == ["event.meters: Meters", "event.meters.updates: dict", "event.losses: dict"]


def test_an_event_is_a_copy(store):
    live = Meters(3, 192, {"D": 3})
    options = {"lr": 1e-3}
    made = job(dataclasses.replace(SPEC, options=options))
    run = observed_run(made)
    event = happening(run, Event(made, 0.4, tick=Tick(live, {"D": 0.5})), store)
    live.updates["D"], live.images, options["lr"] = 9, 9, 9
    assert event.spent.updates == {"D": 3} and event.spent.images == 192
    assert event.run.spec["options"] == {"lr": 1e-3}


def test_a_run_is_told_as_its_record_has_it():
    run = observed_run(job())
    assert (run.id, run.name, run.seed, run.numbers) == (SPEC.id, "gan lr=0.001 tiny seed 4", 4, SPEC.numbers)
    assert plain(run.spec) == SPEC.content() | {"budget": "2k-images", "config": {"variant": {"betas": [0.5, 0.9]}}}
    assert run.asked["metrics"] == ("fid",) and run.asked["parameters"] == {"G": 7}


def test_an_end_holds_the_whole_record(store):
    event = ended(observed_run(job()), record())
    content = plain(event.record)
    assert content.pop("id") == SPEC.id
    assert decode(content, Path("it")) == record()
    assert encode(decode(content, Path("it"))) == encode(record())
    (value,) = event.values["fid"]
    assert (value.value, value.protocol_hash, value.weights, value.reference) == (1.5, VALUE.protocol_hash, "raw", 0.5)
    assert event.unscored == {"kid": "none"} and event.spent.images == 192


def test_a_mark_has_the_pictures_that_the_run_has_written(store):
    folder = store.make_samples(SPEC)
    for name in ("050", "100", "nearest"):
        (folder / f"{name}.png").write_bytes(name.encode())
    run, pictures = observed_run(job()), []
    for share in (0.5, 0.75, 1.0):
        mark = Mark(share, METERS, {"fid": VALUE})
        pictures.append(dict(happening(run, Event(job(), share, mark=mark), store).pictures))
    assert pictures == [{"samples": b"050"}, {}, {"samples": b"100", "nearest": b"nearest"}]


def test_starts_and_notes_are_no_news(store):
    run = observed_run(job())
    assert happening(run, Event(job()), store) is None and happening(run, Event(job(), note="x"), store) is None
    assert started(run, None, "").before.images == 0 and started(run, record(), "").before.images == 192
