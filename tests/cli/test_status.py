"""`ganbench status` tells of a sweep in another process what that knows, when it runs, is killed, and ends."""

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from ganbench.cli import main
from ganbench.results.progress import (
    PlannedRun,
    Progress,
    Running,
    begin_plan,
    find_sweeps,
    folder_of,
    open_folder,
    write_progress,
)
from ganbench.results.store import ResultStore

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
WANTED = ("--variants", "slow,raises", "--dataset", "tiny", "--seeds", "1", "--budget", "7680-images", "--jobs", "2")


def status(*arguments, code=0):
    done = CliRunner().invoke(main, ["status", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def seen(results):
    return json.loads(status("--results", results, "--json").stdout)["sweeps"]


def command(results):
    return [sys.executable, "-m", "ganbench", "run", *WANTED, "--plugin", str(PLUGIN), "--results", str(results)]


def wait_until(true, process):
    end = time.monotonic() + 120
    while not true():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What is seen of a sweep from outside: as it runs, after it was killed, and after the same command was given."""
    results = tmp_path_factory.mktemp("story") / "r"
    process = subprocess.Popen(command(results), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def trains():
        told = seen(results) if results.exists() else []
        return told and told[0]["counts"]["failed"] and any(run["scores"] for run in told[0]["progress"]["running"])

    wait_until(trains, process)
    running = seen(results)[0], status("--results", results).stdout
    process.send_signal(signal.SIGKILL)
    process.wait()
    died = seen(results)[0], status("--results", results).stdout
    main_end, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    again = subprocess.Popen(
        command(results), stdin=other_end, stdout=subprocess.PIPE, stderr=other_end, env=environment, text=True
    )
    os.close(other_end)
    drawn = b""
    while True:
        try:
            piece = os.read(main_end, 65536)
        except OSError:  # so does Linux say that nobody writes any more
            break
        if not piece:
            break
        drawn += piece
    os.close(main_end)
    table, _ = again.communicate()
    ended = seen(results), status("--results", results).stdout
    quiet = CliRunner().invoke(main, [*command(results)[3:], "--quiet"])
    told = {"running": running, "died": died, "ended": ended, "quiet": quiet}
    return {**told, "table": table, "drawn": drawn.decode()}


def test_a_sweep_that_runs_is_seen_from_another_process(story):
    sweep, text = story["running"]
    assert sweep["state"] == "running" and sweep["silent_seconds"] < 10
    assert sum(sweep["counts"].values()) == 2 == len(sweep["plan"]["runs"]) and sweep["plan"]["parallel"] == 2
    run = next(run for run in sweep["progress"]["running"] if run["scores"])
    assert 0 < run["share"] < 1 and run["rate"] > 0 and set(run["losses"]) == {"D", "G"}
    assert set(run["scores"]) == {"tiny-mean", "grad-norm-g"}
    (why,) = set(sweep["progress"]["failed"].values())
    assert why.startswith("RuntimeError: the plugin broke")
    process = sweep["plan"]["process"]
    assert text.startswith(f"Sweep running on {process['host']}, process {process['pid']}  begun ")
    for words in ("ganbench run --variants slow,raises", " images/s", "loss ", "tiny-mean ", "━", "of 2 done"):
        assert words in text
    assert "failed:\n  raises tiny seed 0: RuntimeError: the plugin broke" in text


def test_a_sweep_that_was_killed_is_said_to_have_died_at_once(story):
    sweep, text = story["died"]
    assert sweep["state"] == "died" and text.startswith("Sweep died on ")
    assert "broken off:\n  slow tiny seed 0  at " in text
    assert "The same command continues 1 broken off, tries 1 failed again." in text


def test_the_same_command_takes_its_place(story):
    (sweep,), text = story["ended"]
    assert sweep["state"] == "finished" and sweep["counts"] == {
        "done": 1, "diverged": 0, "failed": 1, "running": 0, "waiting": 0
    }  # fmt: skip
    assert text.startswith("Sweep finished on ") and "1 of 2 done  1 failed" in text
    assert "The same command tries 1 failed again." in text
    assert "| slow " in story["table"], "standard output is no terminal, and holds the table alone"


def test_a_terminal_shows_one_screen_and_keeps_what_ended(story, terminal_of):
    terminal = terminal_of(80, 24)
    terminal.feed(story["drawn"])
    kept = "".join(terminal.text)
    assert kept.count("slow tiny seed 0  done") == 1 and kept.count("error: RuntimeError: the plugin broke") == 1
    assert "of 2 done  " not in kept and "━" not in kept, "the screen is taken away in the end"
    assert "of 2 done  " in story["drawn"] and "images/s" in story["drawn"]


def test_quiet_tells_of_failures_alone_and_prints_the_table(story):
    done = story["quiet"]
    assert done.exit_code == 1 and done.stdout == story["table"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("raises tiny seed 0  error: RuntimeError: the plugin broke")


# Without processes


def sweep(root, host="elsewhere", silent=0.0, names="gan digits seed", **facts):
    plan = begin_plan("ganbench run --variants gan", 2, [PlannedRun(f"id{n}", f"{names} {n}", n) for n in range(30)], 4)
    folder = open_folder(ResultStore(root), replace(plan, process=replace(plan.process, host=host)))
    running = [Running(f"id{n}", datetime.now(UTC), "training", 0.5, 640, 20.0, 30.0, {"D": "nan"}) for n in (1, 2)]
    told = {"running": running, "ended": {"id0": "done"}, "left": 300.0, **facts}
    write_progress(folder, Progress(datetime.now(UTC) - timedelta(seconds=silent), **told))
    return folder


def test_no_results_and_no_sweep(tmp_path):
    assert "run `ganbench run` first" in status("--results", tmp_path / "none", code=2).stderr
    assert status("--results", tmp_path).stdout == f"no sweep runs in {tmp_path}\n"
    assert json.loads(status("--results", tmp_path, "--json").stdout)["sweeps"] == []
    (tmp_path / "file").write_text("")
    assert "is a file" in status("--results", tmp_path / "file", code=2).stderr


def test_several_sweeps_are_told_one_after_the_other(tmp_path):
    sweep(tmp_path)
    sweep(tmp_path, host="other", silent=400)
    sweep(tmp_path, host="third", silent=60)
    text = status("--results", tmp_path).stdout
    assert [part.split(",")[0] for part in text.split("\n\n")] == [
        "Sweep running on elsewhere", "Sweep died on other", "Sweep stands still on third",
    ]  # fmt: skip
    assert "last sign of life 6.7 min ago" in text
    assert text.count("1 of 30 done, 4 before  2 running  27 waiting  5:00 left") == 2
    assert text.count("waiting:\n  gan digits  seeds 3, 4, 5,") == 3
    assert "The same command continues 2 broken off, makes 27 not begun." in text


def test_a_damaged_one_is_told_and_the_others_shown(tmp_path):
    sweep(tmp_path)
    (sweep(tmp_path, host="b") / "plan.json").write_text("{")
    done = status("--results", tmp_path)
    assert done.stdout.count("Sweep ") == 1
    assert (
        done.stderr.startswith("Skipped: ") and done.stderr.count("\n") == 1 and "plan.json is damaged" in done.stderr
    )


def test_why_a_sweep_failed_and_names_steer_no_terminal(tmp_path):
    evil = "a\x1b[31m\x07\r\n\x9b2J"
    failed = {"id5": f"no {evil}"}
    sweep(tmp_path, host=evil, names=evil, state="failed", why=f"disk {evil}", ended={"id5": "error"}, failed=failed)
    text = status("--results", tmp_path).stdout
    assert not set(text) & set("\x1b\x07\r\x9b")
    assert "Sweep failed on a\\x1b[31m" in text and "  disk a\\x1b[31m" in text and "no a\\x1b[31m" in text


def test_watching_ends_when_no_sweep_runs(tmp_path, monkeypatch):
    folder, looks = sweep(tmp_path), []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            write_progress(folder, Progress(datetime.now(UTC), "finished"))

    monkeypatch.setattr("ganbench.cli.status.time.sleep", sleep)
    lines = status("--results", tmp_path, "--json", "--watch").stdout.splitlines()
    assert [json.loads(line)["sweeps"][0]["state"] for line in lines] == ["running", "running", "finished"]
    assert status("--results", tmp_path, "--watch").stdout.startswith("Sweep finished"), "there is nothing to wait for"


def test_on_a_terminal_it_is_drawn_anew_and_what_it_came_to_stays(tmp_path, monkeypatch, terminal_of):
    evil, file, texts = "a\x1b[31m\x07", io.StringIO(), []
    folder = sweep(tmp_path, host=evil, names=evil)
    console = Console(file=file, force_terminal=True, width=80, height=12)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("ganbench.cli.progress.is_live", lambda console: True)

    def sleep(seconds):
        terminal = terminal_of(80, 12)
        terminal.feed(file.getvalue().replace("\n", "\r\n"))
        texts.append(terminal.text)
        write_progress(folder, Progress(datetime.now(UTC), "finished"))

    monkeypatch.setattr("ganbench.cli.status.time.sleep", sleep)
    assert status("--results", tmp_path, "--watch").stdout.startswith("Sweep finished on a\\x1b[31m\\x07")
    assert texts[0][0].startswith("Sweep running on a\\x1b[31m\\x07") and len(texts[0]) <= 11
    assert any("5:00 left" in row for row in texts[0]) and "\x07" not in file.getvalue()
    terminal = terminal_of(80, 12)
    terminal.feed(file.getvalue().replace("\n", "\r\n"))
    assert terminal.text == []


def test_prune_takes_away_what_is_over(tmp_path):
    kept = sweep(tmp_path)
    over = sweep(tmp_path, host="b", silent=3600)
    new = sweep(tmp_path, host="c")
    (new / "plan.json").write_text('{"of": "a newer ganbench"}')
    old = sweep(tmp_path, host="d")
    (old / "plan.json").write_text("{")
    os.utime(old, (0, 0))
    done = CliRunner().invoke(main, ["results", "prune", "--results", str(tmp_path)])
    assert done.exit_code == 0 and done.stdout.count("of a sweep that is over") == 2, done.output
    assert set(folder_of(tmp_path).iterdir()) == {kept, new} and not over.exists()
    assert [found.folder for found in find_sweeps(tmp_path)[0]] == [kept]
