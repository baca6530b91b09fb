"""The main job as a user runs it: real processes, killed and started again."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.results.store import ResultStore
from ganbench.runs.executors.local import run_all
from ganbench.runs.executors.worker import WAITING
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"
BUDGET = ("--budget", "3840-images", "--seeds", "1", "--dataset", "tiny", "--plugin", str(PLUGIN))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ganbench", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240, check=False)


def records(results: Path) -> dict[str, dict]:
    found = (json.loads(path.read_text()) for path in results.rglob("seed*.json"))
    return {record["spec"]["variant"]: record for record in found}


def timeless(record: dict) -> dict:
    """The record without what two runs of the same numbers may differ in: time and memory."""
    for meters in (record["meters"], *(mark["meters"] for mark in record["curve"])):
        meters["seconds"] = meters["peak_bytes"] = 0
    record.pop("made", None)
    return record


def traces(results: Path, variant: str) -> dict[str, np.ndarray]:
    (path,) = results.rglob(f"{variant}/*.traces.npz")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def weights(results: Path, run_id: str) -> dict[str, torch.Tensor]:
    return torch.load(results / ".work" / run_id / "final.pt", weights_only=True)["raw"]


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for text in process.stderr:
        if line in text:
            return
    raise AssertionError(f"the command ended before it printed {line!r}")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a command that nobody disturbed."""
    results = tmp_path_factory.mktemp("whole")
    done = run("run", "--variants", "slow,plain", *BUDGET, "--results", str(results))
    assert done.returncode == 0, done.stderr
    return results


def hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts its background jobs deaf to it


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_command_continues_to_the_same_numbers(tmp_path: Path, whole: Path, how: signal.Signals) -> None:
    arguments = ("run", "--variants", "slow,plain", *BUDGET, "--results", str(tmp_path))
    process = subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=hear_ctrl_c
    )
    wait_for("slow tiny seed 0   40%", process)
    time.sleep(0.3)  # some steps past the mark
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    left = records(tmp_path)["slow"]
    assert left["status"] == "killed"
    assert 2 <= len(left["curve"]) < 5
    report = run("report", "--results", str(tmp_path))
    assert "| slow " in report.stdout and "slow seed 0: stopped" in report.stdout, report.stdout

    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert "slow tiny seed 0   20%" not in again.stderr, "a mark that was evaluated is not evaluated again"
    mine, theirs = records(tmp_path), records(whole)
    for variant in ("slow", "plain"):
        assert timeless(mine[variant]) == timeless(theirs[variant])
        assert len(mine[variant]["curve"]) == 5
        for name, trace in traces(whole, variant).items():
            np.testing.assert_array_equal(traces(tmp_path, variant)[name], trace, strict=True)
    run_id = next(path.name for path in (tmp_path / ".work").iterdir() if (path / "final.pt").exists())
    for name, weight in weights(whole, run_id).items():
        assert torch.equal(weights(tmp_path, run_id)[name], weight)


def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    arguments = ("run", "--variants", "slow", *BUDGET, "--results", str(tmp_path))
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for("slow tiny seed 0   20%", process)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    below = [int(pid) for pid in children.split()]
    for pid in list(below):
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        below += [int(child) for child in found.split()]
    process.kill()
    process.communicate(timeout=60)
    until = time.monotonic() + 20
    while time.monotonic() < until and not all(gone(pid) for pid in below):
        time.sleep(0.1)
    assert below and all(gone(pid) for pid in below)


def test_a_complete_command_trains_nothing_and_prints_the_same_table(whole: Path) -> None:
    arguments = ("run", "--variants", "slow,plain", *BUDGET, "--results", str(whole))
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("seed*")}
    again = run(*arguments)
    assert again.returncode == 0
    assert "started" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("seed*")} == before
    assert "| plain " in again.stdout


def test_a_metric_asked_for_later_is_scored_from_kept_weights(whole: Path) -> None:
    before = records(whole)["plain"]
    metrics = ("--metrics", "tiny-mean,tiny-late,grad-norm-g,ms-ssim")
    later = run("run", "--variants", "plain", *BUDGET, "--results", str(whole), *metrics)
    assert later.returncode == 0, later.stderr
    after = records(whole)["plain"]
    assert after["meters"] == before["meters"]
    assert after["curve"] == before["curve"]
    assert after["values"]["tiny-mean"] == before["values"]["tiny-mean"]
    assert after["values"]["tiny-late"][0]["value"] == before["values"]["tiny-mean"][0]["value"]
    assert "ms-ssim" in after["values"]


