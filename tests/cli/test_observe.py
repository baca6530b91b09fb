"""Runs that are observed are the runs that are not, whatever observers do; what they hear is all that happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import ganbench
from ganbench import UserError
from ganbench.cli import main
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore

TESTS = Path(__file__).parents[1]
TINY, OBSERVING = TESTS / "tiny_plugin.py", TESTS / "observing_plugin.py"
PLUGINS = ("--plugin", str(TINY), "--plugin", str(OBSERVING))
ASKED = ("--variants", "plain,raises", "--dataset", "tiny", "--budget", "640-images", "--marks", "2", "--jobs", "2")
PROGRAM = """
import sys
from ganbench.cli import main
from ganbench.runs import observing
observing.QUIET_SECONDS, observing.CLOSE_SECONDS = 0.1, 1.0
try:
    main(sys.argv[1:])
finally:
    names = [name for name in sys.modules if name == "torch" or name.startswith("ganbench_plugins.")]
    print("imported", *names, file=sys.stderr)
"""


def command(*words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(call, capture_output=True, text=True, check=False, timeout=400)


def heard(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def kept(results: Path) -> dict[str, tuple[RunRecord, dict[str, np.ndarray]]]:
    """Return records, without what differs between two runs of one seed, and traces."""
    store = ResultStore(results)
    records, problems = store.records()
    assert problems == []
    found = {}
    for record in records:
        curve = [replace(mark, meters=_timeless(mark.meters)) for mark in record.curve]
        error = record.error.partition(" (in step")[0]
        plain = replace(record, meters=_timeless(record.meters), curve=curve, checksums={}, error=error, provenance={})
        traces = store.traces(record)
        found[record.spec.id] = (plain, {name: array for name, array in traces.items() if "second" not in name})
    return found


def _timeless(meters: Any) -> Any:
    return replace(meters, seconds=0.0, peak_bytes=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """The same request twice: unobserved, and heard by every kind of observer."""
    folder = tmp_path_factory.mktemp("made")
    asked = (*ASKED, *PLUGINS, "--seeds", "1")
    unobserved = CliRunner().invoke(main, ["run", *asked, "--results", str(folder / "unobserved")])
    observers = [f"lines:{folder}/lines", f"slow:{folder}/slow", "meddles", "fails:open", "fails:run-marked"]
    observers += [f"tensorboard:{folder}/board", "secret:hidden-token"]
    words = [word for each in observers for word in ("--observe", each)]
    observed = command("run", *asked, *words, "--results", str(folder / "observed"))
    return folder, unobserved, observed


def test_records_output_and_exit_status_are_those_of_an_unobserved_run(made):
    folder, unobserved, observed = made
    assert unobserved.exit_code == observed.returncode == 1, observed.stderr  # `raises` failed
    mine, theirs = kept(folder / "observed"), kept(folder / "unobserved")
    assert mine.keys() == theirs.keys() and len(mine) == 2
    for id_, (record, traces) in theirs.items():
        assert mine[id_][0] == record
        assert traces.keys() == mine[id_][1].keys()
        assert all(np.array_equal(array, mine[id_][1][name], equal_nan=True) for name, array in traces.items())


def test_everything_that_happens_is_heard_in_its_order(made):
    folder, _, _ = made
    events = heard(folder / "lines")
    assert events[0]["event"] == "sweep-started" and len(events[0]["runs"]) == 2
    assert events[-1] == {"event": "sweep-ended", "statuses": {"done": 1, "error": 1}, "stopped": False}
    assert events[0]["results"] == str(folder / "observed")
    records, _ = ResultStore(folder / "observed").records()
    for record in records:
        mine = [event for event in events if event.get("run", {}).get("id") == record.spec.id]
        names = [event["event"] for event in mine]
        assert names[0] == "run-started" and names[-1] == "run-ended" and names.count("run-ended") == 1
        assert mine[-1]["status"] == record.status and mine[-1]["error"] == record.error
        marks = [event for event in mine if event["event"] == "run-marked"]
        assert [event["share"] for event in marks] == [mark.share for mark in record.curve]
        for event, mark in zip(marks, record.curve, strict=True):
            assert {name: of["value"] for name, of in event["values"].items()} == {
                name: value.value for name, value in mark.values.items()
            }
            assert event["pictures"]["samples"].endswith(" bytes")
    assert "run-ticked" in {event["event"] for event in events}
    marked = [event for event in heard(folder / "slow") if event["event"] != "run-ticked"]
    assert [event["event"] for event in marked] == [e["event"] for e in events if e["event"] != "run-ticked"]


def test_one_that_fails_is_named_once_and_what_is_secret_is_not(made):
    folder, _, observed = made
    told = [line for line in observed.stderr.splitlines() if "is left out" in line]
    assert sorted(line.partition(" is left out")[0] for line in told) == [
        *("Note: --observe fails:open", "Note: --observe fails:run-marked", "Note: --observe secret:…")
    ]
    assert "hidden-token" not in observed.stderr + observed.stdout + (folder / "lines").read_text()
    given = heard(folder / "lines")[0]["command"]
    assert given.startswith("ganbench run --variants plain,raises --dataset tiny --budget 640-images --marks 2")
    assert "--observe 'secret:…'" in given
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any("sweeps" in path.parts for path in written)
    assert not [path for path in written if b"hidden-token" in path.read_bytes()]


def test_the_command_imports_no_torch_and_no_plugin_but_the_observer(made):
    _, _, observed = made
    assert observed.stderr.splitlines()[-1] == (
        "imported ganbench_plugins.observers ganbench_plugins.observers.tensorboard"
    )


def test_finished_runs_have_nothing_to_be_observed(made):
    folder, _, _ = made
    asked = ("--variants", "plain", *ASKED[2:], *PLUGINS, "--seeds", "1", "--results", str(folder / "observed"))
    again = CliRunner().invoke(main, ["run", *asked, "--observe", f"lines:{folder}/again"])
    assert again.exit_code == 0 and "so there is nothing to observe" in again.stderr
    assert not (folder / "again").exists()


def test_one_that_hangs_keeps_the_command_no_longer_than_it_may(tmp_path):
    asked = ("--variants", "plain", *ASKED[2:], *PLUGINS, "--seeds", "1", "--results", str(tmp_path / "results"))
    done = command("run", *asked, "--observe", "hangs")
    assert done.returncode == 0, done.stderr
    assert "Note: --observe hangs is left out from here on" in done.stderr
    assert "| plain " in done.stdout


def test_a_run_that_is_stopped_and_continued_is_told_so(tmp_path):
    file, results = tmp_path / "lines", tmp_path / "results"
    asked = ("--variants", "slow", "--dataset", "tiny", "--budget", "1920-images", "--marks", "3", "--seeds", "1")
    words = ["run", *asked, *PLUGINS, "--results", str(results), "--observe", f"lines:{file}"]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.DEVNULL) as first:
        until = time.monotonic() + 300
        while not (file.exists() and "run-marked" in file.read_text()):
            assert time.monotonic() < until and first.poll() is None
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGINT)
    assert first.returncode == 130
    events = heard(file)
    assert events[-1] == {"event": "sweep-ended", "statuses": {"killed": 1}, "stopped": True}
    assert events[-2]["event"] == "run-ended" and events[-2]["status"] == "killed"
    stopped_at = events[-2]["spent"]["images"]
    assert command(*words).returncode == 0
    more = heard(file)[len(events) :]
    assert [event["event"] for event in more[:2]] == ["sweep-started", "run-started"]
    assert more[1]["before"]["images"] == stopped_at > 0
    assert more[1]["run"]["id"] == events[1]["run"]["id"]
    shares = [event["share"] for event in [*events, *more] if event["event"] == "run-marked"]
    assert shares == [1 / 3, 2 / 3, 1.0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--observe", "nobody"), "Error: --observe: unknown observer 'nobody'"),
        (("--observe", "lines", *PLUGINS), "Error: --observe lines: it has no file"),
        (("--observe", "webhook:ftp://host"), "Error: --observe webhook: its address begins with 'ftp'"),
        (("--observe", "needs", *PLUGINS), "pip install 'ganbench[needs]'"),
    ],
)
def test_what_cannot_be_met_is_said_before_anything_is_planned(words, sentence, tmp_path):
    asked = ("--variants", "plain", "--dataset", "tiny", "--results", str(tmp_path))
    result = CliRunner().invoke(main, ["run", *asked, *words])
    assert result.exit_code == 2 and sentence in result.output and "Traceback" not in result.output


def test_the_function_of_python_has_the_option_too():
    with pytest.raises(UserError, match="--observe: unknown observer 'nobody'"):
        ganbench.run("plain", "tiny", observe=["webhook:http://localhost/", "nobody"])


def test_without_the_option_nothing_of_it_is_imported():
    code = "import sys, ganbench.cli.run; print(*(name for name in sys.modules if 'observ' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ganbench.contract.observers", "ganbench.cli.observe"]
