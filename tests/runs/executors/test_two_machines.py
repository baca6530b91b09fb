"""One sweep given on two machines that share a folder: no run is made twice, and none is lost with its machine.

Two host names on one machine stand for two machines: neither can see whether a process of the other is alive.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ganbench.results.store import ResultStore

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
ASKED = ("--dataset", "tiny", "--budget", "3840-images", "--seeds", "1", "--jobs", "1", "--plugin", str(TINY))
TERM = 5


def named_apart() -> bool:
    if sys.platform != "linux":
        return False
    return not subprocess.run(
        ["unshare", "--uts", "hostname", "elsewhere"], capture_output=True, check=False
    ).returncode


pytestmark = pytest.mark.skipif(not named_apart(), reason="needs the right to give a process a host name of its own")


def on(machine: str, results: Path, variants: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ganbench", "run", "--variants", variants, *ASKED, "--results", str(results)]
    return subprocess.Popen(
        ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', machine, *command],
        env={**os.environ, "GANBENCH_LEASE_SECONDS": str(TERM)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert any(line in text for text in process.stderr), f"the command ended before it printed {line!r}"


def kept(results: Path):
    """What two runs of the same numbers have in common, with traces."""
    store, found = ResultStore(results), {}
    for record in store.records()[0]:
        curve = [replace(mark, meters=_timeless(mark.meters)) for mark in record.curve]
        traces = {name: array for name, array in store.traces(record).items() if "second" not in name}
        weights = record.checksums["weights"]
        found[record.spec.variant] = (record.status, record.values, curve, _timeless(record.meters), weights, traces)
    return found


def _timeless(meters):
    return replace(meters, seconds=0.0, peak_bytes=0)


def same(mine, theirs) -> None:
    assert mine.keys() == theirs.keys()
    for variant, (*facts, traces) in theirs.items():
        assert list(mine[variant][:-1]) == facts
        assert traces.keys() == mine[variant][-1].keys()
        assert all(np.array_equal(array, mine[variant][-1][name], equal_nan=True) for name, array in traces.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results that nobody disturbed."""
    results = tmp_path_factory.mktemp("whole")
    with on("one", results, "slow,plain") as done:
        assert done.communicate(timeout=300) and done.returncode == 0
    return kept(results)


def test_a_run_whose_machine_is_lost_is_continued_by_the_other_from_its_checkpoint(whole, tmp_path):
    with on("one", tmp_path, "slow") as first:
        wait_for("slow tiny seed 0   40%", first)
        (lease,) = tmp_path.rglob("lease-*")
        assert json.loads(lease.read_text())["process"]["host"] == "one"
        first.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    with on("two", tmp_path, "slow") as second:
        output, error = second.communicate(timeout=300)
    assert second.returncode == 0, error
    assert time.monotonic() - begun > TERM, "it cannot know before the term is over"
    assert "slow tiny seed 0   20%" not in error and "slow tiny seed 0  100%" in error, error
    assert "| slow " in output
    same(kept(tmp_path), {"slow": whole["slow"]})
    assert len(list(tmp_path.rglob("lease-*"))) == 1


@pytest.mark.slow
def test_two_commands_at_once_share_the_runs_and_each_prints_all(whole, tmp_path):
    with on("one", tmp_path, "slow,plain") as one, on("two", tmp_path, "slow,plain") as two:
        told = [process.communicate(timeout=300) for process in (one, two)]
    assert [process.returncode for process in (one, two)] == [0, 0], told
    for variant in ("slow", "plain"):
        assert "".join(error for _, error in told).count(f"{variant} tiny seed 0   60%") == 1
        assert all(f"| {variant} " in output for output, _ in told)
    same(kept(tmp_path), whole)


@pytest.mark.slow
def test_a_machine_that_stood_still_leaves_the_run_to_the_other_and_reads_its_record(whole, tmp_path):
    with on("one", tmp_path, "slow") as first:
        wait_for("slow tiny seed 0   40%", first)
        (lease,) = tmp_path.rglob("lease-*")
        worker = json.loads(lease.read_text())["process"]["pid"]
        os.kill(worker, signal.SIGSTOP)
        with on("two", tmp_path, "slow") as second:
            output, error = second.communicate(timeout=300)
        assert second.returncode == 0, error
        os.kill(worker, signal.SIGCONT)
        output, error = first.communicate(timeout=300)
    assert first.returncode == 0, error
    assert "another command took the run over" in error and "| slow " in output
    same(kept(tmp_path), {"slow": whole["slow"]})
