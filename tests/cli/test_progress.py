"""Progress: what is told of runs, once each, on a terminal and elsewhere."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ganbench.cli.progress import LiveLines, PlainLines, live_on, title
from ganbench.results.record import RunRecord, RunSpec
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.training.budget import Budget, Meters, Tick


def job(variant="gan", seed=0, options=None):
    spec = RunSpec(
        variant=variant, dataset="folder:./[b]x[/b]", backbone="mlp", budget=Budget(640, "images"), seed=seed, size=8,
        batch=64, precision="fp32", options=options or {}, config={}, data="7" * 64, code={},
    )  # fmt: skip
    return Job(spec, "tiny", {}, (), (), 1, (), 2, (), Path("data"), None, "cpu")


def test_a_run_that_is_put_off_has_started_once(capsys):
    lines = PlainLines(2)
    one, two = job(), job(seed=1)
    for event in (
        Event(one),
        Event(two),
        Event(one),
        Event(one, note="another command is making this run"),
        Event(two),
    ):
        lines.hear(event)
    started = [line for line in capsys.readouterr().err.splitlines() if "started" in line]
    assert [line.rpartition("  ")[2] for line in started] == ["started (1 of 2)", "started (2 of 2)"]


EVIL = "a\x1b[31m\x07\r\x9b2J"


@pytest.mark.parametrize("live", [False, True])
def test_names_steer_no_terminal_and_are_no_markup(live, capsys):
    file = io.StringIO()
    evil = job(options={EVIL: "[/red] :smile:"})
    tick = Tick(Meters(images=64, seconds=1.0), {EVIL: 1.0})
    record = RunRecord(evil.spec, "error", error=f"no {EVIL} [/red]", meters=Meters())
    events = [Event(evil), Event(evil, 0.5, tick), Event(evil, note=f"see {EVIL} [/b]"), Event(evil, record=record)]
    if live:
        with live_on(Console(file=file, force_terminal=False, width=400)) as progress:
            listener = LiveLines(progress, 1)
            for event in events:
                listener.hear(event)
        shown = file.getvalue()
    else:
        plain = PlainLines(1)
        for event in events:
            plain.hear(event)
        shown = capsys.readouterr().err
    assert not set(shown) & set("\x1b\x07\r\x9b")
    for words in (
        'a\\x1b[31m\\x07\\r\\x9b2J="[/red] :smile:"',
        "folder:./[b]x[/b]",
        "see a\\x1b[31m",
        "error: no a\\x1b",
    ):
        assert words in shown


def test_titles_are_told_apart():
    assert title(job()) == "gan folder:./[b]x[/b] seed 0"
    assert title(replace(job(options={"lr": 0.1}))) == "gan lr=0.1 folder:./[b]x[/b] seed 0"
