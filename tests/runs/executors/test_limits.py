"""Limits of time and memory, and output without end: variants that misbehave in a real run, and one that does not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ganbench.errors import UserError
from ganbench.runs.executors import limits, local
from ganbench.runs.executors.limits import Limits, resident
from ganbench.runs.executors.local import run_all

posix = pytest.mark.skipif(os.name != "posix", reason="process groups and signals of POSIX")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")


@posix
def test_whatever_never_ends_is_ended_and_the_others_go_on(jobs_of, made, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "GRACE_SECONDS", 1.0)
    hanging = ("loops-in-build", "loops-in-step", "loops-in-c", "sleeps-in-sample", "deadlocks", "ignores-requests",
               "halts")  # fmt: skip
    jobs = jobs_of(*hanging, "good")
    start = time.monotonic()
    found = made(jobs, tmp_path / "r", parallel=8, held_to=Limits.parse("12s", None))
    assert time.monotonic() - start < 120
    assert {name: record.status for name, record in found.items()} == {
        **dict.fromkeys(hanging, "killed"),
        "good": "done",
    }
    for name in hanging:
        assert found[name].error.startswith("took longer than --timeout-per-run 12s"), found[name].error
        assert "; the same command " in found[name].error
        assert not found[name].is_open, "it counts as failed"
    assert found["sleeps-in-sample"].error.endswith("the same command continues it from its checkpoint")
    assert found["loops-in-build"].error.endswith("the same command begins it anew")


@pytest.mark.slow
@posix
def test_a_metric_that_never_ends_is_ended_and_the_run_is_scored_later(jobs_of, made, tmp_path):
    jobs = jobs_of("good", metrics=("tiny-mean", "endless"))
    record = made(jobs, tmp_path / "r", held_to=Limits.parse("3", None))["good"]
    assert record.status == "killed"
    assert record.error == ("took longer than --timeout-per-run 3; the same command continues it from its checkpoint")
    record = made(jobs_of("good", metrics=("tiny-mean",)), tmp_path / "r")["good"]
    assert record.status == "done"
    later = made(jobs_of("good", metrics=("tiny-mean", "endless")), tmp_path / "r", held_to=Limits.parse("3", None))
    assert later["good"].status == "done", "what it had stays"
    assert "asked for after the run, and took longer than --timeout-per-run 3" in later["good"].unscored["endless"]
    jobs = jobs_of("good", metrics=("tiny-mean", "endless"))
    (tmp_path / "plugin" / "on").unlink()
    assert made(jobs, tmp_path / "r")["good"].values["endless"][0].value == 1.0


@posix
def test_a_run_that_takes_too_long_keeps_its_checkpoint_and_comes_to_the_same_numbers(jobs_of, made, tmp_path):
    budget = "2560-images"  # 40 steps
    jobs = jobs_of("crawls", budget=budget)
    cut = made(jobs, tmp_path / "r", held_to=Limits.parse("6s", None))["crawls"]
    assert cut.status == "killed" and 0 < cut.meters.images < 2560
    assert cut.error == "took longer than --timeout-per-run 6s; the same command continues it from its checkpoint"
    (tmp_path / "plugin" / "on").unlink()
    again = made(jobs, tmp_path / "r", held_to=Limits.parse("5m", "64G"))["crawls"]
    whole = made(jobs, tmp_path / "whole")["crawls"]
    assert again.status == "done" and again.spec == whole.spec, "limits are no part of what a run is"
    assert again.values == whole.values and again.meters.images == whole.meters.images
    for record in (again, whole):
        record.meters.seconds = record.meters.peak_bytes = 0
    assert again.checksums == whole.checksums


@linux
def test_memory_is_held_of_a_run_that_grows_that_jumps_and_whose_children_do(jobs_of, made, tmp_path):
    hungry = ("grows", "jumps", "feeds-children")
    start = time.monotonic()
    found = made(jobs_of(*hungry, "good"), tmp_path / "r", held_to=Limits.parse(None, "800M"))
    assert time.monotonic() - start < 100
    assert {name: record.status for name, record in found.items()} == {
        **dict.fromkeys(hungry, "killed"),
        "good": "done",
    }
    for name in hungry:
        used, _, rest = found[name].error.removeprefix("used ").partition(" ")
        assert rest.partition(" ")[0] in ("MiB,", "GiB,")
        assert "more than --memory-per-run 800M; the same command begins it anew" in rest
        assert float(used) > (800 if rest.startswith("MiB") else 0.79)


@linux
def test_memory_of_a_group_is_that_of_all_its_processes():
    hold = "import time; held = bytearray(b'1') * (50 * 2**20); print(flush=True); time.sleep(60)"
    first = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, process_group=0)
    second = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, process_group=first.pid)
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, process_group=0)
    try:
        for process in (first, second, other):
            assert process.stdout.readline()
        found = resident({first.pid, other.pid, 2**22 + 1})
        assert 100 * 2**20 < found[first.pid] < 200 * 2**20
        assert 50 * 2**20 < found[other.pid] < 100 * 2**20
        assert found[2**22 + 1] == 0
    finally:
        for process in (first, second, other):
            process.kill()
            process.communicate()


@linux
def test_where_memory_runs_out_the_system_ends_runs_first(jobs_of, tmp_path):
    (job,) = jobs_of("loops-in-build")
    events = run_all([job], tmp_path / "r", parallel=1)
    next(events)
    seen = set()
    until = time.monotonic() + 30
    while "1000" not in seen and time.monotonic() < until:
        for pid in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]:
            if descends(pid, os.getpid()):
                with suppress(OSError):
                    seen.add(Path(f"/proc/{pid}/oom_score_adj").read_text().strip())
        time.sleep(0.1)
    (tmp_path / "plugin" / "on").unlink()
    assert [event.record.status for event in events if event.record is not None] == ["done"]
    mine = Path("/proc/self/oom_score_adj").read_text().strip()
    assert "1000" in seen and mine != "1000"


def descends(pid, above):
    while pid > 1 and pid != above:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == above


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("1d", 86_400), (" 5 m ", 300)],
)
def test_times_are_read(text, seconds):
    assert Limits.parse(text, None).seconds == seconds


@linux
@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500 * 2**20), ("4G", 2**32), ("4g", 2**32), ("1.5 GiB", 3 * 2**29), ("2TB", 2**41), ("64KB", 2**16)],
)
def test_sizes_are_read(text, size):
    assert Limits.parse(None, text).bytes == size


WRONG_TIMES = ("", "0", "-5", "5x", "m", "2 weeks", "1e3", "1h30m", "inf", "nan", "٣", "0.0h", "9" * 400, "5\n\n6")
WRONG_SIZES = ("", "0", "0G", "-4G", "4", "4X", "G", "lots", "infG", "nanM", "4 G B", "1e3M", "٣G", "9" * 400 + "G")


@pytest.mark.parametrize(
    ("option", "text"),
    [("--timeout-per-run", text) for text in WRONG_TIMES] + [("--memory-per-run", text) for text in WRONG_SIZES],
)
def test_what_is_no_limit_is_one_sentence(option, text):
    given = {"timeout": None, "memory": None, option.split("-")[2]: text}
    with pytest.raises(UserError) as error:
        Limits.parse(**given)
    assert str(error.value).startswith(f"{option} {text}: write ")


def test_where_memory_cannot_be_watched_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "PROC", tmp_path)
    with pytest.raises(
        UserError, match=r"--memory-per-run 4G: this system has no .*, so the memory of a run cannot be"
    ):
        Limits.parse(None, "4G")
    assert Limits.parse("4h", None).bytes == float("inf")


@pytest.mark.parametrize("given", [("--timeout-per-run", "soon"), ("--memory-per-run", "4")])
def test_a_wrong_limit_is_told_before_torch_is_imported(given, tmp_path):
    script = (
        "import sys\nfrom ganbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    arguments = ["run", "--variants", "gan", "--dataset", "digits", *given, "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {' '.join(given)}: write ") and done.stderr.count("\n") == 1


@pytest.mark.slow
@posix
def test_the_table_counts_a_run_that_took_too_long_as_failed(jobs_of, tmp_path):
    jobs_of("crawls", "good")
    plugins = [word for path in sorted((tmp_path / "plugin").glob("*.py")) for word in ("--plugin", str(path))]
    command = [sys.executable, "-m", "ganbench", "run", "--variants", "crawls,good", "--dataset", "tiny",
               "--seeds", "1", "--budget", "2560-images", "--marks", "1", *plugins, "--results", str(tmp_path / "r"),
               "--timeout-per-run", "10s", "--memory-per-run", "64G"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1, done.stderr
    assert (
        re.search(r"crawls .*0/1", done.stdout)
        and "took longer than --timeout-per-run 10s" in done.stdout + done.stderr
    )
    assert "Traceback" not in done.stderr
    statuses = {json.loads(path.read_text())["status"] for path in (tmp_path / "r").rglob("seed*.json")}
    assert statuses == {"killed", "done"}


@pytest.mark.slow
@posix
def test_time_in_which_the_command_is_paused_does_not_count(jobs_of, tmp_path):
    jobs_of("crawls")
    plugins = [word for path in sorted((tmp_path / "plugin").glob("*.py")) for word in ("--plugin", str(path))]
    process = subprocess.Popen(
        [sys.executable, "-m", "ganbench", "run", "--variants", "crawls", "--dataset", "tiny", "--seeds", "1",
         "--budget", "640-images", "--marks", "1", *plugins, "--results", str(tmp_path / "r"),
         "--timeout-per-run", "12s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stderr:
        if "started" in line:
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGTSTP)
    time.sleep(14)
    os.killpg(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