def test_failures_become_records_and_the_others_go_on(tmp_path: Path) -> None:
    variants = "raises,makes-nan,ends-itself,plain,labelled"
    done = run("run", "--variants", variants, *BUDGET, "--results", str(tmp_path), "--jobs", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = records(tmp_path)
    assert {name: record["status"] for name, record in found.items()} == {
        "raises": "error",
        "makes-nan": "diverged",
        "ends-itself": "killed",
        "plain": "done",
        "labelled": "done",
    }
    assert found["raises"]["error"].startswith(
        "RuntimeError: the plugin broke (in step 3, before its first update; tiny_plugin.py, "
    )
    assert "update 5" in found["makes-nan"]["error"]
    assert "SIGKILL" in found["ends-itself"]["error"]
    assert "makes-nan seed 0: diverged" in done.stdout and "raises seed 0: error" in done.stdout
    origin = found["plain"]["provenance"]["plugins"]["variant:plain"]
    assert origin["plugin"] == "tiny_plugin.py" and len(origin["sha256"]) == 64
    images = {found[name]["meters"]["images"] for name in ("plain", "labelled")}
    assert images == {3840}


def test_two_commands_on_one_folder_make_each_run_once(tmp_path: Path) -> None:
    arguments = ("run", "--variants", "slow,plain", *BUDGET, "--results", str(tmp_path))
    both = [
        subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    trained = "".join(error for _, error in outputs).count("slow tiny seed 0   60%")
    assert trained == 1
    assert {record["status"] for record in records(tmp_path).values()} == {"done"}


@pytest.mark.slow
def test_seeds_give_other_numbers_and_the_same_seed_the_same(tmp_path: Path) -> None:
    arguments = ("--variants", "plain", *BUDGET, "--seeds", "2")
    for folder in ("a", "b"):
        assert run("run", *arguments, "--results", str(tmp_path / folder)).returncode == 0
    values = {
        (path.parent.name, path.name, folder): json.loads(path.read_text())["values"]["tiny-mean"][0]["value"]
        for folder in ("a", "b")
        for path in (tmp_path / folder).rglob("seed*.json")
    }
    one, two = ([v for (_, _, f), v in sorted(values.items()) if f == folder] for folder in ("a", "b"))
    assert one == two and one[0] != one[1]


def test_what_a_run_has_said_is_heard_though_its_process_has_gone(tmp_path: Path) -> None:
    request = Request(["gan"], ["tiny"], budget="640-images", seeds=1, marks=2, plugins=(PLUGIN,))
    events = []
    for event in run_all(plan(request, discover(request.plugins)).jobs, tmp_path, parallel=1):
        events.append(event)
        until = time.monotonic() + 120
        while len(events) == 2 and multiprocessing.active_children():  # a busy machine reads late
            assert time.monotonic() < until
            time.sleep(0.05)
    assert events[1].record is None
    assert [event.mark.share for event in events if event.mark is not None] == [0.5, 1.0]
    assert events[-1].record is not None and events[-1].record.status == "done"


def test_a_run_that_another_command_makes_is_put_off_then_waited_for_and_then_made(tmp_path: Path) -> None:
    request = Request(["plain"], ["tiny"], budget="640-images", seeds=1, marks=1, plugins=(PLUGIN,))
    (job,) = plan(request, discover(request.plugins)).jobs
    heard = []
    with ExitStack() as other:
        other.enter_context(ResultStore(tmp_path).lock(job.spec))
        for event in run_all([job], tmp_path, parallel=1):
            told = "put off" if event.put_off else event.note if event.note or event.record is None else "ended"
            heard.append(told or ("tick" if event.tick else "mark" if event.mark else "started"))
            if event.note == WAITING:
                other.close()
    assert heard[:4] == ["started", "put off", "started", WAITING]
    assert heard[-2:] == ["mark", "ended"] and heard.count("put off") == 1
