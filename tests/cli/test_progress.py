"""Progress: what is told of runs, once each, on a terminal and elsewhere."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from ganbench.cli.following import Following
from ganbench.cli.progress import (
    LiveLines,
    PlainLines,
    Quiet,
    _Shown,
    is_live,
    live_screen,
    mark_line,
    title,
    watched,
)
from ganbench.contract.types import Value
from ganbench.results.process import this_process
from ganbench.results.progress import PlannedRun, begin_plan, find_sweeps
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.executors.worker import WAITING, Event
from ganbench.runs.job import Job
from ganbench.streams import Relay, tell
from ganbench.training.budget import Budget, Meters, Tick


def job(variant="gan", seed=0, options=None, metrics=()):
    spec = RunSpec(
        variant=variant, dataset="folder:./[b]x[/b]", backbone="mlp", budget=Budget(640, "images"), seed=seed, size=8,
        batch=64, precision="fp32", options=options or {}, config={}, data="7" * 64, code={},
    )  # fmt: skip
    return Job(spec, "tiny", {}, metrics, (), 2, (), 2, (), Path("data"), None, "cpu")


def mark(of, share, **values):
    return Event(of, share, mark=Mark(share, Meters(images=64), {name: Value(x) for name, x in values.items()}))


def test_a_run_that_is_put_off_has_started_once(capsys):
    lines = PlainLines(2)
    one, two = job(), job(seed=1)
    for event in (
        Event(one),
        Event(one, put_off=True),
        Event(two),
        Event(one),
        Event(one, note=WAITING),
        Event(two),
    ):
        lines.hear(event)
    printed = capsys.readouterr().err.splitlines()
    started = [line for line in printed if "started" in line]
    assert [line.rpartition("  ")[2] for line in started] == ["started (1 of 2)", "started (2 of 2)"]
    assert len(printed) == 3


EVIL = "a\x1b[31m\x07\r\x9b2J"


@pytest.mark.parametrize("kind", [PlainLines, LiveLines])
def test_names_steer_no_terminal_and_are_no_markup(kind, capsys):
    evil = job(options={EVIL: "[/red] :smile:"})
    tick = Tick(Meters(images=64, seconds=1.0), {EVIL: 1.0})
    record = RunRecord(evil.spec, "error", error=f"no {EVIL} [/red]", meters=Meters())
    listener = kind(1)
    for event in (
        Event(evil),
        Event(evil, 0.5, tick),
        Event(evil, note=f"see {EVIL} [/b]"),
        Event(evil, record=record),
    ):
        listener.hear(event)
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


def test_a_mark_is_one_line_of_what_was_asked_for(capsys):
    one = job(metrics=("fid", "kid"))
    PlainLines(1).hear(mark(one, 0.5, **{"grad-norm": 9.0, "kid": 0.25, "fid-std": 3.0, "fid": 12.3456}))
    assert capsys.readouterr().err == "gan folder:./[b]x[/b] seed 0   50%  64 images  fid 12.35  kid 0.25\n"
    long = job(
        "a-variant-with-a-long-name", options={"betas": [0.0, 0.9]}, metrics=tuple(f"metric-{n}" for n in range(9))
    )
    line = mark_line(mark(long, 1.0, **{f"metric-{n}": n / 7 for n in range(9)}), 100)
    assert cell_len(line) <= 100 and line.startswith("a-variant-with-a-long-na") and "seed 0  100%" in line
    assert line.endswith("metric-0 0  metric-1 0.1429")


def test_quiet_is_notes_and_failures(capsys):
    one = job()
    done = RunRecord(one.spec, "done")
    events = [
        Event(one), Event(one, 0.1, Tick(Meters(), {})), mark(one, 0.5, fid=1.0), Event(one, note="mind the gap"),
        Event(one, record=done), Event(one, record=replace(done, status="error", error="broke")),
        Event(one, put_off=True), Event(one, record=replace(done, status="killed", error="out of time")),
    ]  # fmt: skip
    for event in events:
        Quiet().hear(event)
    told = [line.split("  ")[1] for line in capsys.readouterr().err.splitlines()]
    assert told == ["mind the gap", "error: broke", "killed: out of time"]


# On a terminal


def plan_of(jobs):
    return begin_plan("ganbench run", 2, [PlannedRun(each.spec.id, title(each), each.spec.seed) for each in jobs], 0)


@pytest.fixture
def play(monkeypatch, terminal_of):
    """Show events on a terminal, drawing after each, and return what it looks like then and in the end."""
    drawn = []

    class Watched(Live):
        def __init__(self, **options):
            super().__init__(**options)
            drawn.append(self)

    monkeypatch.setattr("ganbench.cli.progress.Live", Watched)

    def make(width, events, jobs, height=30):
        file, terminal, seen = io.StringIO(), terminal_of(width, height), 0
        console = Console(file=file, force_terminal=True, width=width, height=height, color_system="truecolor")
        following, frames = Following(jobs, {}, 2), []
        with live_screen(console, following, plan_of(jobs)) as listener:
            for event in events:
                following.hear(event)
                listener.hear(event)
                drawn[-1].refresh()
                terminal.feed(file.getvalue()[seen:].replace("\n", "\r\n"))
                seen = len(file.getvalue())
                frames.append(terminal.text)
        terminal.feed(file.getvalue()[seen:].replace("\n", "\r\n"))
        return frames, terminal.text

    return make


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_the_screen_is_drawn_in_one_place_and_notes_stand_above_it_once(width, play):
    jobs = [job(seed=seed, metrics=("fid",), options={"betas": [0.0, 0.9], "lr": 0.0002}) for seed in range(4)]
    tick = Tick(Meters(images=64, seconds=1.0), {"D": 0.5, "G": 1.25})
    long = "see https://example.org/" + "x" * 200
    failed = RunRecord(jobs[0].spec, "error", error=f"broke [/red] {EVIL}")
    events = [
        Event(jobs[0]), Event(jobs[1]), Event(jobs[0], 0.1, tick), Event(jobs[0], note=long), Event(jobs[1], 0.2, tick),
        mark(jobs[1], 0.5, fid=12.5), Event(jobs[0], record=failed), Event(jobs[2]), Event(jobs[2], 0.1, tick),
    ]  # fmt: skip
    frames, after = play(width, events, jobs)
    for frame in frames:
        assert sum("of 4 done" in row for row in frame) == 1, frame
    last = frames[-1]
    told = "".join(last[: next(n for n, row in enumerate(last) if "of 4 done" in row)])
    assert told.count("see https") == 1 and told.count("x" * 200) == 1, "it can be copied as a whole"
    assert told.count("error: ") == 1 and "\\x1b[31m" in told
    live = last[next(n for n, row in enumerate(last) if "of 4 done" in row) :]
    assert all(len(row) < width for row in live) and len(live) <= 2 + 2 * 2 + 1
    assert any("1 failed" in row for row in live) and any("D 0.5" in row or "64 images/s" in row for row in live)
    assert "".join(after) == told, "what stays is what was told"


def test_more_runs_than_rows(play):
    jobs = [job(seed=seed) for seed in range(20)]
    frames, after = play(80, [Event(each) for each in jobs], jobs, height=8)
    assert len(frames[-1]) == 7 and frames[-1][-1] == "… and 15 more"
    assert after == []


def test_a_terminal_that_becomes_narrower_keeps_nothing_of_before(terminal_of):
    """Such a terminal breaks the lines that it shows; they are taken away with what they were broken into."""
    file, size = io.StringIO(), [100, 30]

    class Resized(Console):
        @property
        def size(self):
            return super().size.__class__(*size)

    console = Resized(file=file, force_terminal=True)
    shown = _Shown(console, lambda width, height: ["x" * 90, "short", "y" * 65][:height])
    terminal = terminal_of(100)
    terminal.feed("above\r\n" + shown.text().plain.replace("\n", "\r\n"))
    size[0] = 40
    broken = [row[at : at + 40] for row in terminal.rows for at in range(0, max(1, len(row)), 40)]
    assert len(broken) == 1 + 3 + 1 + 2
    terminal.rows, terminal.row, terminal.width = broken, len(broken) - 1, 40
    assert max(map(len, shown.text().plain.split("\n"))) == 39
    terminal.feed(file.getvalue())
    assert terminal.row == len(["above", "x", "short", "y"]) - 1, "as many rows below as there were lines"
    assert terminal.text == ["above", "x" * 40, "x" * 40, "x" * 10]


def test_what_runs_print_stands_above_the_screen(terminal_of):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=20)
    with live_screen(console, Following([job()], {}, 1), plan_of([job()])):
        relay = Relay()
        relay.write(b"10%\r50%\r100% [/b]\x1b[31m\r\nnext \xff\n\n")
        tell("and a note")
    terminal = terminal_of(80)
    terminal.feed(file.getvalue().replace("\n", "\r\n"))
    assert terminal.text == ["100% [/b]\\x1b[31m", "next \N{REPLACEMENT CHARACTER}", "and a note"]


def test_a_screen_takes_a_terminal_that_can_go_back(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert is_live(Console(force_terminal=True, _environ={"TERM": "xterm"}))
    assert not is_live(Console(force_terminal=True, _environ={"TERM": "dumb"}))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not is_live(Console(force_terminal=True, _environ={"TERM": "xterm"}))


# What is written of it


@pytest.mark.parametrize(
    ("error", "state"), [(None, "finished"), (KeyboardInterrupt(), "stopped"), (OSError("no disk"), "failed")]
)
def test_a_sweep_says_how_it_ended(error, state, tmp_path, capsys):
    jobs = [job(), job(seed=1)]

    def follow():
        with watched(jobs, {}, ResultStore(tmp_path), parallel=2, command="ganbench run -x", quiet=True) as listener:
            listener.hear(Event(jobs[0]))
            ((sweep,), _) = find_sweeps(tmp_path)
            assert sweep.state == "running" and sweep.plan.process == this_process()
            listener.hear(Event(jobs[0], record=RunRecord(jobs[0].spec, "done")))
            if error is not None:
                raise error

    if error is None:
        follow()
    else:
        with pytest.raises(type(error)):
            follow()
    ((sweep,), problems) = find_sweeps(tmp_path)
    assert (sweep.state, sweep.plan.command, problems) == (state, "ganbench run -x", [])
    assert sweep.progress.ended == {jobs[0].spec.id: "done"} and sweep.unfinished == {jobs[1].spec.id}
    assert ("no disk" in sweep.progress.why) == (state == "failed")


def test_nothing_to_make_is_no_sweep(tmp_path):
    with watched([], {}, ResultStore(tmp_path / "r"), parallel=2, command="ganbench run"):
        pass
    assert not (tmp_path / "r").exists()


def test_a_folder_that_cannot_be_written_stops_nothing_and_is_told_once(tmp_path, capsys):
    (tmp_path / ".work").write_text("no folder")
    one = job()
    with watched([one], {}, ResultStore(tmp_path), parallel=2, command="ganbench run", quiet=True) as listener:
        listener.hear(Event(one))
        listener.stopping()
    told = capsys.readouterr().err
    assert told.count("Note: cannot write") == 1 and "`ganbench status` does not see" in told and told.count("\n") == 1
